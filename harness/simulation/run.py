"""Simulate one plan, and have the scenarios' checker judge it."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from harness import checker
from harness.errors import HarnessError
from harness.expectations import Expectation
from harness.simulation.loop import StuckError
from harness.simulation.loop import run as on_virtual_time
from harness.simulation.world import World
from harness.verdict import Breach, Promise

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from harness.facts import Facts
    from harness.history import Event
    from harness.simulation.plan import Plan
    from harness.verdict import Report

# A run in which nothing was delivered proves nothing of delivery; among thousands that is no matter.
VACUOUS = "nothing was delivered, so nothing is proved"
# Whoever is held up may leave a mail behind for so long after: an invocation, and a lease.
HELD_UP_SECONDS = 300.0
# Lines of a mail's log that each stand for an attempt spent.
SPENT = frozenset({"delivered", "deferred", "rejected", "ambiguous"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What one simulated world came to.

    Attributes:
        plan: Its plan.
        events: Its history.
        report: What the checker says.
        seen: How often each thing happened that is worth having happened.
        seconds: How much virtual time it took.
    """

    plan: Plan
    events: list[Event]
    report: Report
    seen: Counter[str]
    seconds: float

    @property
    def broken(self) -> str:
        """The promise that was broken, or the doubt, in a line; empty where all is well."""
        for breach in self.report.breaches:
            return f"{breach.promise}: {breach.what}: {'; '.join(f'{m}: {wrong}' for m, wrong in breach.mails.items())}"
        return next((f"doubt: {doubt}" for doubt in self.report.doubts if doubt != VACUOUS), "")


def simulate(plan: Plan, *, tracing: bool = False, reading: bool = False) -> Result:
    """Simulate a plan.

    Args:
        plan: What is to happen.
        tracing: Write down every call as well.
        reading: Keep the mails and compare what they say, which takes most of the time where it is done.
    """
    worlds: list[World] = []

    async def live() -> None:
        worlds.append(World(plan, tracing=tracing, keeping=reading))
        await worlds[0].live()

    stuck = ""
    try:
        on_virtual_time(live(), random=Random(f"{plan.seed}/loop"))  # noqa: S311 - chance, not secrecy
    except StuckError as error:
        stuck = str(error)
    (world,) = worlds

    def read(key: str) -> bytes:
        if key not in world.mails:
            raise HarnessError(f"mail {key} was not kept")
        return world.mails[key]

    upsets = list(world.upsets)
    upsets += [e["t"] for e in world.events if e["event"] == "function.ended" and e["how"] != "returned"]
    report = checker.check(world.events, read, expect=expectations(plan, upsets))
    pending = dict.fromkeys(report.sets.get("pending", ()), "still pending")
    if stuck or (pending and all(breach.promise is not Promise.LIVENESS for breach in report.breaches)):
        what = stuck or f"not done {world.patience():.0f} s after the last fault had healed"
        breach = Breach(promise=Promise.LIVENESS, what=what, mails=pending or {"everybody": "waits"})
        report.breaches.append(breach)
    seconds = world.events[-1]["t"] - world.epoch
    return Result(plan=plan, events=world.events, report=report, seen=world.seen, seconds=seconds)


def expectations(plan: Plan, upsets: Sequence[float]) -> list[Expectation]:
    """What can be told of a simulated run beside the promises, since it is known what has upset whom, and when."""

    def unspent(facts: Facts, _: Report) -> str:
        found = []
        for item in facts.ledger.values():
            results = [line["result"] for line in item["log"]]
            if "redriven" in results:
                results = results[len(results) - results[::-1].index("redriven") :]
            spent = sum(result in SPENT for result in results)
            if item["reason"] == "attempts-exhausted" and spent < plan.max_attempts:
                found.append(f"{item['id']} after {spent} of {plan.max_attempts}")
        return f"given up too early: {', '.join(found)}" if found else ""

    def vanished(facts: Facts, _: Report) -> str:
        found = []
        for item in facts.ledger.values():
            last = 0.0
            for line in item["log"]:
                if line["result"] == "abandoned" and not any(
                    last - HELD_UP_SECONDS <= upset <= line["at"] for upset in upsets
                ):
                    found.append(item["id"])
                last = line["at"]
        return f"left behind by workers that ended well: {', '.join(found)}" if found else ""

    return [
        Expectation(name="an attempt is spent by a send only", wrong=unspent),
        Expectation(name="only who dies, fails or is held up leaves a claimed mail behind", wrong=vanished),
    ]
