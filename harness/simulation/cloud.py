"""AWS as ion's neighbours: the topic, the function and the alarm of the simulation.

Queues and ledger are the twins of harness/memory.py.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
from random import Random
from typing import TYPE_CHECKING, Literal

from harness.simulation.plan import document
from harness.simulation.process import CURRENT, Killed, Process
from ion.handler import serve

if TYPE_CHECKING:
    from harness.simulation.plan import Publication
    from harness.simulation.world import World

FUNCTION_SECONDS = 120.0
# https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
ERROR_RETRIES_SECONDS = (60.0, 120.0)
THROTTLE_FIRST_SECONDS, THROTTLE_LONGEST_SECONDS, EVENT_AGE_SECONDS = 1.0, 300.0, 6 * 3600.0
# An idle process is kept about so long; AWS promises nothing.
KEEP_ALIVE_SECONDS = 600.0
METRIC_SECONDS = 60.0
# A point of the queue's metric becomes part of an evaluation within so long.
EVALUATION_SECONDS = 90.0
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-monitoring-using-cloudwatch.html
INACTIVE_AFTER_SECONDS, ACTIVE_WITHIN_SECONDS = 6 * 3600.0, 900.0
PUBLISHER_TRIES = 3
# Whatever comes from the network takes up to so long.
LATENCY_SECONDS = 0.2


class Topic:
    """SNS: each publication goes to the queue and wakes the function.

    Attributes:
        under_way: How many deliveries to the queue have not arrived yet.
    """

    def __init__(self, world: World, random: Random) -> None:
        self._world = world
        self._random = random
        self.under_way = 0

    async def publish(self, publication: Publication, number: int) -> None:
        """Publish as its publisher does, who tries again when it is refused or gets no answer."""
        world = self._world
        body = document(publication, number, epoch=world.epoch)
        name = f"{'redrive' if publication.redrive else 'mail' if publication.to else 'poison'}-{number}"
        for _ in range(publication.times):
            for _ in range(PUBLISHER_TRIES):
                world.note("publish.attempted", workload=name, body=body)
                if world.strike("sns.fails"):
                    world.note("publish.failed", workload=name)
                else:
                    self._deliver(body, keyed=bool(publication.key))
                    if not world.strike("sns.loses"):
                        world.note("publish.acknowledged", workload=name)
                        break
                    world.note("publish.unknown", workload=name)
                await asyncio.sleep(5 * self._random.random())

    def _deliver(self, body: str, *, keyed: bool) -> None:
        # Of a mail without an id, a second copy under another MessageId is another mail (docs/fidelity.md).
        for _ in range(2 if keyed and self._world.strike("sns.twice") else 1):
            self.under_way += 1
            self._world.later(self.latency(), self._arrive, body)
        for _ in range(2 if self._world.strike("sns.twice") else 1):
            self._world.later(self.latency(), self._world.function.wake, "published")

    def _arrive(self, body: str) -> None:
        self.under_way -= 1
        self._world.queue.put(body)
        self._world.stir()

    def latency(self) -> float:
        """How long a delivery takes, in seconds."""
        late = self._world.strike("sns.late")
        return self._random.random() * (float(late.detail) if late else LATENCY_SECONDS)


class Function:
    """Lambda: asynchronous invocations, at most so many at a time, each of them in a process that may die.

    Attributes:
        idle: The processes that wait for work.
        running: How many invocations run now.
    """

    def __init__(self, world: World, random: Random) -> None:
        self._world = world
        self._random = random
        self.idle: list[Process] = []
        self._processes = 0
        self.running = 0

    def wake(self, why: str) -> None:
        """Invoke it asynchronously."""
        self._world.start(self._event(why))

    async def _event(self, why: str) -> None:
        """One event in Lambda's own queue, until it is served or too old."""
        now = self._world.now
        began, pause, errors = now(), THROTTLE_FIRST_SECONDS, 0
        while now() < began + EVENT_AGE_SECONDS:
            if self.running >= self._world.plan.concurrency or self._world.strike("lambda.throttled"):
                await asyncio.sleep(pause * (0.5 + self._random.random() / 2))
                pause = min(2 * pause, THROTTLE_LONGEST_SECONDS)
            elif await self._invoke(why) or errors == len(ERROR_RETRIES_SECONDS):
                return
            else:
                await asyncio.sleep(ERROR_RETRIES_SECONDS[errors])
                errors += 1

    async def _invoke(self, why: str) -> bool:
        """Run the handler once; whether it returned."""
        self.running += 1
        try:
            process = await self._process()
            return await self._run(process, why)
        finally:
            self.running -= 1

    async def _process(self) -> Process:
        """One that idles, or a new one."""
        cold = self._world.strike("lambda.cold")
        if self.idle and not cold:
            process = self.idle.pop()
            if self._world.now() < process.idle_since + KEEP_ALIVE_SECONDS:
                return process
        self._processes += 1
        number = self._processes
        await asyncio.sleep(self._random.random() * (float(cold.detail) if cold else 1.0))
        return Process(number, Random(f"{self._world.plan.seed}/process/{number}"))  # noqa: S311 - chance, not secrecy

    async def _run(self, process: Process, why: str) -> bool:
        world = self._world
        if world.strike("lambda.dies"):  # not before it has set the alarm to OK: see docs/fidelity.md
            process.fuse = 2 + int(self._random.choice((8, 30, 120)) * self._random.random())
        if stall := world.strike("lambda.stalls"):
            process.stall = (1 + int(60 * self._random.random() ** 2), float(stall.detail) * self._random.random())
        world.note("function.started", process=process.number, why=why)
        context = contextvars.copy_context()
        context.run(CURRENT.set, process)
        deadline = world.clock.now() + FUNCTION_SECONDS
        process.main = asyncio.create_task(_served(world, process, deadline), context=context)
        timer = world.later(FUNCTION_SECONDS, process.die, "timed out")
        await asyncio.wait([process.main])
        timer.cancel()
        error = "" if process.main.cancelled() else process.main.result()
        process.main = None
        process.fuse, process.stall, process.stalled_until, process.idle_since = 0, (0, 0.0), 0.0, world.now()
        how = process.how or ("failed" if error else "returned")
        world.note("function.ended", process=process.number, how=how, error=error)
        if process.alive:
            self.idle.append(process)
        return how == "returned"


