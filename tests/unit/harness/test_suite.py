import json
import re

import pytest

from harness import cli, suite
from harness.commands.scenario import _seeds
from harness.errors import LocalStackError
from harness.runner import Options
from harness.scenario import Scenario, load, names
from harness.suite import Row, exit_code, smallest


def row(verdict, **fields):
    return Row(scenario="burst", seed=1, verdict=verdict, **fields)


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        (["valid", "valid"], 0),
        (["valid", "unknown"], 2),
        (["unknown", "invalid", "valid"], 1),
        (["invalid", "broken"], 70),
        ([], 2),
    ],
)
def test_the_worst_verdict_decides(verdicts, code):
    """A harness that broke outweighs invalid, that unknown, that valid; no run at all proves nothing."""
    assert exit_code(row(verdict) for verdict in verdicts) == code


def test_the_table_tells_verdicts_counts_and_what_was_wrong(capsys):
    """A line a run, then the reasons of those that are not valid, then the seeds that failed."""
    bad = Row(
        scenario="chaos", seed=7, verdict="invalid", counts={"published": 9, "lost": 1}, wrong=("conservation: lost",)
    )
    suite.show([row("valid", counts={"published": 20, "delivered": 20}, seconds=31.4), bad])
    said = capsys.readouterr().out
    first, second = [line.split() for line in said.splitlines()[1:3]]
    assert first == ["burst", "1", "valid", "20", "20", "-", "-", "-", "-", "-", "31"]
    assert second[:4] == ["chaos", "7", "invalid", "9"]
    assert "\nchaos, seed 7: invalid; \n  conservation: lost\n" in said
    assert said.endswith("\n1 of 2 valid, 31 s\nfailed seeds: 7\n")


