"""One simulated world: ion's own drain among twins of everything it touches, on virtual time, and what goes wrong."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from harness.memory import LoopClock, MemoryLedger, MemoryQueue
from harness.simulation.cloud import FUNCTION_SECONDS, Alarm, Function, Topic
from harness.simulation.plan import DAY_SECONDS
from harness.simulation.process import CURRENT, Notes, Process
from harness.simulation.server import Server
from ion import retry
from ion.errors import LedgerUnavailable
from ion.parts import Parts
from ion.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from harness.history import Event
    from harness.simulation.plan import Fault, Plan, Publication
    from ion.ledger import Answer, Claim, Entry

LATENCY_SECONDS = 0.03
POLL_SECONDS = 20.0
SENDER = "ion@example.com"


class Ledger(MemoryLedger):
    """The ledger's twin, which can fail half way, as one whose work takes several calls."""

    def __init__(self, world: World) -> None:
        super().__init__(world.clock, hook=world.hook)
        self._world = world

    async def claim(self, claims: Sequence[Claim], *, lease_seconds: float) -> list[Answer]:
        """Claim all, or some and fail."""
        half = self._half(claims)
        answers = await super().claim(half or claims, lease_seconds=lease_seconds)
        for answer in answers:
            self._world.seen[f"claim: {type(answer).__name__.lower()}"] += 1
        if half:
            raise LedgerUnavailable("simulated: the second half was throttled")
        return answers

    async def write(self, entries: Sequence[Entry]) -> list[bool]:
        """Write all, or some and fail."""
        half = self._half(entries)
        written = await super().write(half or entries)
        if half:
            raise LedgerUnavailable("simulated: the second half was throttled")
        return written

    def _half(self, things: Sequence[Any]) -> Sequence[Any]:
        return things[: len(things) // 2] if len(things) > 1 and self._world.strike("ledger.halves") else ()


class World:
    """Everything there is.

    Attributes:
        plan: What is to happen.
        settings: ion's.
        clock: The time of day.
        epoch: Unix time of the beginning.
        events: What has happened, in the words of a scenario's history.
        seen: How often each thing has happened that is worth having happened: faults by kind, and what ion said.
        upsets: When something happened by which a worker may lose a mail that it has claimed.
        mails: The bytes of the mails that were taken, by key, if they are kept.
    """

    def __init__(self, plan: Plan, *, tracing: bool, keeping: bool) -> None:
        self.plan = plan
        self._loop = asyncio.get_running_loop()
        self.settings = settings(plan.max_attempts, plan.connections, plan.visibility)
        self.clock = LoopClock()
        self.epoch = self.clock.now()
        self.events: list[Event] = []
        self.seen: Counter[str] = Counter()
        self.upsets: list[float] = []
        self.mails: dict[str, bytes] = {}
        self._tracing, self._keeping = tracing, keeping
        self._random = self._dice("world")
        self._faults: dict[str, list[Fault]] = defaultdict(list)
        for fault in plan.faults:
            self._faults[fault.kind].append(fault)
        self._stirred = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._crash: BaseException | None = None
        keep = 14 * DAY_SECONDS
        self.letters = MemoryQueue(
            self.clock, random=self._dice("letters"), retention_seconds=keep, hook=self.hook, name="letters"
        )
        self.queue = MemoryQueue(
            self.clock, random=self._dice("queue"), deadletters=self.letters, hook=self.hook, name="queue"
        )
        self.queue.mishap = self.letters.mishap = self._mishap
        self.ledger = Ledger(self)
        self.server = Server(self, self._dice("server"))
        self.topic = Topic(self, self._dice("topic"))
        self.function = Function(self, self._dice("function"))
        self.alarm = Alarm(self, self._dice("alarm"))

    def now(self) -> float:
        """Seconds since the beginning."""
        return self._loop.time()

    def later(self, seconds: float, what: Callable[..., object], *args: object) -> asyncio.TimerHandle:
        """Do something in a while."""
        return self._loop.call_later(seconds, what, *args)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin something that goes on beside everything else."""
        task = self._loop.create_task(work)
        self._tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            self._crash = self._crash or task.exception()

    def strike(self, kind: str, detail: str = "") -> Fault | None:
        """The fault of this kind (and detail) that strikes at this moment, if one does."""
        faults = self._faults.get(kind)
        if not faults:
            return None
        now = self._loop.time()
        for fault in faults:
            if fault.at <= now < fault.at + fault.seconds and detail in {"", fault.detail}:
                if fault.share < 1 and self._random.random() >= fault.share:
                    continue
                self.seen[kind] += 1
                if kind.startswith(("lambda.", "ledger.", "sqs.")):
                    self.upsets.append(self.clock.now())
                self.told(None, f"strikes: {fault.what}", {})
                return fault
        return None

    def stir(self) -> None:
        """Something has changed about when messages are visible."""
        self._stirred.set()

    async def stirred(self, until: float) -> None:
        """Wait until that, or until a time."""
        self._stirred.clear()
        timer = self.later(until - self.now(), self._stirred.set) if until < float("inf") else None
        await self._stirred.wait()
        if timer is not None:
            timer.cancel()

    def parts(self, process: Process) -> Parts:
        """What a process has wired, once for its life."""
        return Parts(
            queue=self.queue,
            letters=self.letters,
            ledger=self.ledger,
            couriers=self.server.courier,
            alarm=self.alarm,
            clock=self.clock,
            settings=self.settings,
            telemetry=Notes(process, self.told),
            random=process.random,
        )

    async def hook(self, operation: str, when: str) -> None:
        """What happens around each call to AWS."""
        service = operation.partition(".")[0]
        service = "sqs" if service in {"queue", "letters"} else service
        seconds = LATENCY_SECONDS * self._random.random()
        if slow := self.strike(f"{service}.slow"):
            seconds += float(slow.detail) / 2 * self._random.random()
        process = CURRENT.get()
        process.check()
        if self._tracing:
            self.note("call", process=process.number, operation=operation, when=when)
        await process.step(seconds)
        if when == "after" and operation in {"queue.send", "queue.hide"}:
            self.stir()
        if self.strike(f"{service}.{'fails' if when == 'before' else 'loses'}"):
            if service == "ledger":
                raise LedgerUnavailable(f"simulated: {operation} failed")
            raise ClientError({"Error": {"Code": "ServiceUnavailable", "Message": "simulated"}}, operation)

    def _mishap(self, what: str) -> bool:
        kinds = {"undone": "sqs.undeletes", "repeated": "sqs.repeats", "refused": "sqs.refuses"}
        return bool(self.strike(kinds[what.rpartition(".")[2]]))

    def note(self, event: str, **fields: Any) -> Event:
        """Write an event down."""
        self.events.append({"t": self.clock.now(), "event": event, **fields})
        return self.events[-1]

    def told(self, process: Process | None, what: str, fields: dict[str, object]) -> None:
        """Take down what ion, or AWS, says about itself: counted always, written into the history of a traced run."""
        self.seen[f"ion: {what} {fields['reason']}" if fields.get("reason") else f"ion: {what}"] += process is not None
        if self._tracing:
            self.note("told", process=process.number if process else 0, what=what, **fields)

    def keep(self, message: bytes) -> str:
        """Keep a mail's bytes, if any are kept; returns their key, or none."""
        if not self._keeping:
            return ""
        key = str(len(self.mails) + 1)
        self.mails[key] = message
        return key

    def _dice(self, name: str) -> Random:
        return Random(f"{self.plan.seed}/{name}")  # noqa: S311 - chance, not secrecy

    async def live(self) -> None:
        """Let the plan happen, and what it has left undone come to an end."""
        self.note("run.started", default_sender=SENDER)
        self._loop.set_exception_handler(lambda _loop, _context: None)  # what a dead process raises concerns nobody
        watch = self._loop.create_task(self.alarm.watch())
        for fault in self.plan.faults:
            self._loop.call_at(fault.at, self._begin, fault)
        for number, publication in enumerate(self.plan.publications, start=1):
            self._loop.call_at(publication.at, self._publish, publication, number)
        await asyncio.sleep(self.plan.days * DAY_SECONDS)
        self.note("phase", name="healed")
        patience = self.patience()
        until = self.now() + patience
        while (busy := self._busy()) and self.now() < until:  # noqa: ASYNC110 - virtual time is cheap
            await asyncio.sleep(POLL_SECONDS)
        watch.cancel()
        if self._crash is not None:
            raise self._crash
        self._close("stalled" if busy else "drained", patience)

    def _publish(self, publication: Publication, number: int) -> None:
        self.start(self.topic.publish(publication, number))

    def _begin(self, fault: Fault) -> None:
        self.note("fault.started", name=fault.kind, what=fault.what)
        self.later(fault.seconds, partial(self.note, "fault.ended", name=fault.kind, what=fault.what, struck=0))
        if fault.kind == "lambda.deployed":
            self.seen[fault.kind] += 1
            self.function.idle.clear()  # whatever runs goes on to its end

    def _busy(self) -> bool:
        return bool(self.queue.next_visible() < float("inf") or self.function.running or self.topic.under_way)

    def patience(self) -> float:
        """How long after the end of all faults the last mail may take, in seconds, by ion's settings and AWS's ways.

        It may have to wait out every delay of the schedule; before each of its attempts a lease that a dead process
        has left; and then for somebody to wake the function.
        """
        attempts = range(1, self.settings.retry.max_attempts + 1)
        delays = sum(retry.ceiling(attempt, self.settings.retry) for attempt in attempts)
        wake = 900.0 + 60.0 + 90.0 + 300.0 + 180.0 + FUNCTION_SECONDS
        return delays + len(attempts) * (self.settings.queue.visibility_timeout_seconds + wake)

    def _close(self, reason: str, patience: float) -> None:
        """Write down what is left."""
        visible, hidden = self.queue.counts()
        self.note("depth", visible=visible, in_flight=hidden, delayed=0, dead=len(self.letters.all()))
        for letter in self.letters.all():
            attributes = dict(letter.attributes)
            self.note("deadletter", message_id=letter.message_id, body=letter.body, attributes=attributes)
        for entry in self.ledger.entries.values():
            log = [{"at": line.at, "result": line.result} for line in entry.log]
            self.seen.update(f"ledger: {line['result']}" for line in log)
            item = {name: getattr(entry, name) for name in ("id", "message_id", "reason", "attempts", "generation")}
            self.note("ledger", item={**item, "status": entry.status.value, "log": log})
        self.note("run.finished", reason=reason, stalled_seconds=patience)


@cache
def settings(max_attempts: int, connections: int, visibility: int) -> Settings:
    """The settings of a plan; all others are the defaults."""
    values = {
        "SMTP_SERVER": "simulated",
        "SMTP_SENDER": SENDER,
        "RETRY_MAX_ATTEMPTS": max_attempts,
        "SMTP_MAX_CONNECTIONS": connections,
        "QUEUE_VISIBILITY_TIMEOUT_SECONDS": visibility,
    }
    return Settings.load({f"ION_{name}": str(value) for name, value in values.items()}, directory=Path("/nonexistent"))
