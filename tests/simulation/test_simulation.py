"""The simulation itself: it keeps its word about time, chance and death, and it finds what is wrong."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import subprocess
import sys
from collections import Counter
from random import Random

import pytest

from harness.cli import main
from harness.commands.simulate import shortest
from harness.simulation import story
from harness.simulation.coverage import Lines, never_struck
from harness.simulation.loop import run
from harness.simulation.plan import KINDS, Fault, Plan, Publication, draw
from harness.simulation.process import CURRENT, Killed, Process
from harness.simulation.run import simulate
from harness.simulation.world import World
from tests.simulation.planted import BUGS, planted
from tests.simulation.regressions import REGRESSIONS
from tests.simulation.shrunk import SHRUNK

FIXED_SEEDS = range(1, 251)
FRESH_SEEDS = 100
TWICE_SEEDS = range(1, 21)


def digest(seed: int) -> str:
    return hashlib.sha256(story.trace(simulate(draw(seed), tracing=True)).encode()).hexdigest()


def test_every_promise_is_kept_in_a_fixed_sample():
    """The same days on every run; between them every kind of fault strikes."""
    seen: Counter[str] = Counter()
    for seed in FIXED_SEEDS:
        result = simulate(draw(seed), reading=seed % 10 == 0)
        assert not result.broken, f"python -m harness simulate --seed {seed}: {result.broken}"
        seen += result.seen
    assert never_struck(seen) == []


def test_every_promise_is_kept_in_a_fresh_sample():
    """Other days on every run; the message names the seed that failed."""
    first = secrets.randbelow(2**40)
    print(f"fresh sample: --seeds {first}-{first + FRESH_SEEDS - 1}")
    for seed in range(first, first + FRESH_SEEDS):
        result = simulate(draw(seed))
        assert not result.broken, f"python -m harness simulate --seed {seed}: {result.broken}"


@pytest.mark.parametrize("name", REGRESSIONS)
def test_what_was_found_once_is_found_no_more(name):
    """A plan that broke a promise once keeps them all."""
    assert simulate(REGRESSIONS[name], reading=True).broken == ""


def test_same_seed_same_trace():
    """Two runs of a plan are the same, call by call and byte by byte."""
    for seed in TWICE_SEEDS:
        assert digest(seed) == digest(seed), f"seed {seed}"


def test_same_seed_same_trace_in_another_process():
    """Neither hash randomisation nor what is imported has a say in it."""
    code = "import sys; from tests.simulation.test_simulation import digest; print(*map(digest, range(1, 6)))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert found == {" ".join(map(digest, range(1, 6))) + "\n"}


def test_another_seed_breaks_ties_otherwise():
    """Timers of one moment run in an order that the seed decides."""

    async def order() -> str:
        names: list[str] = []

        async def one(name: str) -> None:
            await asyncio.sleep(1)
            names.append(name)

        await asyncio.gather(*map(one, "abcdef"))
        return "".join(names)

    orders = [run(order(), random=Random(seed)) for seed in (1, 1, 2, 3)]  # noqa: S311 - chance, not secrecy
    assert orders[0] == orders[1]
    assert len(set(orders)) > 1


def test_a_dead_process_reaches_nothing():
    """Its `finally` clauses run, as Python has it, and nothing they do has any effect."""

    async def life() -> tuple[str, int, int]:
        world = World(Plan(seed=1), tracing=True, keeping=False)
        process = Process(1, Random(1))  # noqa: S311 - chance, not secrecy
        world.queue.put("m")
        world.alarm.state = "ALARM"
        CURRENT.set(process)
        parts = world.parts(process)

        async def work() -> None:
            (message,) = await parts.queue.receive(limit=1, wait_seconds=0, visibility_seconds=9)
            try:
                await asyncio.sleep(60)
            finally:
                for clean_up in (parts.alarm.reset(), parts.queue.delete([message]), parts.couriers().connect()):
                    with pytest.raises(Killed):
                        await clean_up
                parts.telemetry.log("alive")

        process.main = asyncio.create_task(work())
        await asyncio.sleep(5)
        events = len(world.events)
        process.die("killed")
        await asyncio.wait([process.main])
        return world.alarm.state, len(world.queue.all()), len(world.events) - events

    assert run(life()) == ("ALARM", 1, 0)


def test_kills_strike_at_every_kind_of_step():
    """Whatever ion asks of the world, some process has died asking it."""
    last: dict[int, str] = {}
    struck: Counter[str] = Counter()
    for seed in range(1, 400):
        plan = draw(seed)
        if any(fault.kind == "lambda.dies" for fault in plan.faults):
            for event in simulate(plan, tracing=True).events:
                if event["event"] == "call":
                    last[event["process"]] = f"{event['operation']} {event['when']}"
                elif event["event"] == "function.ended" and event["how"] == "killed":
                    struck[last.get(event["process"], "")] += 1
    assert {name.partition(" ")[0] for name in struck} >= {"ledger.claim", "ledger.write", "queue.delete"}


@pytest.mark.parametrize("name", BUGS)
def test_planted_bug_is_found(name):
    """A bug put in on purpose breaks a promise in a plan that is kept without it."""
    plan = SHRUNK[name]
    assert simulate(plan).broken == ""
    with planted(name):
        assert simulate(plan).broken


def test_a_failure_shrinks_to_a_short_story():
    """Of a day's publications and faults, those are left that it takes."""
    with planted("delete before send"):
        result = simulate(draw(1))
        plan = shortest(result)
        told = story.tell(simulate(plan, tracing=True))
    assert (len(plan.publications), len(plan.faults)) == (1, 0)
    assert told.splitlines()[-1].startswith("conservation: lost: mail-1")
    assert len(told.splitlines()) < 20


