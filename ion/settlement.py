"""What becomes of a mail after a send: pure rules from outcomes to the ledger's next entry.

An entry says by its status what happens to the message: delivered, it is deleted; deferred, hidden until it is due;
failed or expired, dead-lettered and then deleted.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ion import retry
from ion.ledger import ABANDONED, MAX_DETAIL, Attempt, Entry, Status, clipped
from ion.outcome import Kind, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from random import Random

    from ion.protocols import Envelope, Message
    from ion.request import RedriveRequest, SendRequest
    from ion.settings import RetrySettings

# From the one that says most about a send to the one that says least.
_WORST_FIRST = (Kind.AMBIGUOUS, Kind.DEFERRED, Kind.REJECTED, Kind.DELIVERED)
_OPEN = {Kind.DEFERRED, Kind.AMBIGUOUS}
# Lines of the attempt log that stand for no attempt.
RELEASED, TURNED_AWAY = "released", "turned-away"
_UNSENT = {RELEASED, TURNED_AWAY, ABANDONED}


@dataclass(slots=True, eq=False)
class Held:
    """A message in a drain's hands, with its claim on the mail."""

    message: Message
    request: SendRequest | RedriveRequest | None
    entry: Entry
    envelope: Envelope | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Settlement:
    """One message whose fate is decided.

    Attributes:
        message: The message.
        entry: What to write into the ledger before the message is touched; None where the ledger knows already.
        hide_seconds: Without an entry: hide the message that long, or where None delete it.
        outcomes: What the send that led here came to; empty where nothing was sent.
    """

    message: Message
    entry: Entry | None = None
    hide_seconds: int | None = None
    outcomes: Mapping[str, Outcome] | None = None


def unsent(entry: Entry, recipients: Sequence[str]) -> tuple[str, ...]:
    """The recipients that a send is still owed to."""
    return tuple(r for r in recipients if r not in entry.recipients or entry.recipients[r].kind in _OPEN)


def concluded(
    entry: Entry,
    outcomes: Mapping[str, Outcome],
    *,
    now: float,
    seconds: float,
    schedule: RetrySettings,
    random: Random,
) -> Entry:
    """The entry after a send that spent an attempt.

    A mail is done when every recipient has been delivered or rejected, and is dead-lettered once, as a whole, when it
    is done with any rejected or when its attempts are exhausted. Until then the rejected stand in the ledger and only
    the open ones are sent again.
    """
    recipients = {**entry.recipients, **outcomes}
    kinds = {outcome.kind for outcome in recipients.values()}
    attempts = entry.attempts + 1
    worst = _worst(outcomes.values())
    entry = replace(
        entry,
        recipients=recipients,
        attempts=attempts,
        updated=now,
        log=entry.logged(Attempt(at=now, result=worst.kind, seconds=seconds, text=_words(worst))),
    )
    if kinds & _OPEN and attempts < schedule.max_attempts:
        wait = retry.delay(attempts, schedule, random=random)
        return replace(entry, status=Status.DEFERRED, retry_at=now + wait, lease_until=0.0)
    if kinds & _OPEN:
        last = _worst(o for o in recipients.values() if o.kind in _OPEN)
        return failed(
            entry, reason="attempts-exhausted", detail=f"{last.kind} {attempts} times: {_words(last)}", now=now
        )
    if Kind.REJECTED in kinds:
        last = _worst(o for o in recipients.values() if o.kind is Kind.REJECTED)
        return failed(entry, reason="rejected", detail=_words(last), now=now)
    return replace(entry, status=Status.DELIVERED, lease_until=0.0)


def failed(entry: Entry, *, reason: str, detail: str, now: float) -> Entry:
    """The entry of a mail that is given up; the lease stays until its dead letter has been sent."""
    status = Status.EXPIRED if reason == "expired" else Status.FAILED
    return replace(entry, status=status, reason=reason, detail=clipped(detail, MAX_DETAIL), updated=now)


def released(entry: Entry, *, now: float, text: str) -> Entry:
    """The entry of a mail that is given back unsent: due at once, no attempt spent."""
    log = entry.logged(Attempt(at=now, result=RELEASED, text=text))
    return replace(entry, status=Status.DEFERRED, retry_at=now, lease_until=0.0, updated=now, log=log)


def put_off(entry: Entry, *, now: float, text: str, schedule: RetrySettings, random: Random) -> Entry:
    """The entry of a mail that the server turned away: no attempt spent, and a longer wait each time in a row.

    The wait keeps a mail that is always turned away from the others' way, and its receive count low.
    """
    log = entry.logged(Attempt(at=now, result=TURNED_AWAY, text=text))
    since = itertools.takewhile(lambda line: line.result in _UNSENT, reversed(log))
    wait = retry.delay(sum(line.result == TURNED_AWAY for line in since), schedule, random=random)
    return replace(entry, status=Status.DEFERRED, retry_at=now + wait, lease_until=0.0, updated=now, log=log)


def _worst(outcomes: Iterable[Outcome]) -> Outcome:
    return min(outcomes, key=lambda o: _WORST_FIRST.index(o.kind), default=Outcome(kind=Kind.DELIVERED))


def _words(outcome: Outcome) -> str:
    """A reply as a person reads it: code, enhanced code, text."""
    return " ".join(str(part) for part in (outcome.code or "", outcome.enhanced, outcome.text) if part)
