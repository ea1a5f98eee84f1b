"""In-memory twins of what ion's drain touches: queue, ledger, alarm and clock; memory_smtp.py has the SMTP server's.

They keep the same contracts as the real ones (tests/contracts holds both to them), need no thread, no socket and no
file, and take their time from the event loop: on a loop with a virtual clock they run on virtual time.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random

from ion.ledger import BUSY_RECHECK_SECONDS, Answer, Busy, Claim, Entry, Granted, fresh, judge
from ion.protocols import Message, Outgoing
from ion.queue import MAX_BATCH_BYTES, size
from ion.retry import MAX_VISIBILITY_SECONDS

# What a test or a simulation lets happen around a call: it may wait, and it may raise. Called with the operation's name
# and "before" or "after"; what is raised after an operation took effect is an answer lost on its way.
Hook = Callable[[str, str], Awaitable[None]]


async def quiet(_operation: str, _when: str) -> None:
    """The hook that lets nothing happen."""


def never(_mishap: str) -> bool:
    """The chance of a mishap where there is none."""
    return False


class LoopClock:
    """`ion.protocols.Clock` on the running event loop's time."""

    def __init__(self, *, epoch: float = 1_767_225_600.0) -> None:
        """Begin at `epoch`, in Unix seconds (by default the first second of 2026), plus the loop's own time."""
        self._epoch = epoch

    def now(self) -> float:
        """Unix time in seconds."""
        return self._epoch + asyncio.get_running_loop().time()


@dataclass(slots=True, eq=False)
class _Stored:
    message_id: str
    body: str
    attributes: dict[str, str]
    sent_at: float
    visible_at: float
    receive_count: int = 0
    receipt: str = ""
    first_received_at: float = 0.0
    received_at: float = 0.0


class MemoryQueue:
    """`ion.protocols.Queue` with the ways of an SQS standard queue.

    At least once, in no order; a receive hides a message for its visibility timeout and counts; the newest receipt
    handle is the one that counts; a message received more than `max_receive_count` times moves to `deadletters`; a
    message that is older than the retention is gone.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/standard-queues.html
    """

    def __init__(
        self,
        clock: LoopClock,
        *,
        random: Random | None = None,
        deadletters: MemoryQueue | None = None,
        max_receive_count: int = 50,
        retention_seconds: float = 4 * 86_400,
        duplicates: float = 0.0,
        hook: Hook = quiet,
        name: str = "queue",
    ) -> None:
        """Make an empty queue.

        Args:
            clock: The time of day.
            random: The source of the disorder.
            deadletters: Where a message goes that was received too often; None: nowhere.
            max_receive_count: The most receives before that.
            retention_seconds: How long a message is kept.
            duplicates: The share of receives that leave the message visible, so that it comes twice.
            hook: What happens around calls.
            name: Its name, for the hook's operations (`queue.receive`).
        """
        self._clock = clock
        self._random = random or Random(0)  # noqa: S311 - disorder, not secrecy
        self._deadletters = deadletters
        self._max_receive_count = max_receive_count
        self._retention_seconds = retention_seconds
        self._duplicates = duplicates
        self.hook = hook
        # Asked for each message of a call: `queue.delete.refused` (an entry that fails in a batch which does not),
        # `queue.delete.undone` (a deletion that a server of SQS's has missed: the message is received once more), and
        # `queue.receive.repeated` (a message that stays visible when it is received).
        self.mishap: Callable[[str], bool] = never
        self.max_bytes = MAX_BATCH_BYTES
        self._name = name
        self._stored: dict[str, _Stored] = {}
        self._arrived = asyncio.Event()
        self._numbers = itertools.count(1)

    def put(self, body: str, attributes: dict[str, str] | None = None, *, delay_seconds: float = 0.0) -> str:
        """Put a message in, as a topic or a test does; returns its MessageId."""
        now = self._clock.now()
        message_id = f"{self._name}-{next(self._numbers)}"
        self._stored[message_id] = _Stored(
            message_id, body, dict(attributes or {}), sent_at=now, visible_at=now + delay_seconds
        )
        self._arrived.set()
        return message_id

    def counts(self) -> tuple[int, int]:
        """How many messages are visible, and how many are hidden."""
        now = self._clock.now()
        self._expire(now)
        visible = sum(stored.visible_at <= now for stored in self._stored.values())
        return visible, len(self._stored) - visible

    def next_visible(self) -> float:
        """When the first message is visible; infinite where the queue is empty."""
        self._expire(self._clock.now())
        return min((stored.visible_at for stored in self._stored.values()), default=math.inf)

    def all(self) -> list[Message]:
        """Every message in the queue, visible or not, without receiving it."""
        self._expire(self._clock.now())
        return [self._message(stored, receipt="") for stored in self._stored.values()]

    async def receive(self, *, limit: int, wait_seconds: int, visibility_seconds: int) -> list[Message]:
        """Up to `limit` messages that are visible, waiting for the first."""
        await self.hook(f"{self._name}.receive", "before")
        until = self._clock.now() + wait_seconds
        while not (received := self._receive(limit, visibility_seconds)) and self._clock.now() < until:
            self._arrived.clear()
            now = self._clock.now()
            next_visible = min((stored.visible_at for stored in self._stored.values()), default=math.inf)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), max(0.001, min(until, next_visible) - now))
        await self.hook(f"{self._name}.receive", "after")
        return received

    def _receive(self, limit: int, visibility_seconds: int) -> list[Message]:
        now = self._clock.now()
        self._expire(now)
        visible = [stored for stored in self._stored.values() if stored.visible_at <= now]
        self._random.shuffle(visible)
        received: list[Message] = []
        for stored in visible:
            if len(received) == limit:
                break
            stored.receive_count += 1
            if self._deadletters is not None and stored.receive_count > self._max_receive_count:
                del self._stored[stored.message_id]
                self._deadletters.adopt(stored)
                continue
            stored.receipt = f"{stored.message_id}#{next(self._numbers)}"
            stored.received_at = now
            if self._random.random() >= self._duplicates and not self.mishap(f"{self._name}.receive.repeated"):
                stored.visible_at = now + visibility_seconds
            received.append(self._message(stored, receipt=stored.receipt))
        return received

    def adopt(self, stored: _Stored) -> None:
        """Take over a message that another queue has given up; it keeps its id and its age."""
        stored.visible_at = self._clock.now()
        self._stored[stored.message_id] = stored
        self._arrived.set()

    async def delete(self, messages: Sequence[Message]) -> list[Message]:
        """Delete; a receipt of an earlier receive deletes as well, as SQS does as a rule."""
        if not messages:  # what has nothing to do makes no call
            return []
        await self.hook(f"{self._name}.delete", "before")
        refused = []
        for message in messages:
            if self.mishap(f"{self._name}.delete.refused"):
                refused.append(message)
            elif not self.mishap(f"{self._name}.delete.undone"):
                self._stored.pop(message.message_id, None)
        await self.hook(f"{self._name}.delete", "after")
        return refused

    async def hide(self, messages: Sequence[tuple[Message, int]]) -> list[Message]:
        """Set visibility timeouts, within 12 h from the receive; refuses messages that are not in flight."""
        if not messages:
            return []
        await self.hook(f"{self._name}.hide", "before")
        now = self._clock.now()
        refused = []
        for message, seconds in messages:
            stored = self._stored.get(message.message_id)
            if stored is None or stored.receipt != message.receipt or stored.visible_at <= now:
                refused.append(message)
                continue
            if self.mishap(f"{self._name}.hide.refused"):
                refused.append(message)
                continue
            stored.visible_at = min(now + seconds, stored.received_at + MAX_VISIBILITY_SECONDS)
            if seconds == 0:
                self._arrived.set()
        await self.hook(f"{self._name}.hide", "after")
        return refused

    async def send(self, messages: Sequence[Outgoing]) -> dict[Outgoing, bool]:
        """Send; returns those that met with a mishap or are too large, each with whether that will not change."""
        if not messages:
            return {}
        await self.hook(f"{self._name}.send", "before")
        refused = {
            message: too_large
            for message in messages
            if (too_large := size(message) > self.max_bytes) or self.mishap(f"{self._name}.send.refused")
        }
        for message in messages:
            if message not in refused:
                self.put(message.body, dict(message.attributes))
        await self.hook(f"{self._name}.send", "after")
        return refused

    def _expire(self, now: float) -> None:
        for message_id, stored in list(self._stored.items()):
            if now - stored.sent_at > self._retention_seconds:
                del self._stored[message_id]

    def _message(self, stored: _Stored, *, receipt: str) -> Message:
        return Message(
            message_id=stored.message_id,
            receipt=receipt,
            body=stored.body,
            attributes=dict(stored.attributes),
            sent_at=stored.sent_at,
            received_at=stored.received_at,
            receive_count=stored.receive_count,
        )