def test_a_shrunk_plan_can_be_read_back():
    """What is printed is what the list of regressions takes."""
    plan = draw(7)
    names = {"Plan": Plan, "Publication": Publication, "Fault": Fault}
    assert eval(repr(plan), names) == plan  # noqa: S307


def test_lines_that_never_ran_are_named():
    """Lines are watched while they are entered, and only then."""
    lines = Lines()
    before = lines.never_ran()
    simulate(Plan(seed=1, publications=(Publication(at=1.0),)))
    assert lines.never_ran() == before
    with lines:
        simulate(Plan(seed=1, publications=(Publication(at=1.0),)))
    assert 0 < len(lines.never_ran()) < len(before)


def test_stuck_mail_is_a_broken_promise():
    """What is not done within the bound after the last fault has healed breaks liveness."""
    with planted("alarm reset only at the end"):
        result = simulate(SHRUNK["alarm reset only at the end"])
    assert result.broken.startswith("liveness: ")


def test_command_line(capsys):
    """A range of seeds gives a summary and 0; a seed alone its story."""
    assert main(["simulate", "--seeds", "1-5"]) == 0
    assert "5 days simulated" in capsys.readouterr().out
    assert main(["simulate", "--seed", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "every promise was kept"


def test_command_line_tells_a_broken_promise(capsys):
    """Exit code 1, the seed, the story and the plan."""
    with planted("delete before send"):
        assert main(["simulate", "--seeds", "1-1"]) == 1
    out = capsys.readouterr().out
    assert "conservation: lost: mail-1" in out
    assert "Plan(seed=1, " in out


def test_the_vocabulary_is_told():
    """Each kind of fault says what it does with all that is left open."""
    for kind in KINDS.values():
        for detail in kind.details:
            assert "{" not in kind.what.format(detail=detail)


def test_trace_is_json():
    """A trace is a history, as a scenario's is."""
    lines = story.trace(simulate(draw(3), tracing=True)).splitlines()
    assert {"run.started", "call", "run.finished"} <= {json.loads(line)["event"] for line in lines}
