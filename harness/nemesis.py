"""The nemesis: what goes wrong during a run, and when.

A scenario names its faults with a time each. The same seed gives the same schedule. Whatever still goes wrong when the
publishing is over and the last fault has begun is healed then, so that a verdict is about the promises and not about
time.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from random import Random

    from harness.history import History
    from harness.localstack.trouble import TroubleRule
    from harness.mischief import Mischief, Misdeed
    from harness.rig import Rig
    from harness.tally import Tally

POLL_SECONDS = 0.1

When = Callable[["Tally"], bool]
"""A condition of the run so far."""


def accepted(share: float) -> When:
    """Once the server has accepted so large a share of as many mails as there will be, one at least."""
    return lambda tally: tally.accepted >= max(1, share * tally.mails)


def all_dead(tally: Tally) -> bool:
    """Once every mail has ended in the dead-letter queue, or with its recipients."""
    published = tally.acknowledged >= tally.mails
    return published and tally.outstanding <= tally.depth.dead and not tally.depth.waiting


def redriven(share: float) -> When:
    """Once so large a share of the mails, all of which were dead letters, are none any more."""
    return lambda tally: tally.depth.dead <= (1 - share) * tally.mails


def alarmed(alarm: str) -> When:
    """Once that alarm (`wake-up` or `dead letters`) has fired."""
    return lambda tally: alarm in tally.alarmed


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that goes wrong for a while.

    Attributes:
        name: What the history and the report call it.
        start: When it begins, in seconds from the first publish, or from the beginning of the fault named by `after`.
        after: The name of a fault that must have begun before.
        seconds: How long it lasts; None: until everything is healed.
        when: It begins no earlier than this holds.
        until: It ends no earlier than this holds.
        heals: Whether it ends with the healing, at the latest; one that does not lasts for the whole run.
        must_strike: Whether a run in which it never strikes proves nothing. Such a fault does not end before it has.
    """

    name: str
    start: float = 0.0
    after: str = ""
    seconds: float | None = None
    when: When | None = None
    until: When | None = None
    heals: bool = True
    must_strike: bool = True
    instant: ClassVar[bool] = False

    def begin(self, world: World) -> None:
        """Make it go wrong."""

    def end(self, world: World) -> None:
        """Make it right again."""

    def again(self, world: World) -> None:
        """Called now and then while it lasts."""

    def struck(self, world: World) -> int:
        """How often it has struck: a fault that never did has proved nothing."""
        return world.struck[self.name]

    def plan(self) -> dict[str, Any]:
        """What the schedule says of it: all that the seed decides."""
        return {name: value for name, value in _plain(self).items() if name != "name"}


@dataclass(kw_only=True)
class World:
    """What the faults reach into.

    Attributes:
        rig: The sink and the stack.
        mischief: What the sink does wrong.
        tally: How the run goes.
        history: Where to tell.
        random: The schedule's dice.
        struck: How often each fault has struck.
        kept: What a fault has to remember while it lasts, by its name.
        trouble: The rules of trouble on the AWS side, by the fault that made them.
    """

    rig: Rig
    mischief: Mischief
    tally: Tally
    history: History
    random: Random
    struck: Counter[str] = field(default_factory=Counter)
    kept: dict[str, float] = field(default_factory=dict)
    trouble: dict[str, tuple[TroubleRule, ...]] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        """A client of the stack's AWS."""
        return self.rig.stack.emulator.client(service)

    def apply_trouble(self) -> None:
        """Let the rules of now hold on the AWS side."""
        self.rig.stack.emulator.trouble([rule for rules in self.trouble.values() for rule in rules])


@dataclass(frozen=True, kw_only=True)
class Server(Fault):
    """The SMTP server misbehaves, in one way or several at once."""

    does: tuple[Misdeed, ...]

    def begin(self, world: World) -> None:
        """Begin."""
        world.mischief.begin(self.name, self.does)

    def end(self, world: World) -> None:
        """End."""
        world.mischief.end(self.name)

    def struck(self, world: World) -> int:
        """How often the server did."""
        return world.mischief.struck[self.name]