def test_a_terminal_of_eighty_columns_shows_the_whole_table(monkeypatch, capsys):
    """No name and no number is cut off."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    counts = dict.fromkeys(suite.COLUMNS, 20_000)
    suite.show([Row(scenario="dlq_overflow", seed=9999, verdict="unknown", counts=counts, seconds=3600)])
    lines = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert lines[2].split() == ["dlq_overflow", "9999", "unknown", *["20000"] * 7, "3600"]
    assert max(map(len, lines[:3])) <= 80
    assert "…" not in "".join(lines)


def test_a_run_that_cannot_be_done_does_not_end_the_suite(monkeypatch):
    """What the harness broke on is in its row."""

    def broken(*_args, **_keywords):
        raise LocalStackError("no")

    monkeypatch.setattr(suite.runner, "run", broken)
    options = Options(mails=1, seed=3, connections=1, rate=None)
    assert suite.play("x", Scenario(summary=""), options, None, announce=False) == Row(
        scenario="x", seed=3, verdict="broken", wrong=("no",)
    )


@pytest.mark.parametrize("guilty", [{0}, {5}, {1, 4}, {2, 3, 5}, set()])
def test_shrinking_finds_those_who_fail_together(guilty):
    """Of six faults the ones that matter are left."""
    assert set(smallest(range(6), lambda some: guilty <= set(some), tries=100)) == guilty


def test_shrinking_is_bounded():
    """It runs no more often than it may, and returns what it has by then."""
    asked = []
    assert smallest(range(100), lambda some: bool(asked.append(some)), tries=5) == list(range(100))
    assert len(asked) == 5


def test_seeds_are_ranges_and_lists():
    """As people write them."""
    assert _seeds("1-3,7") == [1, 2, 3, 7]


@pytest.mark.parametrize("text", ["", "x", "3-1", "1-99999999"])
def test_seeds_that_are_none_are_wrong_usage(text, capsys):
    """Exit code 64, and the option is named."""
    try:
        code = cli.main(["scenario", "chaos", "--seeds", text])
    except SystemExit as ended:
        code = ended.code
    assert code == 64
    assert "--seeds" in capsys.readouterr().err


@pytest.mark.parametrize("name", names())
def test_a_seed_has_one_schedule(name):
    """The same seed plans the same faults, twice; what is planned can be written down; names are not used twice."""
    scenario = load(name)
    plans = [[(fault.name, fault.plan()) for fault in scenario.schedule(5, 20.0)] for _ in range(2)]
    assert json.dumps(plans[0]) == json.dumps(plans[1])
    assert len({name for name, _ in plans[0]}) == len(plans[0])


def test_seeds_have_schedules_of_their_own():
    """Twenty seeds of chaos are twenty schedules, and together they have every kind of fault."""
    schedules = [load("chaos").schedule(seed, 20.0) for seed in range(1, 41)]
    assert len({json.dumps([fault.plan() for fault in faults]) for faults in schedules}) == 40
    kinds = {fault.name.partition(": ")[2].partition(" at ")[0] for faults in schedules for fault in faults}
    assert len(kinds) == 15


@pytest.fixture
def played(monkeypatch):
    """Every run is said to break its promise as long as the fault that `played` names is among its faults."""

    class Played(list):
        guilty = ""
        most = 99  # then somebody presses Ctrl-C

    made = Played()

    def play(name, experiment, options, _view, *, announce):
        assert not announce
        faults = [fault.name for fault in experiment.schedule(options.seed, options.seconds)]
        made.append((name, options.seed, len(faults)))
        broken = made.guilty in faults
        promises = frozenset({"once"} if broken else ())
        return Row(
            scenario=name,
            seed=options.seed,
            verdict="invalid" if broken else "valid",
            promises=promises,
            interrupted=len(made) > made.most,
        )

    monkeypatch.setattr(suite, "play", play)
    return made


def test_all_runs_every_scenario_once(played, capsys):
    """And with --json prints the runs and nothing else."""
    assert cli.main(["scenario", "all", "--json"]) == 0
    assert [name for name, _, _ in played] == names()
    assert [run["scenario"] for run in json.loads(capsys.readouterr().out)["runs"]] == names()


def test_seeds_run_one_after_the_other_and_shrinking_names_the_guilty_fault(played, capsys):
    """A failing seed is run again with fewer faults; the seeds that are valid are not."""
    faults = load("chaos").schedule(2, load("chaos").seconds)
    played.guilty = faults[1].name
    assert cli.main(["scenario", "chaos", "--seeds", "1-3", "--shrink", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert [(run["seed"], run["verdict"]) for run in said["runs"]] == [(1, "valid"), (2, "invalid"), (3, "valid")]
    [smallest_found] = said["smallest"].values()
    assert smallest_found == [f"{faults[1].name}: {json.dumps(faults[1].plan())}"]
    assert len([seed for _, seed, _ in played if seed == 2]) <= 1 + suite.SHRINK_RUNS


def test_ctrl_c_while_shrinking_ends_all_of_it(played, capsys):
    """Neither is the next try begun nor the next seed; what has been found by then is told."""
    played.guilty = load("chaos").schedule(2, load("chaos").seconds)[1].name
    played.most = 2
    assert cli.main(["scenario", "chaos", "--seeds", "2-9", "--shrink", "--json"]) == 1
    assert [seed for _, seed, _ in played] == [2, 2, 2]
    assert [run["verdict"] for run in json.loads(capsys.readouterr().out)["runs"]] == ["invalid"]


@pytest.mark.parametrize(
    ("arguments", "mails", "seconds"),
    [([], 150, 10), (["--duration", "60"], 900, 60), (["--duration", "60", "--mails", "9"], 9, 60)],
)
def test_a_duration_says_how_long_to_publish_and_for_how_long_to_draw_faults(arguments, mails, seconds, monkeypatch):
    """At the scenario's rate; a number of mails is taken as it is given."""
    asked = []
    monkeypatch.setattr(suite, "play", lambda *given, **_: asked.append(given[2]) or row("valid"))
    assert cli.main(["scenario", "chaos", "--seeds", "1", *arguments]) == 0
    assert [(options.mails, options.seconds) for options in asked] == [(mails, seconds)]


def test_a_duration_without_a_rate_is_wrong_usage(capsys):
    """How many mails that would be nobody can say."""
    assert cli.main(["scenario", "burst", "--duration", "60"]) == 64
    assert "--rate" in capsys.readouterr().err
