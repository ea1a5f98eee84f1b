"""What may be deployed: the artifact that the last scenario found valid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness import cli, runs
from harness.artifact import Artifact
from harness.commands.deploy import untested

if TYPE_CHECKING:
    from pathlib import Path

SHA256 = "ab" * 32


@pytest.fixture
def built(tmp_path: Path) -> Artifact:
    return Artifact(path=tmp_path / "ion.zip", sha256=SHA256, size=1)


def ran(root: Path, *, scenario: str = "burst", verdict: str = "valid", sha256: str = SHA256, now: float = 0) -> None:
    run = runs.create(scenario, root=root, now=now)
    run.history.touch()
    run.write_results({"verdict": verdict, "artifact": {"sha256": sha256}})


def test_what_the_last_scenario_found_valid_may_be_deployed(built: Artifact, tmp_path: Path):
    """The last run was valid and ran this artifact: nothing is said against it."""
    ran(tmp_path, verdict="invalid", now=1)
    ran(tmp_path, now=2)
    assert untested(built, root=tmp_path) == ""


def test_what_no_scenario_has_run_is_untested(built: Artifact, tmp_path: Path):
    """Without any run there is nothing to go by."""
    assert "no scenario has been run" in untested(built, root=tmp_path)


def test_another_artifact_is_untested(built: Artifact, tmp_path: Path):
    """The last run's artifact was another one: its SHA-256 is shown."""
    ran(tmp_path, now=1)
    ran(tmp_path, sha256="cd" * 32, now=2)
    assert "another artifact, SHA-256 " + "cd" * 32 in untested(built, root=tmp_path)


@pytest.mark.parametrize("verdict", ["invalid", "unknown"])
def test_what_was_not_found_valid_is_untested(built: Artifact, tmp_path: Path, verdict: str):
    """A verdict that is not valid does not speak for the artifact."""
    ran(tmp_path, now=1)
    ran(tmp_path, verdict=verdict, now=2)
    assert f"was {verdict}" in untested(built, root=tmp_path)


def test_a_run_that_was_killed_says_nothing(built: Artifact, tmp_path: Path):
    """A last run without results counts as one without a verdict, not as none."""
    ran(tmp_path, now=1)
    runs.create("burst", root=tmp_path, now=2).history.touch()
    assert "has no verdict" in untested(built, root=tmp_path)


def test_what_is_no_scenario_does_not_count(built: Artifact, tmp_path: Path):
    """A session of `make up` keeps a run, too, and neither speaks for an artifact nor against it."""
    ran(tmp_path, now=1)
    runs.create("up", root=tmp_path, now=2).history.touch()
    assert untested(built, root=tmp_path) == ""


def test_a_smoke_test_needs_an_address(capsys: pytest.CaptureFixture[str]):
    """`make smoke` without TO publishes nothing, and says what is missing."""
    assert cli.main(["smoke", "--to", ""]) == 64
    assert "make smoke TO=" in capsys.readouterr().err
