"""The settler: what has been decided is written down and carried out, all that is ready at a time.

The ledger comes first, in one call for the whole group; then the queue: delete, hide, dead-letter. What a crash can
make happen twice is what was not yet settled.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ion import settlement
from ion.deadletter import brief, dead_letter
from ion.ledger import Status
from ion.outcome import Kind
from ion.settlement import Settlement

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ion.ledger import Entry
    from ion.outcome import Outcome
    from ion.parts import Parts
    from ion.protocols import Message
    from ion.settlement import Held

LEDGER_RETRY_SECONDS = 1.0


class Settler:
    """Takes decisions from a drain and settles them in group commits, one group at a time."""

    def __init__(
        self,
        parts: Parts,
        *,
        until: float,
        count: Callable[[str, int], None],
        fail: Callable[[Exception], None],
        settled: Callable[[Sequence[Message]], None],
    ) -> None:
        """Wire a settler.

        Args:
            parts: The queues, the ledger, the clock and the telemetry.
            until: Unix time until which a ledger that does not answer is asked again.
            count: Told what happened, by name, and how often.
            fail: Told of errors that the function should end with.
            settled: Told which messages have been settled.
        """
        self._queue = parts.queue
        self._letters = parts.letters
        self._ledger = parts.ledger
        self._clock = parts.clock
        self._telemetry = parts.telemetry
        self._schedule = parts.settings.retry
        self._random = parts.random
        self._lease_seconds = parts.settings.queue.visibility_timeout_seconds
        self._until = until
        self._count = count
        self._fail = fail
        self._settled = settled
        self._decided: asyncio.Queue[Settlement | None] = asyncio.Queue()

    def decide(self, settlement: Settlement) -> None:
        """Hand over a message whose fate is decided."""
        self._decided.put_nowait(settlement)

    def conclude(self, held: Held, outcomes: Mapping[str, Outcome], *, seconds: float) -> None:
        """A send has come to its outcomes, after so many seconds."""
        now = self._clock.now()
        entry = settlement.concluded(
            held.entry, outcomes, now=now, seconds=seconds, schedule=self._schedule, random=self._random
        )
        self.decide(Settlement(message=held.message, entry=entry, outcomes=outcomes))

    def give_up(self, held: Held, reason: str, detail: str) -> None:
        """The mail has failed for good: a short code, and words."""
        entry = settlement.failed(held.entry, reason=reason, detail=detail, now=self._clock.now())
        self.decide(Settlement(message=held.message, entry=entry))

    def release(self, held: Held, why: str) -> None:
        """Nothing was sent: the mail is due at once, for whoever comes next."""
        self._count("released", 1)
        entry = settlement.released(held.entry, now=self._clock.now(), text=why)
        self.decide(Settlement(message=held.message, entry=entry))

    def put_off(self, held: Held, why: str) -> None:
        """Nothing was sent, and the server seems to mean this mail: it is due later."""
        self._count("released", 1)
        now = self._clock.now()
        entry = settlement.put_off(held.entry, now=now, text=why, schedule=self._schedule, random=self._random)
        self.decide(Settlement(message=held.message, entry=entry))

    async def keep(self, some: Sequence[Held], **changes: Any) -> list[Held]:
        """Extend leases and visibility; where a lease is lost, let go of the message without a trace.

        Args:
            some: The mails; none of them may be in a sender's hands.
            changes: What else is to change in their entries.

        Returns:
            Those that are still ours.

        Raises:
            LedgerUnavailable, botocore's errors: It is not known which of them are.
        """
        now = self._clock.now()
        entries = [replace(one.entry, lease_until=now + self._lease_seconds, updated=now, **changes) for one in some]
        kept = []
        for one, entry, ours in zip(some, entries, await self._ledger.write(entries), strict=True):
            if ours:
                one.entry = entry
                kept.append(one)
            else:
                self._telemetry.log("lease-lost", level="WARNING", id=entry.id)
                self._settled([one.message])
        await self._queue.hide([(one.message, math.ceil(self._lease_seconds)) for one in kept])
        return kept

    def finish(self) -> None:
        """Say that no more decisions will come."""
        self._decided.put_nowait(None)

    async def run(self) -> None:
        """Settle everything that is decided by now in one group, and start again, until `finish`."""
        going_on = True
        while going_on:
            ready = [await self._decided.get()]
            while not self._decided.empty():
                ready.append(self._decided.get_nowait())
            batch = [decided for decided in ready if decided is not None]
            going_on = len(batch) == len(ready)
            if not batch:
                break
            try:
                await self._commit(batch)
            except Exception as error:
                self._fail(error)
            self._settled([decided.message for decided in batch])

    async def _commit(self, batch: Sequence[Settlement]) -> None:
        """Ledger first: only what it has taken is carried out on the queue."""
        carried_out = await self._record(batch)
        dying = [s for s in carried_out if s.entry and s.entry.status in {Status.FAILED, Status.EXPIRED}]
        hidden = [(s.message, seconds) for s in carried_out if (seconds := self._hide_seconds(s)) is not None]
        leaving = {message for message, _ in hidden} | {s.message for s in dying}
        deleted = [s.message for s in carried_out if s.message not in leaving]
        results = await asyncio.gather(
            self._queue.delete(deleted), self._queue.hide(hidden), self._bury(dying), return_exceptions=True
        )
        for result in results:
            # What SQS did not do now is done when the message comes again: the ledger knows where it stands.
            if isinstance(result, Exception):
                self._fail(result)
            elif isinstance(result, list) and result:
                self._telemetry.log("queue-refused", level="WARNING", messages=len(result))

    def _hide_seconds(self, decided: Settlement) -> int | None:
        if decided.entry is None:
            return decided.hide_seconds
        if decided.entry.status is Status.DEFERRED:
            return max(0, math.ceil(decided.entry.retry_at - self._clock.now()))
        return None

    async def _record(self, batch: Sequence[Settlement]) -> list[Settlement]:
        """Write down what has been decided; returns the settlements that may be carried out."""
        written = await self._write([decided.entry for decided in batch if decided.entry is not None])
        ours = iter(written)
        recorded = []
        for decided in batch:
            trouble = "" if decided.entry is None else next(ours)
            if trouble:
                self._tell_unrecorded(decided, trouble)
            else:
                self._tell(decided)
                recorded.append(decided)
        return recorded

    async def _write(self, entries: Sequence[Entry]) -> list[str]:
        """Write entries, trying until the deadline; says of each why it was not written, empty where it was."""
        while entries:
            try:
                written = await self._ledger.write(entries)
            except Exception as error:
                self._fail(error)
                if self._clock.now() + LEDGER_RETRY_SECONDS > self._until:
                    return [f"{type(error).__name__}: {error}"] * len(entries)
                await asyncio.sleep(LEDGER_RETRY_SECONDS)
            else:
                return ["" if ours else "the lease was lost" for ours in written]
        return []

    def _tell(self, decided: Settlement) -> None:
        """Log and count what became of a mail, once the ledger has it."""
        entry = decided.entry
        if entry is None:
            return
        outcomes = decided.outcomes or {}
        ambiguous = sum(outcome.kind is Kind.AMBIGUOUS for outcome in outcomes.values())
        if ambiguous:
            self._count("ambiguous", 1)
        if decided.outcomes is not None and entry.status is not Status.EXPIRED:
            rejected = any(outcome.kind is Kind.REJECTED for outcome in outcomes.values())
            self._count("rejected" if rejected else entry.status.value, 1)
        now = self._clock.now()
        if entry.status is Status.DELIVERED:
            self._telemetry.observe("DeliveryLatency", 1000 * (now - decided.message.sent_at))
        last = entry.log[-1] if entry.log else None
        self._telemetry.log(
            entry.status.value,
            id=entry.id,
            attempt=entry.attempts,
            recipients={address: outcome.kind.value for address, outcome in outcomes.items()},
            result=last.result if last else "",
            reply=last.text if last else "",
            seconds=round(last.seconds, 3) if last else 0.0,
            age_seconds=round(now - decided.message.sent_at, 3),
            reason=entry.reason,
            retry_in_seconds=self._hide_seconds(decided),
        )

    def _tell_unrecorded(self, decided: Settlement, error: str) -> None:
        """Log and count a mail whose outcome the ledger did not take: what was sent of it may be sent once more."""
        if decided.entry is None:
            return
        sent = any(o.kind in {Kind.DELIVERED, Kind.AMBIGUOUS} for o in (decided.outcomes or {}).values())
        if sent:
            self._count("ambiguous", 1)
        self._telemetry.log(
            "unrecorded",
            level="ERROR",
            id=decided.entry.id,
            ambiguous=sent,
            status=decided.entry.status,
            error=error,
        )

    async def _bury(self, dying: Sequence[Settlement]) -> list[Message]:
        """Dead-letter, note in the ledger that it is done, delete: so nothing is lost and none doubled."""
        letters = {dead_letter(s.message, s.entry): s for s in dying if s.entry}
        refused = await self._letters.send(list(letters))
        large = [letter for letter, for_good in refused.items() if for_good]
        if large:  # with all they say: the queue may take less than SQS does at most
            shorter = {brief(letter): letters.pop(letter) for letter in large}
            letters |= shorter
            refused |= await self._letters.send(list(shorter))
        buried = [(s.message, s.entry) for letter, s in letters.items() if letter not in refused and s.entry]
        if not buried:
            return []
        for _, entry in buried:
            self._count("dead_lettered", 1)
            self._telemetry.log("dead-lettered", id=entry.id, reason=entry.reason, detail=entry.detail)
        await self._write([replace(entry, dead_lettered=True, lease_until=0.0) for _, entry in buried])
        return await self._queue.delete([message for message, _ in buried])
