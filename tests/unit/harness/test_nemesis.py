import json
import time
from dataclasses import dataclass

import pytest

from harness import nemesis
from harness.facts import Depth
from harness.faults import Stage
from harness.history import History, read
from harness.mischief import Misdeed
from harness.nemesis import Fault, Nemesis, Server, World, accepted, all_dead, redriven
from harness.scenario import load
from harness.tally import Tally


@dataclass(frozen=True, kw_only=True)
class Told(Fault):
    """Writes down when it begins and ends."""

    log: tuple[list, ...] = ()

    def begin(self, world):
        world.struck[self.name] += 1
        self.log[0].append(f"{self.name} begins")

    def end(self, _world):
        self.log[0].append(f"{self.name} ends")


class Bench:
    """A nemesis whose time is told, step by step, with nothing behind its world."""

    def __init__(self, directory):
        self.log = []
        self.history = History(directory / "history.jsonl")
        self.tally = Tally()
        self.tally.mails = 10
        self.world = World(rig=None, mischief=None, tally=self.tally, history=self.history, random=None)

    def fault(self, name, **fields):
        return Told(name=name, log=(self.log,), **fields)

    def plan(self, *faults):
        self.nemesis = Nemesis(faults, self.world)
        self.nemesis._begun[""] = 0.0
        return self

    def at(self, *seconds):
        """What happens at these times."""
        del self.log[:]
        for now in seconds:
            self.nemesis._step(float(now))
        return list(self.log)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_a_fault_lasts_from_its_start_for_its_seconds(bench):
    """Not before, and no longer."""
    bench.plan(bench.fault("a", start=2, seconds=3))
    assert bench.at(0, 1) == []
    assert bench.at(2) == ["a begins"]
    assert bench.at(3, 4) == []
    assert bench.at(5) == ["a ends"]


def test_a_fault_that_must_strike_does_not_end_before_it_has(bench):
    """However late it comes to that; one that need not strike ends when it is time."""
    bench.plan(bench.fault("a", seconds=1), bench.fault("b", seconds=1, must_strike=False))
    bench.at(0)
    bench.world.struck.clear()
    assert bench.at(1, 2) == ["b ends"]
    bench.world.struck["a"] += 1
    assert bench.at(3) == ["a ends"]


def test_a_fault_waits_for_its_condition_and_lasts_until_its_other(bench):
    """Conditions are of the run, whatever the time."""
    bench.plan(bench.fault("a", when=accepted(0.2), until=accepted(0.5)))
    assert bench.at(0, 100) == []
    bench.tally.accepted = 2
    assert bench.at(101) == ["a begins"]
    bench.tally.accepted = 4
    assert bench.at(102) == []
    bench.tally.accepted = 5
    assert bench.at(103) == ["a ends"]


def test_a_fault_follows_another(bench):
    """Its time counts from the beginning of the one that it is to come after."""
    bench.plan(bench.fault("b", after="a", start=1, seconds=1), bench.fault("a", start=5, seconds=9))
    assert bench.at(0, 4) == []
    assert bench.at(5) == ["a begins"]
    assert bench.at(6) == ["b begins"]


def test_what_still_lasts_heals_when_all_is_published_and_every_fault_has_come(bench):
    """The healing waits for the last fault; what is to last for the whole run stays."""
    bench.plan(bench.fault("a"), bench.fault("b", start=5), bench.fault("c", heals=False))
    assert bench.at(0) == ["a begins", "c begins"]
    bench.nemesis.published()
    assert bench.at(1) == []
    assert bench.at(5) == ["b begins"]
    assert bench.at(6) == ["a ends", "b ends"]


def test_history_has_the_plan_the_beginning_and_the_end(bench):
    """With how often each fault has struck; and a run that ends early heals whatever lasts."""
    bench.plan(bench.fault("a", seconds=60.0))
    bench.nemesis.start()
    assert bench.log == ["a begins"]
    assert not bench.nemesis.over
    bench.nemesis.stop()
    assert bench.nemesis.over
    events = [{k: v for k, v in event.items() if k != "t"} for event in read(bench.history.path)]
    assert [(event["event"], event["name"]) for event in events] == [
        ("fault.planned", "a"),
        ("fault.started", "a"),
        ("fault.ended", "a"),
    ]
    assert events[0]["seconds"] == 60
    assert events[2]["struck"] == 1


def test_two_histories_of_one_seed_have_one_schedule(tmp_path, monkeypatch):
    """What is planned is written down before anything happens, the same for the same seed."""
    monkeypatch.setattr(nemesis, "POLL_SECONDS", 3600)  # so that nothing happens, however long it takes to stop it

    def planned(seed, run):
        bench = Bench(tmp_path / run)
        made = Nemesis(load("chaos").schedule(seed, 10.0), bench.world)
        made.start()
        made.stop()
        return [{name: value for name, value in event.items() if name != "t"} for event in read(bench.history.path)]

    first, again, other = planned(7, "first"), planned(7, "again"), planned(8, "other")
    assert {event["event"] for event in first} == {"fault.planned"}
    assert first == again
    assert first != other


def test_a_fault_that_fails_fails_the_run(bench, monkeypatch):
    """Whoever asks whether it is over hears of it."""
    monkeypatch.setattr(nemesis, "POLL_SECONDS", 0.01)

    class Broken(Told):
        def begin(self, _world):
            raise ZeroDivisionError

    bench.plan(Broken(name="a", start=0.01)).nemesis.start()
    bench.nemesis._thread.join(60)
    with pytest.raises(ZeroDivisionError):
        _ = bench.nemesis.over
    bench.nemesis.stop()


def test_it_is_known_what_a_run_waits_for(bench):
    """The clock, or a condition that may never hold: then the faults that are unfinished are named."""
    now = time.monotonic()
    bench.plan(bench.fault("a", seconds=60), bench.fault("b", when=accepted(1)), bench.fault("c", heals=False))
    bench.at(now)
    assert bench.nemesis.waits_for_time
    assert bench.nemesis.unfinished == ["b", "a"]
    bench.at(now + 61)
    assert not bench.nemesis.waits_for_time
    assert bench.nemesis.unfinished == ["b"]


def test_a_plan_says_all_that_the_seed_decides():
    """Misdeeds included, conditions and defaults left out; and as JSON has it."""
    does = (Misdeed(stages=(Stage.MAIL,), reply="451 no", share=0.25),)
    plan = Server(name="x", start=1.5, when=accepted(1), does=does).plan()
    assert json.loads(json.dumps(plan)) == {
        "start": 1.5,
        "does": [{"stages": ["mail"], "reply": "451 no", "share": 0.25}],
    }


def test_conditions_read_the_tally():
    """All dead: nothing waits, everything published is with its recipients or a dead letter. Redriven: fewer are."""
    tally = Tally()
    tally.mails = 10
    assert not all_dead(tally)
    for number in range(10):
        body = json.dumps({"action": "send", "recipient": "a@example.com"})
        tally.take({"t": 0.0, "event": "publish.attempted", "workload": f"w-{number}", "body": body})
        tally.take({"t": 0.0, "event": "publish.acknowledged", "workload": f"w-{number}"})
    tally.depth = Depth(at=0.0, visible=1, in_flight=0, delayed=0, dead=10)
    assert not all_dead(tally)
    tally.depth = Depth(at=0.0, visible=0, in_flight=0, delayed=0, dead=10)
    assert all_dead(tally)
    assert not redriven(0.5)(tally)
    tally.depth = Depth(at=0.0, visible=5, in_flight=0, delayed=0, dead=5)
    assert redriven(0.5)(tally)