@dataclass(frozen=True, kw_only=True)
class ServerDown(Fault):
    """The SMTP server is gone: connections that stand are cut, new ones refused."""

    def begin(self, world: World) -> None:
        """Begin."""
        world.rig.sink.close()
        world.rig.sink.drop_all()
        world.struck[self.name] += 1

    def end(self, world: World) -> None:
        """End."""
        world.rig.sink.open()


@dataclass(frozen=True, kw_only=True)
class SizeLimit(Fault):
    """The SMTP server takes no mail beyond so many bytes (RFC 1870)."""

    size: int

    def begin(self, world: World) -> None:
        """Begin; connections that stand have heard another limit."""
        world.kept[self.name] = world.rig.sink.size_limit
        world.rig.sink.size_limit = self.size
        world.rig.sink.drop_all()
        world.struck[self.name] += 1

    def end(self, world: World) -> None:
        """End."""
        world.rig.sink.size_limit = int(world.kept[self.name])
        world.rig.sink.drop_all()


@dataclass(frozen=True, kw_only=True)
class Kill(Fault):
    """The function's processes are killed (SIGKILL): at once, and again whenever so many more mails were accepted.

    Attributes:
        every: The share of the mails; half as many or half as many more, by chance. Counted in mails and not in
            seconds, so that a slow machine, whose functions take long to start, gets on all the same.
    """

    every: float = 0.2

    def begin(self, world: World) -> None:
        """Kill."""
        self.again(world)

    def again(self, world: World) -> None:
        """Kill once more, where it is time and something runs."""
        if world.tally.accepted < world.kept.get(self.name, 0):
            return
        killed = []
        for pid in world.rig.stack.function_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
        if killed:
            world.struck[self.name] += 1
            more = max(1, self.every * world.random.uniform(0.5, 1.5) * world.tally.mails)
            world.kept[self.name] = world.tally.accepted + more
            world.history.record("function.killed", fault=self.name, pids=killed)


@dataclass(frozen=True, kw_only=True)
class Aws(Fault):
    """An AWS service fails a share of the function's calls."""

    rules: tuple[TroubleRule, ...]

    def begin(self, world: World) -> None:
        """Begin."""
        world.kept[self.name] = self._hit(world)
        world.trouble[self.name] = self.rules
        world.apply_trouble()

    def end(self, world: World) -> None:
        """End."""
        world.trouble.pop(self.name, None)
        world.apply_trouble()

    def struck(self, world: World) -> int:
        """How many calls were hit, by this fault or by one beside it that hits the same services."""
        return self._hit(world) - int(world.kept[self.name])

    def _hit(self, world: World) -> int:
        services = {rule.service for rule in self.rules}
        counts = world.rig.stack.emulator.trouble_counts()
        return sum(count for name, count in counts.items() if name.partition(".")[0] in services)


@dataclass(frozen=True, kw_only=True)
class Redeliver(Fault):
    """SQS delivers messages that somebody holds a second time, as a standard queue may."""

    share: float = 0.3

    def begin(self, world: World) -> None:
        """Once."""
        self.again(world)

    def again(self, world: World) -> None:
        """And again."""
        queue, seed = world.rig.stack.names.queue, world.random.getrandbits(32)
        world.struck[self.name] += world.rig.stack.emulator.redeliver(queue, share=self.share, seed=seed)


@dataclass(frozen=True, kw_only=True)
class NoWakeUps(Fault):
    """What is published reaches the queue and wakes nobody."""

    def begin(self, world: World) -> None:
        """Take the function's subscription away."""
        sns, topic = world.client("sns"), world.rig.stack.topic_arn
        for each in sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]:
            if each["Protocol"] == "lambda":
                sns.unsubscribe(SubscriptionArn=each["SubscriptionArn"])
                world.struck[self.name] += 1

    def end(self, world: World) -> None:
        """Subscribe it again."""
        stack = world.rig.stack
        world.client("sns").subscribe(TopicArn=stack.topic_arn, Protocol="lambda", Endpoint=stack.function_arn)


