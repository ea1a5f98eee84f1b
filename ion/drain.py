"""The drain: what happens between a wake-up and the moment the queue is empty.

    feed: receive -> read -> claim -+-> send (N senders, a connection each) -+-> settle: ledger, then the queues
                                    +-> refused, finished, busy -------------+

Feeders receive only while there is room. Senders are started as mail comes in, up to `smtp.max_connections`. One
settler (settler.py) writes all that has been decided by now in one group commit, and starts again. A message that has
been received is `held` until it is settled; the drain ends when nothing is held and nothing more is received.

A sender that gets no connection leaves its mail to the others; one whose mail is turned away (421 in a transaction)
puts that mail off and leaves as well, as long as there are others. The last one, which nobody can relieve, declares the
outage: at once where there is no connection, after several mails in a row where it is let in and turned away.

When the process dies at any point, what was held becomes visible again, and the ledger knows what was sent.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from ion.breaker import Breaker
from ion.deadletter import iso
from ion.errors import ServerUnavailable, SettingsError, TurnedAway
from ion.intake import Read, read
from ion.ledger import Busy, Conflict, Entry, Finished, Granted, Status
from ion.message import build
from ion.outcome import Kind, Outcome
from ion.queue import MAX_BATCH
from ion.redrive import redrive
from ion.request import RedriveRequest, SendRequest
from ion.settlement import Held, Settlement, unsent
from ion.settler import Settler

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ion.parts import Parts
    from ion.protocols import Courier, Message

# One feeder keeps this many connections busy; more of them help only where there are more.
CONNECTIONS_A_FEEDER = 12
# Where the ledger does not answer, received messages rest for so long.
LEDGER_REST_SECONDS = 60
# So many mails in a row, turned away by a server that lets us in, are not these mails' own fault.
MAX_TURNED_AWAY = 3


class Drain:
    """One drain of the queue; `run` is called once."""

    def __init__(self, parts: Parts, *, deadline: float) -> None:
        """Prepare a drain that ends before `deadline` (Unix time), when the process may be killed."""
        self._parts = parts
        self._settings = parts.settings
        self._telemetry = parts.telemetry
        self._clock = parts.clock
        self._margin = margin = parts.settings.drain.deadline_margin_seconds
        self._end = deadline - margin
        self._settler = Settler(
            parts, until=deadline - margin / 2, count=self._count, fail=self._fail, settled=self._let_go
        )
        smtp = parts.settings.smtp
        self._send_seconds = smtp.connect_timeout_seconds + smtp.transaction_timeout_seconds
        self._lease_seconds = parts.settings.queue.visibility_timeout_seconds
        self._waiting: asyncio.Queue[Held | None] = asyncio.Queue()
        self._room = asyncio.Event()
        self._room.set()
        self._breaker = Breaker(parts)
        self._held: set[Message] = set()
        self._feeders = 0
        self._senders = 0
        self._idle_senders = 0
        self._max_senders = smtp.max_connections
        self._ended = ""
        self._trouble: Exception | None = None
        self.counts: Counter[str] = Counter()

    async def run(self) -> dict[str, object]:
        """Drain until the queue is empty, time is short, or the SMTP server is unavailable.

        Returns:
            What was done: counts of mails, and under `ended` why the drain ended.

        Raises:
            SettingsError: The function's time-out leaves no time for even one send.
            LedgerUnavailable, botocore's errors: The ledger or a queue failed. What was held has been settled as far as
                it could be; the rest becomes visible again by itself.
        """
        if self._clock.now() + self._send_seconds > self._end:
            raise SettingsError(
                f"the function's time-out is too short: one send may take {self._send_seconds:g} s (smtp."
                "connect_timeout_seconds + smtp.transaction_timeout_seconds), drain.deadline_margin_seconds not counted"
            )
        if await self._breaker.admits():
            async with asyncio.TaskGroup() as self._tasks:
                self._tasks.create_task(self._settler.run())
                self._start_feeder()
        else:
            self._stop("unavailable")
            self._count("unavailable")
        if self._trouble is not None:
            raise self._trouble
        self._telemetry.log("drained", ended=self._ended, counts=dict(self.counts))
        return {"ended": self._ended, **self.counts}

    def _stop(self, why: str) -> None:
        """Receive nothing more; the first reason counts."""
        self._ended = self._ended or why
        self._room.set()

    def _count(self, what: str, times: int = 1) -> None:
        """Count for the summary, and for the metric of the same name."""
        self.counts[what] += times
        self._telemetry.count(what.title().replace("_", ""), times)

    def _fail(self, error: Exception) -> None:
        self._trouble = self._trouble or error
        self._telemetry.log("failed", level="ERROR", error=f"{type(error).__name__}: {error}")
        self._stop("error")

    # --- feed --------------------------------------------------------------------------------------------------------

    def _start_feeder(self) -> None:
        self._feeders += 1
        self._tasks.create_task(self._feed())

    async def _feed(self) -> None:
        most = 1 + self._settings.smtp.max_connections // CONNECTIONS_A_FEEDER
        try:
            while True:
                await self._room.wait()
                if self._clock.now() + self._send_seconds > self._end:
                    self._stop("deadline")
                if self._ended:
                    break
                received = await self._fetch()
                if self._breaker.trial and self._held:
                    self._room.clear()  # until it is settled
                if received == 0 and not self._held:
                    self._stop("empty")
                elif received == MAX_BATCH and self._feeders < most:
                    self._start_feeder()
                elif received < MAX_BATCH and self._feeders > 1:
                    break
        except Exception as error:
            self._fail(error)
        finally:
            self._feeders -= 1
            self._end_if_over()

    async def _fetch(self) -> int:
        """Receive a batch and claim its mails; returns how many messages came."""
        messages = await self._parts.queue.receive(
            limit=1 if self._breaker.trial else MAX_BATCH,
            wait_seconds=1,
            visibility_seconds=math.ceil(self._lease_seconds),
        )
        if not messages:
            return 0
        self._count("received", len(messages))
        self._telemetry.observe("BatchSize", len(messages))
        sender = self._settings.smtp.default_sender
        reads = [
            read(message, owner=f"{self._parts.random.getrandbits(128):032x}", default_sender=sender)
            for message in messages
        ]
        self._held.update(messages)
        await self._claim(reads)
        return len(messages)

    async def _claim(self, reads: Sequence[Read]) -> None:
        try:
            claims = [one.claim for one in reads]
            answers = await self._parts.ledger.claim(claims, lease_seconds=self._lease_seconds)
        except Exception as error:
            # Nothing may be sent that is not claimed. A claim that did get through is left to its lease.
            for one in reads:
                self._settler.decide(Settlement(message=one.message, hide_seconds=LEDGER_REST_SECONDS))
            return self._fail(error)
        conflicts = []
        for one, answer in zip(reads, answers, strict=True):
            match answer:
                case Granted(entry):
                    held = Held(one.message, one.request, entry)
                    try:
                        self._admit(held, one.failure)
                    except Exception as error:  # a fault of ours, or a mail that nobody has thought of
                        self._settler.give_up(held, "internal-error", f"{type(error).__name__}: {error}")
                case Finished(entry):
                    self._telemetry.log("repeat", id=entry.id, status=entry.status)
                    self._count("repeats")
                    self._settler.decide(Settlement(message=one.message))
                case Busy(until):
                    wait = max(1, math.ceil(until - self._clock.now()))
                    self._settler.decide(Settlement(message=one.message, hide_seconds=wait))
                case Conflict():
                    conflicts.append(one.apart(default_sender=self._settings.smtp.default_sender))
        if conflicts:
            await self._claim(conflicts)
        return None

    def _admit(self, held: Held, failure: tuple[str, str] | None) -> None:
        """Send a mail that is ours on its way: to a sender, or straight to its settlement."""
        entry, message = held.entry, held.message
        self._telemetry.observe("QueueLatency", 1000 * (message.received_at - message.sent_at))
        if entry.reason:  # given up before, by a worker that did not live to dead-letter it
            return self._settler.give_up(held, entry.reason, entry.detail)
        if failure:
            return self._settler.give_up(held, *failure)
        if isinstance(held.request, SendRequest):
            return self._prepare(held, held.request)
        assert held.request is not None  # noqa: S101 - what could not be read has its failure
        self._tasks.create_task(self._redrive(held, held.request))
        return None

    def _prepare(self, held: Held, request: SendRequest) -> None:
        """Build the mail for those who are still owed it, and queue it for a sender."""
        if request.expires_at is not None and request.expires_at <= self._clock.now():
            return self._settler.give_up(held, "expired", f"was to be sent before {iso(request.expires_at)}")
        sender = self._settings.smtp.default_sender
        envelope = build(request, mail_id=held.entry.id, default_sender=sender, date=held.entry.created)
        recipients = unsent(held.entry, envelope.recipients)
        if not recipients:
            return self._settler.conclude(held, {}, seconds=0.0)
        held.envelope = replace(envelope, recipients=recipients)
        return self._enqueue(held)

    def _enqueue(self, held: Held) -> None:
        if not self._max_senders:
            return self._settler.release(held, "the SMTP server is unavailable")
        self._waiting.put_nowait(held)
        if self._waiting.qsize() > self._max_senders:
            self._room.clear()
        if self._waiting.qsize() > self._idle_senders and self._senders < self._max_senders:
            self._senders += 1
            self._idle_senders += 1
            self._tasks.create_task(self._send())
        return None

    # --- send --------------------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        """Send what waits, one mail after the other over one connection, until there is no more to come."""
        courier = self._parts.couriers()
        turned_away = 0
        try:
            while (held := await self._waiting.get()) is not None:
                self._idle_senders -= 1
                if self._waiting.qsize() <= self._max_senders and not self._breaker.trial:
                    self._room.set()
                try:
                    if await self._send_one(courier, held):
                        turned_away = 0
                        await self._breaker.close()
                except TurnedAway as error:
                    turned_away += 1
                    self._settler.put_off(held, str(error))
                    hopeless = turned_away == MAX_TURNED_AWAY or self._breaker.trial
                    if await self._leave(error, alone=hopeless):
                        return
                except ServerUnavailable as error:
                    if self._senders > 1 and self._max_senders:  # others still work
                        self._waiting.put_nowait(held)
                    else:
                        self._settler.release(held, f"the SMTP server is unavailable: {error}")
                    await self._leave(error, alone=True)
                    return
                self._idle_senders += 1
            self._idle_senders -= 1
        finally:
            self._senders -= 1
            await courier.close()

    async def _leave(self, error: ServerUnavailable, *, alone: bool) -> bool:
        """Whether this sender has to go: the server wants fewer connections, or (where it is `alone`) none at all."""
        if not self._max_senders:
            return True
        if self._senders > 1:
            self._max_senders = self._senders - 1
            self._telemetry.log("connection-lost", level="WARNING", error=str(error), connections=self._max_senders)
            return True
        if alone:
            self._max_senders = 0
            self._stop("unavailable")
            self._count("unavailable")
            while not self._waiting.empty():
                if (held := self._waiting.get_nowait()) is not None:
                    self._settler.release(held, f"the SMTP server is unavailable: {error}")
            await self._breaker.open(error)
        return alone

    async def _send_one(self, courier: Courier, held: Held) -> bool:
        """Send one mail, or let go of it where it cannot be sent; whether the server answered.

        Raises:
            ServerUnavailable: Nobody got it, and it is still held.
        """
        began = self._clock.now()
        must_last = began + self._send_seconds
        if must_last > self._end or self._trouble:
            why = "the function's time is short" if must_last > self._end else "the function has failed"
            self._settler.release(held, why)
            return False
        try:
            if held.entry.lease_until < must_last + self._margin and not await self._keep_line(held):
                return False
        except Exception as error:  # nothing was sent: leave it to the lease
            self._fail(error)
            self._let_go([held.message])
            return False
        assert held.envelope is not None  # noqa: S101 - whoever waits has one
        try:
            outcomes = await courier.send(held.envelope)
        except ServerUnavailable:
            raise
        except Exception as error:  # a fault of ours: whether the mail went out is unknown
            text = f"{type(error).__name__}: {error}"
            outcomes = dict.fromkeys(held.envelope.recipients, Outcome(kind=Kind.AMBIGUOUS, text=text))
            await courier.close()
        self._settler.conclude(held, outcomes, seconds=self._clock.now() - began)
        return any(outcome.code for outcome in outcomes.values())

    async def _keep_line(self, held: Held) -> bool:
        """Extend the lease of the mail at the head of the line, and of all behind it; whether it is still ours.

        The head's lease has to cover a whole send, and the next head is looked at within one: nobody waits too long.
        """
        # Out of the line meanwhile: what another sender had begun and settled, a late renewal would undo.
        behind = [one for _ in range(self._waiting.qsize()) if (one := self._waiting.get_nowait())]
        try:
            kept = await self._settler.keep([held, *behind])
        except Exception:
            for one in behind:
                self._enqueue(one)
            raise
        for one in kept:
            if one is not held:
                self._enqueue(one)
        return held in kept

    async def _redrive(self, held: Held, request: RedriveRequest) -> None:
        """Carry out a redrive request beside the sends; what the deadline cuts short goes on at the next wake-up."""

        async def keep(entry: Entry) -> Entry | None:
            return held.entry if await self._settler.keep([held], moved=entry.moved) else None

        before = held.entry.moved
        try:
            result = await redrive(
                request,
                held.entry,
                letters=self._parts.letters,
                queue=self._parts.queue,
                keep=keep,
                clock=self._clock,
                deadline=self._end,
                hide_seconds=math.ceil(self._lease_seconds),
            )
        except Exception as error:
            self._fail(error)
            self._let_go([held.message])  # it comes again when it is visible, and goes on from where its record stands
            return
        if result is None:
            return
        entry, done = result
        self._count("redriven", entry.moved - before)
        self._telemetry.log("redrive", id=entry.id, moved=entry.moved, done=done)
        if done:
            entry = replace(entry, status=Status.DELIVERED, lease_until=0.0, updated=self._clock.now())
            self._settler.decide(Settlement(message=held.message, entry=entry))
        else:
            self._settler.release(held, "the function's time is short")

    # --- the end -----------------------------------------------------------------------------------------------------

    def _let_go(self, messages: Iterable[Message]) -> None:
        self._held.difference_update(messages)
        if not self._held:
            self._room.set()
        self._end_if_over()

    def _end_if_over(self) -> None:
        if self._feeders or self._held:
            return
        for _ in range(self._senders):
            self._waiting.put_nowait(None)
        self._settler.finish()
