"""What a scenario is: settings, a workload, faults, and what to expect of them. scenarios/ has a module for each.

A module there has a `SCENARIO`; its name is the scenario's.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

import scenarios
from harness.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.expectations import Expectation
    from harness.nemesis import Fault

# What waits for a dead worker or a slow server waits seconds here: a run with faults is to end within a minute.
BRISK = {
    "smtp.connect_timeout_seconds": "3",
    "smtp.command_timeout_seconds": "3",
    "smtp.data_timeout_seconds": "3",
    "smtp.transaction_timeout_seconds": "6",
    "queue.visibility_timeout_seconds": "15",
    "drain.deadline_margin_seconds": "2",
}


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """An experiment.

    Attributes:
        summary: What it shows, in a line.
        mails: How many mails are published.
        rate: So many a second, evenly; None for as fast as it goes.
        connections: How many SMTP connections ion may open.
        largest_file: The size in bytes that no attachment exceeds.
        settings: ion's settings that differ from the runner's, by `section.key`.
        faults: What goes wrong, and when; or how to draw that from the seed's dice, to begin within so many seconds.
        seconds: Within so many the drawn faults begin, each to last as long at most.
        expect: What must be so at the end, beside the promises.
        repeats: The share of the mails with an id of their own that are published twice.
        poison: How many bodies are published besides that ion must refuse.
        function_seconds: The function's time-out.
        concurrency: How many functions may run at once.
        stall_seconds: After so long without any progress, with mail waiting, the run is given up.
        timeout_seconds: So long after the last publish it is given up whatever happens.
    """

    summary: str
    mails: int = 500
    rate: float | None = None
    connections: int = 8
    largest_file: int = 20_000
    settings: Mapping[str, str] = field(default_factory=dict)
    faults: Sequence[Fault] | Callable[[Random, float], Sequence[Fault]] = ()
    seconds: float = 10.0
    expect: Sequence[Expectation] = ()
    repeats: float = 0.0
    poison: int = 0
    function_seconds: int = 120
    concurrency: int = 1
    stall_seconds: float = 90
    timeout_seconds: float = 600

    def schedule(self, seed: int, seconds: float) -> list[Fault]:
        """The faults of a seed: the same ones for the same seed."""
        if callable(self.faults):
            return list(self.faults(Random(f"{seed}/faults"), seconds))  # noqa: S311 - repeatable is what it must be
        return list(self.faults)


def names() -> list[str]:
    """The names of all scenarios."""
    return sorted(module.name for module in pkgutil.iter_modules(scenarios.__path__))


def load(name: str) -> Scenario:
    """The scenario of that name.

    Raises:
        UsageError: There is none; the message lists them.
    """
    if name not in names():
        raise UsageError(f"there is no scenario {name!r}; there are:\n{listing()}")
    scenario = importlib.import_module(f"scenarios.{name}").SCENARIO
    if not isinstance(scenario, Scenario):
        raise TypeError(f"scenarios/{name}.py: SCENARIO is a {type(scenario).__name__}, not a Scenario")
    return scenario


def listing() -> str:
    """All scenarios, a line each."""
    return "\n".join(f"  {name:<12} {load(name).summary}" for name in names())