async def _served(world: World, process: Process, deadline: float) -> str:
    """The handler's own coroutine, run; empty, or the error that it ended with."""
    try:
        summary = await serve(world.parts(process), deadline=deadline)
        world.told(process, f"ended: {summary['ended']}", {})
    except (Killed, asyncio.CancelledError):
        return "killed"
    except BaseException as error:
        if not process.alive:
            return "killed"
        return f"{type(error).__name__}: {error}"
    return ""


class Alarm:
    """CloudWatch's alarm on the queue's visible messages, and ion's access to it."""

    def __init__(self, world: World, random: Random) -> None:
        self._world = world
        self._random = random
        self._newest = 0.0
        self._active_from = 0.0
        self.state: Literal["OK", "ALARM"] = "OK"

    async def reset(self) -> bool:
        """Set it to OK; as in ion, a failure stops nothing."""
        try:
            await self._world.hook("alarm.reset", "before")
            self.become("OK")
            await self._world.hook("alarm.reset", "after")
        except Exception:
            return False
        return True

    async def watch(self) -> None:
        """Take a point of the metric once a minute, for ever; skips the minutes in which there is nothing to see."""
        world = self._world
        active = -math.inf  # when the queue was last used
        while True:
            at = METRIC_SECONDS * (1 + world.now() // METRIC_SECONDS)
            visible_at = world.queue.next_visible() - world.epoch
            if self.state == "OK" and visible_at > at:
                await world.stirred(visible_at)
                if world.now() > active + INACTIVE_AFTER_SECONDS:
                    self._active_from = world.now() + ACTIVE_WITHIN_SECONDS * self._random.random()
                continue
            active = world.now()
            await asyncio.sleep(at - active)
            if at >= self._active_from:
                late = world.strike("alarm.late")
                delay = self._random.random() * (float(late.detail) if late else EVALUATION_SECONDS)
                world.later(delay, self._evaluate, at, world.queue.counts()[0])

    def _evaluate(self, at: float, visible: int) -> None:
        """Compare one point with the threshold; only a transition acts."""
        if at < self._newest:
            return
        self._newest = at
        before, after = self.state, "ALARM" if visible else "OK"
        if after != before:
            self.become("ALARM" if visible else "OK")
            if visible:
                self._world.later(self._world.topic.latency(), self._world.function.wake, "alarm")

    def become(self, state: Literal["OK", "ALARM"]) -> None:
        """Take on a state, as SetAlarmState has it too."""
        if self.state != state:
            self.state = state
            self._world.told(None, f"the alarm is {state}", {})
