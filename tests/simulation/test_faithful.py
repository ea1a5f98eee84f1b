"""The simulated services beside LocalStack's: the same client does the same things to both, and sees the same.

What a client can see is compared: what a receive brings and how often it has been received, what is refused, counts,
the answers to claims and writes, and the alarm's transitions. Known differences stand in docs/fidelity.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from harness.memory import LoopClock, MemoryLedger, MemoryQueue
from harness.simulation.loop import run
from harness.simulation.plan import Plan
from harness.simulation.world import World
from harness.stack import Names, make_table
from ion.dynamo import DynamoLedger
from ion.ledger import Attempt, Claim, Granted, Status
from ion.outcome import Kind, Outcome
from ion.protocols import Outgoing
from ion.queue import SqsQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from ion.protocols import Message, Queue

pytestmark = pytest.mark.integration

MAX_RECEIVES = 3
_numbers = itertools.count(1)


class LateError(Exception):
    """The machine did not keep up: what was to be looked at before it changes may have changed by then."""


async def until(moment: float, *, slack: float) -> None:
    """Wait for a moment of the loop's time; raises LateError where it is missed, or the machine stands still."""
    loop = asyncio.get_running_loop()
    while (now := loop.time()) < moment:
        nap = min(0.25, moment - now)
        await asyncio.sleep(nap)
        if loop.time() > now + nap + slack:
            raise LateError
    if now > moment + slack:
        raise LateError


async def use_queue(queue: Queue, letters: Queue, counts: Callable[[], Any], dice: Random, pace: int) -> list[Any]:
    """A random client of a queue; returns all that it sees.

    Whatever changes by itself does so three seconds before it is looked at, or `pace` times as long: LocalStack shows
    messages again once a second, and later on a busy machine. Half of that is for what the client itself is late.
    """
    seen: list[Any] = []
    held: list[Message] = []
    hidden_until = 0.0  # of the newest; what is not in flight any more is treated otherwise by LocalStack than by AWS
    sent = itertools.count()
    tick = 0.0
    began = asyncio.get_running_loop().time()
    for _ in range(18):
        match dice.choice(("send", "receive", "receive", "hide", "show", "delete", "late", "wait")):
            case "send":
                batch = [Outgoing(body=f"m{next(sent)}", attributes={"a": "1"}) for _ in range(dice.choice((1, 2)))]
                seen.append(("send", len(await queue.send(batch))))
            case "receive":
                hidden = pace * dice.choice((3, 9, 30))
                got = await queue.receive(limit=10, wait_seconds=0, visibility_seconds=hidden)
                held += sorted(got, key=lambda message: message.body)  # SQS promises no order
                hidden_until = tick + hidden if got else hidden_until
                seen.append(("receive", sorted((m.body, m.receive_count, dict(m.attributes)["a"]) for m in got)))
            case "hide" | "show" as what if held and tick < hidden_until:
                message = held[-1]
                seconds = pace * 30 if what == "hide" else 0
                hidden_until = tick + seconds
                refused = await queue.hide([(message, seconds)])
                seen.append((what, message.body, len(refused)))
            case "delete" if held:
                message = held.pop(dice.randrange(len(held)))
                seen.append(("delete", message.body, len(await queue.delete([message]))))
            case "wait":
                tick += pace * 6.0
        tick += 0.01
        await until(began + tick, slack=pace * 1.5)
        seen.append(("counts", *counts()))
    await until(began + tick, slack=pace * 1.5)
    dead = await letters.receive(limit=10, wait_seconds=0, visibility_seconds=60)
    seen.append(("dead", sorted(letter.body for letter in dead)))
    return seen


def simulated_queue(seed: int, pace: int) -> list[Any]:
    async def story() -> list[Any]:
        clock = LoopClock()
        letters = MemoryQueue(clock, name="letters")
        queue = MemoryQueue(clock, deadletters=letters, max_receive_count=MAX_RECEIVES)
        return await use_queue(queue, letters, queue.counts, Random(seed), pace)  # noqa: S311 - chance, not secrecy

    return run(story())


async def real_queue(sqs: Any, seed: int, pace: int) -> list[Any]:
    name = f"faithful-{next(_numbers)}"
    dead_url = sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
    dead_arn = sqs.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    policy = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": MAX_RECEIVES})
    url = sqs.create_queue(QueueName=name, Attributes={"RedrivePolicy": policy})["QueueUrl"]

    def counts() -> tuple[int, int]:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return int(found[names[0]]), int(found[names[1]])

    dice = Random(seed)  # noqa: S311 - chance, not secrecy
    return await use_queue(SqsQueue(sqs, name=url), SqsQueue(sqs, name=dead_url), counts, dice, pace)


@pytest.mark.timeout(600)
async def test_queue(emulator):
    """A random client sees the same of a simulated queue as of LocalStack's."""
    sqs = emulator.client("sqs")

    async def compare(seed: int) -> None:
        for pace in (1, 2, 4):
            with contextlib.suppress(LateError):  # it has seen nothing to be compared: again, with more time
                seen = await real_queue(sqs, seed, pace)
                assert seen == await asyncio.to_thread(simulated_queue, seed, pace), f"seed {seed}"
                return
        raise LateError

    await asyncio.gather(*map(compare, range(1, 7)))


