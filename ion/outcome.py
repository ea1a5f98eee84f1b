"""What one send can come to for one recipient."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The four ends of a send. (The fifth, the server's own unavailability, is `errors.ServerUnavailable`.)"""

    DELIVERED = "delivered"
    DEFERRED = "deferred"
    REJECTED = "rejected"
    AMBIGUOUS = "ambiguous"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One recipient's outcome of one transaction.

    Attributes:
        kind: What it came to.
        code: The SMTP reply code (RFC 5321 section 4.2), 0 where no reply came.
        enhanced: The enhanced status code (RFC 3463), such as `5.1.1`; empty where the server gave none.
        text: The server's words, or the error's.
    """

    kind: Kind
    code: int = 0
    enhanced: str = ""
    text: str = ""
