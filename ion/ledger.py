"""The record of each mail, and the leases by which exactly one worker sends it.

A worker claims a mail before it sends, and writes down what came of it before anything else happens. `judge` is the
whole of the rule; `dynamo.DynamoLedger` carries it out with conditional writes.

Times are Unix seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from ion.outcome import Kind, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Ids that start so are ion's own records; the publish contract refuses them.
RESERVED_PREFIX = "ion:"
# A mail in another worker's hands is settled within seconds as a rule: look again then, not when its lease ends.
BUSY_RECHECK_SECONDS = 15.0
# The attempt log keeps the latest: all ten attempts of a mail that was redriven four times.
MAX_LOGGED_ATTEMPTS = 50
# The result in the log of a mail whose worker vanished.
ABANDONED = "abandoned"
# Replies and errors are kept to this length, so that 50 recipients and a full log stay far under DynamoDB's 400 KB.
MAX_TEXT = 200
# What a mail failed of is kept to this length, as much as its dead letter says.
MAX_DETAIL = 1000


class Status(StrEnum):
    """Where a mail stands."""

    SENDING = "sending"
    DELIVERED = "delivered"
    DEFERRED = "deferred"
    FAILED = "failed"
    EXPIRED = "expired"


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One line of a mail's attempt log.

    Attributes:
        at: When it ended.
        result: `delivered`, `deferred`, `rejected` or `ambiguous`, the worst of its recipients'; `released` (given back
            unsent), `turned-away` (the server broke off the transaction), `abandoned` (the worker vanished with the
            mail in its hands) or `redriven`.
        seconds: How long it took.
        text: The reply or error that decided.
    """

    at: float
    result: str
    seconds: float = 0.0
    text: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One mail's record.

    Attributes:
        id: The mail's identity.
        status: Where it stands.
        owner: The claim that wrote it last; only that claim may write it on.
        lease_until: Nobody else may claim it before; 0 when it is nobody's.
        created: When it was first claimed: the mail's Date.
        updated: When it was last written.
        digest: Fingerprint of the published document, to tell a repeat from another mail under the same id.
        retry_at: A deferred mail is not due before.
        generation: How often it has been redriven.
        attempts: Attempts spent in this generation.
        recipients: The latest outcome of each recipient that has had one.
        log: The latest attempts, oldest first.
        message_id: The Message-ID header it is sent with.
        tags: The publisher's tags.
        reason: Why it failed, as a short code; empty unless it failed or expired.
        detail: Why it failed, in words.
        dead_lettered: Whether its dead letter is known to be in the dead-letter queue.
        moved: Of a redrive request: how many dead letters it has moved.
    """

    id: str
    status: Status
    owner: str
    lease_until: float
    created: float
    updated: float
    digest: str = ""
    retry_at: float = 0.0
    generation: int = 0
    attempts: int = 0
    recipients: Mapping[str, Outcome] = field(default_factory=dict)
    log: tuple[Attempt, ...] = ()
    message_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    detail: str = ""
    dead_lettered: bool = False
    moved: int = 0

    def logged(self, attempt: Attempt) -> tuple[Attempt, ...]:
        """The attempt log with one more line, the oldest dropped where it grows too long."""
        return (*self.log, replace(attempt, text=clipped(attempt.text)))[-MAX_LOGGED_ATTEMPTS:]


def clipped(text: str, limit: int = MAX_TEXT) -> str:
    """A text that can be stored: of at most `limit` characters, and free of what has no UTF-8 form."""
    return text[:limit].encode(errors="replace").decode()


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A worker's wish to send a mail.

    Attributes:
        id: The mail's identity.
        owner: A token of this claim alone.
        generation: The redrive that the message comes from; 0 for one that a publisher sent.
        digest: Fingerprint of the published document; empty where it could not be read.
        message_id: The Message-ID header that the mail is sent with.
        tags: The publisher's tags.
    """

    id: str
    owner: str
    generation: int = 0
    digest: str = ""
    message_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Granted:
    """The mail is the claimer's until the entry's lease runs out."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Busy:
    """Not now: another worker holds the mail, or it is not due; look again at that time."""

    until: float


@dataclass(frozen=True, slots=True)
class Finished:
    """Nothing is left to do for this mail: whoever holds a message of it deletes the message."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Conflict:
    """The id belongs to another mail."""


