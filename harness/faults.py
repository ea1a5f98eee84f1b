"""How the sink can misbehave: the stages of a session, and what a fault may do at each.

The sink asks its `Faults` at every stage. A delay is a fault's own sleep, a hang one that does not end; both end when
the client leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Stage(StrEnum):
    """Where in a session a fault can strike."""

    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    DOT = "dot"  # the whole message has come, nothing of it is kept yet
    KEPT = "kept"  # the mail is kept, the reply to the final dot not yet sent


@dataclass(frozen=True, kw_only=True, slots=True)
class Visit:
    """What the server knows when it asks.

    Attributes:
        session: The session's number, from 1.
        stage: Where it stands.
        sender: The envelope sender, from MAIL on.
        recipient: The recipient in question, at RCPT.
        recipients: Those accepted so far.
        size: The message's size in bytes, from DOT on.
    """

    session: int
    stage: Stage
    sender: str = ""
    recipient: str = ""
    recipients: tuple[str, ...] = ()
    size: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Misbehaviour:
    """What the server does in place of what it should.

    Attributes:
        reply: The reply to give (`451 4.7.1 try again later`). After a 4xx or 5xx greeting, and after any 421, the
            server closes the connection, as RFC 5321 section 3.8 has it.
        drop: Cut the connection, without a word and without what was not sent yet.
        drip_seconds: From here to the next stage, send a reply byte by byte with such a pause between two.
    """

    reply: str = ""
    drop: bool = False
    drip_seconds: float = 0.0


class Faults(Protocol):
    """Decides how the server misbehaves."""

    async def at(self, visit: Visit) -> Misbehaviour | None:
        """What to do wrong here; None to behave. Called in the sink's event loop."""
