"""Every scenario, small, in the session's LocalStack: each runs to a valid verdict, with its faults striking."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness import live, results, runner
from harness.nemesis import Fault, Kill, Server, ServerDown, accepted
from harness.runner import Options
from harness.scenario import Scenario, load, names

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

MAILS = 20
CONNECTIONS = 2
FAULT_SECONDS = 3
SEED = 4
# Of those faults that are drawn, this seed's have a server that dies, which strikes whenever it comes.
DRAWN_SEED = 9


@pytest.mark.parametrize("name", names())
def test_a_scenario_is_valid(name, emulator, tmp_path, monkeypatch):
    """A few mails and short faults suffice to see them strike and the promises hold."""
    monkeypatch.chdir(tmp_path)
    scenario = load(name)
    seed = DRAWN_SEED if callable(scenario.faults) else SEED
    rate = MAILS / FAULT_SECONDS if scenario.rate else None  # all at once could be through before a fault begins
    faults = [_shorter(fault) for fault in scenario.schedule(seed, FAULT_SECONDS)]
    saved, found = runner.run(
        name,
        replace(scenario, faults=faults, poison=scenario.poison // 2),
        Options(mails=MAILS, seed=seed, connections=CONNECTIONS, rate=rate, seconds=FAULT_SECONDS),
        live.Silence(),
        emulator=emulator,
    )
    assert found["verdict"] == "valid", results.text(saved, found)


def _shorter(fault: Fault) -> Fault:
    """After a kill it takes a visibility timeout until what was held comes again: two will do."""
    if isinstance(fault, Kill):
        return replace(fault, every=max(fault.every, 0.5))
    if isinstance(fault, Server):  # a rate limit that so few mails exceed on a slow machine, too
        fault = replace(fault, does=tuple(replace(deed, per_second=deed.per_second and 4.0) for deed in fault.does))
    return replace(fault, seconds=fault.seconds and min(fault.seconds, FAULT_SECONDS))


def test_a_run_that_waits_in_vain_ends_and_says_for_what(emulator, tmp_path, monkeypatch):
    """A condition that is never met: unknown, and the fault is named."""
    monkeypatch.chdir(tmp_path)
    fault = ServerDown(name="never", when=accepted(2.0))
    scenario = Scenario(summary="waits for twice the mails", faults=(fault,), stall_seconds=2)
    options = Options(mails=2, seed=SEED, connections=1, rate=None)
    _, found = runner.run("burst", scenario, options, live.Silence(), emulator=emulator)
    assert found["verdict"] == "unknown"
    assert "faults still to come or to end: never" in found["doubts"]