@dataclass(frozen=True, kw_only=True)
class Redrive(Fault):
    """Somebody asks for a redrive: no fault, but something to do at a certain time."""

    instant: ClassVar[bool] = True
    request: tuple[tuple[str, object], ...] = ()

    def begin(self, world: World) -> None:
        """Ask."""
        body = json.dumps({"action": "redrive", **dict(self.request)})
        workload = f"{self.name}@{time.time():.3f}"
        world.history.record("publish.attempted", workload=workload, attempt=1, body=body)
        answer = world.client("sns").publish(TopicArn=world.rig.stack.topic_arn, Message=body)
        world.history.record("publish.acknowledged", workload=workload, attempt=1, message_id=answer["MessageId"])
        world.struck[self.name] += 1


class Nemesis:
    """Carries a schedule out, in a thread of its own.

    Attributes:
        world: What it reaches into.
    """

    def __init__(self, faults: Sequence[Fault], world: World) -> None:
        self.world = world
        self._waiting = sorted(faults, key=lambda fault: fault.start)
        self._active: list[tuple[Fault, float]] = []
        self._begun: dict[str, float] = {}
        self._published = threading.Event()
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="nemesis", daemon=True)

    def start(self) -> None:
        """Begin: from now on the faults' seconds count. What is to go wrong from the first publish on does so now."""
        for fault in self._waiting:
            self.world.history.record("fault.planned", name=fault.name, kind=type(fault).__name__, **fault.plan())
        self._begun[""] = time.monotonic()
        self._step(self._begun[""])
        self._thread.start()

    def published(self) -> None:
        """Say that the publishing is over."""
        self._published.set()

    @property
    def waits_for_time(self) -> bool:
        """Whether something is to come by the clock alone: whoever waits for it does not wait in vain."""
        now = time.monotonic()
        lasting = any(each.seconds is not None and now - since < each.seconds for each, since in list(self._active))
        return lasting or any(now - self._begun.get(each.after, now) < each.start for each in list(self._waiting))

    @property
    def unfinished(self) -> list[str]:
        """The faults that have not come, and those that have come and wait for something to end."""
        waiting = [fault.name for fault, _ in list(self._active) if fault.heals]
        return [fault.name for fault in list(self._waiting)] + waiting

    @property
    def over(self) -> bool:
        """Whether every fault has come and everything that heals is healed."""
        if self._failure is not None:
            raise self._failure
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Heal everything now, and end."""
        self._stop.set()
        self._thread.join()
        for fault, _ in list(self._active):
            with contextlib.suppress(BotoCoreError, ClientError, OSError):
                self._end(fault)

    def _run(self) -> None:
        try:
            while not self._stop.wait(POLL_SECONDS):
                self._step(time.monotonic())
                if not self._waiting and not any(fault.heals for fault, _ in self._active):
                    return
        except BaseException as error:
            self._failure = error

    def _due(self, fault: Fault, now: float) -> bool:
        since = self._begun.get(fault.after)
        return since is not None and now - since >= fault.start and (not fault.when or fault.when(self.world.tally))

    def _step(self, now: float) -> None:
        tally = self.world.tally
        for fault, since in list(self._active):
            expired = fault.seconds is not None and now - since >= fault.seconds
            unbounded = fault.seconds is None and fault.until is None
            healed = unbounded and fault.heals and self._published.is_set() and not self._waiting
            reached = fault.until is not None and (fault.seconds is None or expired) and fault.until(tally)
            over = healed or reached or (expired and fault.until is None)
            if over and (not fault.must_strike or fault.struck(self.world)):
                self._end(fault)
            else:
                fault.again(self.world)
        for fault in [each for each in self._waiting if self._due(each, now)]:
            self._waiting.remove(fault)
            self._begun[fault.name] = now
            self.world.history.record("fault.started", name=fault.name, kind=type(fault).__name__)
            fault.begin(self.world)
            self._active.append((fault, now))
            if fault.instant:
                self._end(fault)

    def _end(self, fault: Fault) -> None:
        self._active = [each for each in self._active if each[0] is not fault]
        fault.end(self.world)
        self.world.history.record("fault.ended", name=fault.name, struck=fault.struck(self.world))


def _plain(value: Any) -> Any:
    """A fault as JSON has it, without what is as it is anyway, and without the conditions, which are code."""
    if is_dataclass(value):
        found = {each.name: (getattr(value, each.name), each.default) for each in fields(value)}
        return {name: _plain(one) for name, (one, default) in found.items() if one != default and not callable(one)}
    return [_plain(each) for each in value] if isinstance(value, tuple) else value