class HandClock:
    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def now(self) -> float:
        return self.time


async def use_ledger(ledger: Any, clock: HandClock, dice: Random, prefix: str) -> list[Any]:
    """Two random workers that share a ledger; returns all that they are told."""
    seen: list[Any] = []
    ours: list[Any] = []
    owners = itertools.count(1)
    for _ in range(40):
        clock.time += dice.choice((0.0, 1.0, 5.0, 20.0))
        if dice.random() < 0.5 or not ours:
            claims = [
                Claim(
                    id=f"{prefix}{dice.randrange(3)}",
                    owner=f"w{next(owners)}",
                    digest=dice.choice(("d", "d", "d", "e", "")),
                    generation=dice.choice((0, 0, 1)),
                )
                for _ in range(dice.choice((1, 2, 3)))
            ]
            answers = await ledger.claim(claims, lease_seconds=10)
            ours += [answer.entry for answer in answers if isinstance(answer, Granted)]
            seen.append([(type(a).__name__, getattr(a, "until", None)) for a in answers])
            seen.append([a.entry for a in answers if isinstance(a, Granted)])
        else:
            entry = _concluded(dice.choice(ours), clock.now(), dice)
            seen.append((entry.id, entry.status, await ledger.write([entry])))
    return seen


def _concluded(entry: Any, now: float, dice: Random) -> Any:
    status = dice.choice((Status.SENDING, Status.DELIVERED, Status.DEFERRED, Status.FAILED))
    kind = {Status.DELIVERED: Kind.DELIVERED, Status.FAILED: Kind.REJECTED}.get(status, Kind.DEFERRED)
    return replace(
        entry,
        status=status,
        updated=now,
        lease_until=now + 10 if status is Status.SENDING else 0.0,
        retry_at=now + 5 if status is Status.DEFERRED else 0.0,
        reason="rejected" if status is Status.FAILED else "",
        detail="no" if status is Status.FAILED else "",
        dead_lettered=status is Status.FAILED and dice.random() < 0.5,
        recipients={"ann@example.com": Outcome(kind=kind, code=250, text="x")},
        log=entry.logged(Attempt(at=now, result=kind, seconds=0.5, text="x")),
    )


async def test_ledger(emulator):
    """Random workers are told the same by the simulated ledger as by DynamoDB's conditional writes."""
    names = Names(prefix="faithful-")
    make_table(emulator, names)
    dynamodb = emulator.client("dynamodb")
    try:
        for seed in range(1, 7):
            clock, twin = HandClock(), HandClock()
            real = DynamoLedger(dynamodb, table=names.table, ttl_days=30, clock=clock)
            told = await use_ledger(real, clock, Random(seed), f"{seed}-")  # noqa: S311 - chance, not secrecy
            simulated = MemoryLedger(twin)
            assert told == await use_ledger(simulated, twin, Random(seed), f"{seed}-"), f"seed {seed}"  # noqa: S311 - chance, not secrecy
    finally:
        dynamodb.delete_table(TableName=names.table)


def simulated_transitions() -> list[str]:
    """A message stays visible; the alarm is set to OK by hand once."""

    async def story() -> list[str]:
        world = World(Plan(seed=1), tracing=True, keeping=False)
        world.function.wake = lambda _: None
        watch = asyncio.create_task(world.alarm.watch())
        await asyncio.sleep(60)
        world.queue.put("m")
        world.stir()
        await asyncio.sleep(1500)  # the metrics of a queue that was not in use come late
        world.alarm.become("OK")
        await asyncio.sleep(300)
        watch.cancel()
        return [event["what"].split()[-1] for event in world.events if event["event"] == "told"]

    return run(story(), random=Random(1))  # noqa: S311 - chance, not secrecy


def test_alarm(make_stack, function_zip, wait_until):
    """An alarm set to OK acts again while a message is visible, and only a transition acts."""
    stack = make_stack(function_zip(main="def handler(event, context):\n    return None\n"), handler="main.handler")
    cloudwatch, sqs = stack.emulator.client("cloudwatch"), stack.emulator.client("sqs")

    def transitions() -> list[tuple[str, str]]:
        items = cloudwatch.describe_alarm_history(AlarmName=stack.names.alarm)["AlarmHistoryItems"]
        news = [json.loads(item["HistoryData"])["newState"] for item in items]
        return [(new["stateValue"], new["stateReason"]) for new in news]

    def in_alarm_again() -> list[str]:
        after = transitions()
        return [state for state, _ in after[after.index(("OK", "test")) :]][:2]

    sqs.send_message(QueueUrl=stack.queue_url, MessageBody="m")
    wait_until(lambda: "ALARM" in dict(transitions()), seconds=120)
    cloudwatch.set_alarm_state(AlarmName=stack.names.alarm, StateValue="OK", StateReason="test")
    wait_until(lambda: len(in_alarm_again()) == 2, seconds=120)
    assert ["ALARM", *in_alarm_again()] == simulated_transitions()
