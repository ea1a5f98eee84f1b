"""What a scenario is: settings, a workload and what to expect of them. scenarios/ has a module for each.

A module there has a `SCENARIO`; its name is the scenario's.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import scenarios
from harness.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping


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
        stall_seconds: After so long without any progress, with mail waiting, the run is given up.
        timeout_seconds: After so long it is given up whatever happens.
    """

    summary: str
    mails: int = 500
    rate: float | None = None
    connections: int = 8
    largest_file: int = 20_000
    settings: Mapping[str, str] = field(default_factory=dict)
    stall_seconds: float = 60
    timeout_seconds: float = 600


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
