"""The Makefile hands arguments, texts and exit codes on to the programs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECT = Path(__file__).resolve().parents[2]
MAKE = shutil.which("make") or "make"

# Stands in for .venv/bin/python: writes down what it was given, and ends as CODE says.
RECORDER = f"""#!{sys.executable} -IS
import json, os, sys
with open("calls", "a") as calls:
    given = {{name: os.environ.get(name) for name in ("TO", "SUBJECT", "TEXT")}}
    calls.write(json.dumps({{"arguments": sys.argv[1:], **given}}) + "\\n")
sys.exit(int(os.environ.get("CODE", "0")))
"""


def environment(**more: str) -> dict[str, str]:
    """The environment of a person's shell: what a make around these tests has added is taken out."""
    added = ("MAKE", "MFLAGS", "ARGS", "TO", "SUBJECT", "TEXT", "PYTHON", "CODE")
    return {name: value for name, value in os.environ.items() if not name.startswith(added)} | more


def run(directory: Path, *command: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=directory, env=env or environment(), capture_output=True, text=True, timeout=120, check=False
    )


def executable(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(0o755)


def calls(project: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project / "calls").read_text().splitlines()]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with the real Makefile, in which every program only writes down what it was given."""
    shutil.copy(PROJECT / "Makefile", tmp_path)
    executable(tmp_path / "tools" / "venv.sh", "#!/bin/sh\n")
    executable(tmp_path / ".venv" / "bin" / "python", RECORDER)
    return tmp_path


def test_make_alone_prints_the_targets(project: Path):
    """`make` alone explains the targets, and starts nothing."""
    done = run(project, MAKE)
    assert done.returncode == 0
    for target in (
        "test",
        "check",
        "scenario",
        "up",
        "send",
        "inbox",
        "inbox-web",
        "artifact",
        "lock",
        "clean",
        "bench",
    ):
        assert f"\n  {target} " in done.stdout
    assert not (project / "calls").exists()


@pytest.mark.parametrize("clutter", ["nothing", "file", "folder"])
def test_scenario_takes_the_next_word_as_its_name(project: Path, clutter: str):
    """`make scenario burst` runs burst once and succeeds, also beside a file or a folder of that name."""
    if clutter == "file":
        (project / "burst").touch()
        (project / "scenario").touch()
    elif clutter == "folder":
        (project / "burst").mkdir()
        (project / "scenario").mkdir()
    done = run(project, MAKE, "scenario", "burst", "ARGS=--mails 5000 --seed 7")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    expected = ["-m", "harness", "scenario", "burst", "--mails", "5000", "--seed", "7"]
    assert [call["arguments"] for call in calls(project)] == [expected]


def test_scenario_runs_once_under_parallel_make(project: Path):
    """`make -j` does not start the name's goal beside the scenario."""
    assert run(project, MAKE, "-j", "4", "scenario", "burst").returncode == 0
    assert len(calls(project)) == 1


def test_a_failed_scenario_fails_make(project: Path):
    """A verdict other than valid is a failure of make."""
    done = run(project, MAKE, "scenario", "burst", env=environment(CODE="1"))
    assert done.returncode == 2
    assert len(calls(project)) == 1


def test_dry_run_starts_nothing(project: Path):
    """`make -n scenario burst` shows the command and runs none."""
    done = run(project, MAKE, "-n", "scenario", "burst")
    assert done.returncode == 0
    assert ".venv/bin/python -m harness scenario burst" in done.stdout
    assert not (project / "calls").exists()


@pytest.mark.parametrize("target", ["inbox", "inbox-web"])
def test_the_inbox_opens_the_latest_run_or_the_one_that_is_named(project: Path, target: str):
    """`make inbox` takes RUN as it was typed, and ARGS for the rest."""
    run(project, MAKE, target)
    run(project, MAKE, target, "RUN=my runs/$HOME", "ARGS=--json list")
    harness = ["-m", "harness", target, "--run"]
    assert [call["arguments"] for call in calls(project)] == [
        [*harness, "latest"],
        [*harness, "my runs/$HOME", "--json", "list"],
    ]


@pytest.mark.parametrize("text", ["""it's "quoted" & $HOME `id` $(shell id) $$ ü""", "two\nlines", ""])
def test_send_takes_any_text(project: Path, text: str):
    """`make send` hands the text on as it was typed, whatever it means to make or to the shell."""
    done = run(project, MAKE, "send", "TO=a@example.com", f"SUBJECT={text}", f"TEXT={text}")
    assert done.returncode == 0, done.stderr
    (call,) = calls(project)
    assert (call["TO"], call["SUBJECT"], call["TEXT"]) == ("a@example.com", text, text)
    assert call["arguments"][2:] == ["send", "--to", "a@example.com", "--subject", text, "--text", text]


@pytest.fixture
def real(project: Path) -> Path:
    """The same directory, in which the programs are the project's own."""
    executable(project / ".venv" / "bin" / "python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    return project


def test_scenario_alone_lists_the_scenarios(real: Path):
    """`make scenario` lists the scenarios, a line each, and succeeds."""
    done = run(real, MAKE, "scenario", env=environment(PYTHONPATH=str(PROJECT)))
    assert done.returncode == 0, done.stderr
    assert "\n  burst  " in done.stdout


def test_an_unknown_scenario_lists_them_and_fails(real: Path):
    """`make scenario brust` says that there is none, lists those there are, and fails."""
    done = run(real, MAKE, "scenario", "brust", env=environment(PYTHONPATH=str(PROJECT)))
    assert done.returncode == 2
    assert "brust" in done.stderr
    assert "\n  burst  " in done.stderr
