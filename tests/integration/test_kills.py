"""The function killed again and again, and several functions at once: judged by the scenarios' own checker.

`ION_TEST_KILLS=20` in the environment makes the kill test as long as it can be: 20 kills, and a burst of 300.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness import runner
from harness.faults import Stage
from harness.history import Event, read
from harness.live import Silence
from harness.mischief import Misdeed
from harness.nemesis import Fault, Server, World, accepted
from harness.scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.localstack.process import Emulator

pytestmark = pytest.mark.integration

KILLS = int(os.environ.get("ION_TEST_KILLS", "3"))
# What a killed function held comes again after ten seconds; as short as the rules allow where a slow machine can send.
BRISK = {
    "smtp.connect_timeout_seconds": "3",
    "smtp.transaction_timeout_seconds": "5",
    "drain.deadline_margin_seconds": "1",
    "queue.visibility_timeout_seconds": "10",
}
# So slow that a kill finds mails at every stage.
SLOW = Misdeed(stages=(Stage.MAIL, Stage.DOT, Stage.KEPT), delay_seconds=0.05, jitter_seconds=0.2)


@dataclass(frozen=True, kw_only=True)
class Kills(Fault):
    """Kills the function so many times, each at a moment drawn from the seed, after it has begun to send."""

    times: int
    over: Callable[[], None]

    def begin(self, world: World) -> None:
        """Note where things stand."""
        self._next(world)

    def again(self, world: World) -> None:
        """Kill where it is time."""
        if world.struck[self.name] == self.times or world.tally.accepted < world.kept[self.name]:
            return
        killed = []
        time.sleep(world.random.uniform(0, 0.3))
        for pid in world.rig.stack.function_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
        if killed:
            world.struck[self.name] += 1
            world.history.record("function.killed", fault=self.name, pids=killed)
            self._next(world)
        if world.struck[self.name] == self.times:
            self.over()

    def _next(self, world: World) -> None:
        world.kept[self.name] = world.tally.accepted + world.random.randint(1, 10)


def run(scenario: Scenario, emulator: Emulator, *, seed: int) -> tuple[dict[str, int], list[Event]]:
    """Run it; returns its counts, and its history. All must have been delivered, and no promise broken."""
    options = runner.Options(mails=scenario.mails, seed=seed, connections=scenario.connections, rate=scenario.rate)
    _, results = runner.run("test", scenario, options, Silence(), emulator=emulator)
    counts: dict[str, int] = results["counts"]
    assert results["verdict"] == "valid", results
    assert counts["delivered"] == counts["acknowledged"] == scenario.mails
    return counts, list(read(Path(results["history"])))


@pytest.mark.timeout(600)
def test_killed_at_seeded_instants(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the function is killed in a burst: nothing is lost, and only what was in doubt comes twice."""
    monkeypatch.chdir(tmp_path)
    over = threading.Event()
    scenario = Scenario(
        summary="killed again and again",
        mails=max(90, 15 * KILLS),  # far more than is sent between the kills: some are left, however late they come
        largest_file=1000,
        settings=BRISK,
        faults=(
            Server(name="slow", does=(SLOW,), until=lambda _: over.is_set()),
            Kills(name="kills", times=KILLS, over=over.set, until=lambda _: over.is_set()),
        ),
        function_seconds=30,
    )
    counts, events = run(scenario, emulator, seed=1)
    assert counts["duplicates"] == 0
    assert sum(event["event"] == "function.killed" for event in events) == KILLS


@pytest.mark.timeout(600)
def test_four_functions_at_once(emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a concurrency of four, and mails published twice, every mail is sent once; nothing is even in doubt."""
    monkeypatch.chdir(tmp_path)
    scenario = Scenario(
        summary="four at once",
        mails=100,
        connections=2,
        largest_file=1000,
        repeats=0.5,
        faults=(Server(name="slow", does=(SLOW,), until=accepted(1.0)),),
        concurrency=4,
    )
    counts, events = run(scenario, emulator, seed=2)
    assert counts["duplicates"] == counts["ambiguous"] == 0
    sessions = [event for event in events if event["event"] == "smtp.session"]
    at_once = max(sum(one["began"] <= other["began"] < one["t"] for one in sessions) for other in sessions)
    assert at_once > scenario.connections  # more than one function can have