Answer = Granted | Busy | Finished | Conflict


class Ledger(Protocol):
    """Records of mails by id. Every method raises `LedgerUnavailable` where no answer can be had."""

    async def claim(self, claims: Sequence[Claim], *, lease_seconds: float) -> list[Answer]:
        """Claim mails, in as few calls as the store allows; an answer a claim, in order."""

    async def write(self, entries: Sequence[Entry]) -> list[bool]:
        """Write entries, each only while its `owner` still owns it; says of each whether it was written."""

    async def breaker(self) -> str:
        """Why the SMTP server was last found unavailable; empty while it is believed to work."""

    async def open_breaker(self, reason: str) -> None:
        """Record that the SMTP server is unavailable."""

    async def close_breaker(self) -> None:
        """Record that the SMTP server works."""


def fresh(claim: Claim, *, now: float, lease_seconds: float) -> Entry:
    """The entry of a mail that is claimed for the first time."""
    return Entry(
        id=claim.id,
        status=Status.SENDING,
        owner=claim.owner,
        lease_until=now + lease_seconds,
        created=now,
        updated=now,
        digest=claim.digest,
        generation=claim.generation,
        message_id=claim.message_id,
        tags=claim.tags,
    )


def judge(old: Entry, claim: Claim, *, now: float, lease_seconds: float) -> Answer:  # noqa: PLR0911 - a rule a line
    """What a claim on a known mail comes to; a `Granted` carries the entry to write, and holds once it is written.

    Delivered and dead-lettered mails are finished, except that a later redrive gives a dead-lettered one its full
    attempts again. A mail in another worker's hands, or not yet due, is busy. Everything else may be taken: a deferred
    mail that is due, and one whose worker has let its lease run out, be it in sending or in dead-lettering.
    """
    if old.owner == claim.owner:  # the answer to this very claim was lost on its way
        return Granted(old)
    if claim.digest and old.digest and claim.digest != old.digest:
        return Conflict()
    if old.status is Status.DELIVERED:
        return Finished(old)
    dead = old.status in {Status.FAILED, Status.EXPIRED}
    if dead and claim.generation > old.generation:
        return Granted(_revived(old, claim, now=now, lease_seconds=lease_seconds))
    if dead and old.dead_lettered:
        return Finished(old)
    if old.status is Status.DEFERRED:
        if old.retry_at > now:
            return Busy(old.retry_at)
    elif old.lease_until > now:
        return Busy(min(old.lease_until, now + BUSY_RECHECK_SECONDS))
    log = old.log
    if old.status is Status.SENDING:
        log = old.logged(Attempt(at=now, result=ABANDONED, text="the worker that held it ended without a word"))
    return Granted(
        replace(
            old,
            status=Status.SENDING,
            owner=claim.owner,
            lease_until=now + lease_seconds,
            updated=now,
            log=log,
            message_id=claim.message_id or old.message_id,
        )
    )


def _revived(old: Entry, claim: Claim, *, now: float, lease_seconds: float) -> Entry:
    """A dead-lettered mail at the start of a redrive: full attempts, and only those who have not got it yet."""
    return replace(
        old,
        status=Status.SENDING,
        owner=claim.owner,
        lease_until=now + lease_seconds,
        updated=now,
        retry_at=0.0,
        generation=claim.generation,
        message_id=claim.message_id or old.message_id,
        attempts=0,
        recipients={a: o for a, o in old.recipients.items() if o.kind is Kind.DELIVERED},
        log=old.logged(Attempt(at=now, result="redriven", text=f"after {old.reason}: {old.detail}")),
        reason="",
        detail="",
        dead_lettered=False,
    )