class MemoryLedger:
    """`ion.ledger.Ledger` in a dictionary; each operation takes effect at one instant, as a conditional write does."""

    def __init__(self, clock: LoopClock, *, hook: Hook = quiet) -> None:
        self._clock = clock
        self.hook = hook
        self.entries: dict[str, Entry] = {}
        self._breaker = ""

    async def claim(self, claims: Sequence[Claim], *, lease_seconds: float) -> list[Answer]:
        """Claim mails; of two claims on one id in one call the second is told to look again."""
        await self.hook("ledger.claim", "before")
        now = self._clock.now()
        answers: list[Answer] = []
        seen: set[str] = set()
        for claim in claims:
            old = self.entries.get(claim.id)
            if claim.id in seen:
                answer: Answer = Busy(now + min(lease_seconds, BUSY_RECHECK_SECONDS))
            elif old is None:
                answer = Granted(fresh(claim, now=now, lease_seconds=lease_seconds))
            else:
                answer = judge(old, claim, now=now, lease_seconds=lease_seconds)
            if isinstance(answer, Granted):
                self.entries[claim.id] = answer.entry
            seen.add(claim.id)
            answers.append(answer)
        await self.hook("ledger.claim", "after")
        return answers

    async def write(self, entries: Sequence[Entry]) -> list[bool]:
        """Write entries that are still their owners'."""
        await self.hook("ledger.write", "before")
        written = []
        for entry in entries:
            old = self.entries.get(entry.id)
            ours = old is not None and old.owner == entry.owner
            if ours:
                self.entries[entry.id] = entry
            written.append(ours)
        await self.hook("ledger.write", "after")
        return written

    async def breaker(self) -> str:
        """Why the SMTP server was last found unavailable."""
        await self.hook("ledger.breaker", "before")
        return self._breaker

    async def open_breaker(self, reason: str) -> None:
        """Record that the SMTP server is unavailable."""
        await self.hook("ledger.breaker", "before")
        self._breaker = reason or "unavailable"

    async def close_breaker(self) -> None:
        """Record that the SMTP server works."""
        await self.hook("ledger.breaker", "before")
        self._breaker = ""


class MemoryAlarm:
    """`ion.protocols.Alarm` that counts how often it was set to OK."""

    def __init__(self, *, hook: Hook = quiet) -> None:
        self.hook = hook
        self.resets = 0

    async def reset(self) -> bool:
        """Set it to OK; whether that was done, and what the hook raises stops nothing."""
        try:
            await self.hook("alarm.reset", "before")
        except Exception:
            return False
        self.resets += 1
        return True
