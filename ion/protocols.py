"""What the drain touches. The AWS and SMTP sides implement these, and so do the in-memory twins in the harness.

Times are Unix seconds (float, UTC); durations are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ion.outcome import Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """What one SMTP transaction carries (RFC 5321 section 2.3.1).

    Attributes:
        sender: The reverse-path (MAIL FROM).
        recipients: The forward-paths (RCPT TO), each once, domains already in ASCII (IDNA).
        message: The RFC 5322 message, CRLF line ends, not yet dot-stuffed.
        smtputf8: Whether an address needs the SMTPUTF8 extension (RFC 6531).
    """

    sender: str
    recipients: tuple[str, ...]
    message: bytes
    smtputf8: bool = False


class Courier(Protocol):
    """One SMTP connection with one owner: never used by two tasks at once."""

    async def connect(self) -> None:
        """Make the connection stand, login included; at once if it stands already.

        Raises:
            ServerUnavailable: It cannot be made to stand.
        """

    async def send(self, envelope: Envelope) -> dict[str, Outcome]:
        """Run one transaction, connecting first where needed.

        Returns:
            An outcome for every recipient of the envelope.

        Raises:
            ServerUnavailable: The server's state stopped the transaction before the final dot; nobody got the mail.
                `TurnedAway` where the connection stood.
        """

    async def close(self) -> None:
        """Say QUIT if the connection stands; never raises."""


class Clock(Protocol):
    """The time of day."""

    def now(self) -> float:
        """Unix time in seconds."""


class Alarm(Protocol):
    """The alarm that wakes the Lambda while messages are visible."""

    async def reset(self) -> bool:
        """Set it to OK, so that its next transition to ALARM acts again; whether it is. A failure is logged."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Message:
    """A message as one receive brought it: two receives are never equal, whatever they brought.

    Attributes:
        message_id: SQS's MessageId.
        receipt: The receipt handle of this receive.
        body: The body as it was sent.
        attributes: The string message attributes.
        sent_at: When SQS got it.
        received_at: When this receive returned.
        receive_count: SQS's ApproximateReceiveCount, this receive included.
    """

    message_id: str
    receipt: str
    body: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    sent_at: float = 0.0
    received_at: float = 0.0
    receive_count: int = 1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Outgoing:
    """A message to be sent to a queue. Two of them are never equal, whatever they say."""

    body: str
    attributes: Mapping[str, str] = field(default_factory=dict)


class Queue(Protocol):
    """One SQS queue. Every method makes as few calls as AWS allows (batches of 10)."""

    async def receive(self, *, limit: int, wait_seconds: int, visibility_seconds: int) -> list[Message]:
        """Up to `limit` (at most 10) messages, waiting up to `wait_seconds` for the first."""

    async def delete(self, messages: Sequence[Message]) -> list[Message]:
        """Delete; returns those that SQS did not delete."""

    async def hide(self, messages: Sequence[tuple[Message, int]]) -> list[Message]:
        """Set each message's visibility timeout from now, 0 to 43,200 s; returns those that SQS did not change."""

    async def send(self, messages: Sequence[Outgoing]) -> dict[Outgoing, bool]:
        """Send; returns those that SQS did not take, each with whether it never will: too large, as a rule."""
