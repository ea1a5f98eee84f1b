"""The run store: a directory for each run, `latest` links, and results that are written whole or not at all."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path("var/runs")


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One run's directory and what lies where in it."""

    directory: Path

    @property
    def scenario(self) -> str:
        """The scenario's name."""
        return self.directory.parent.name

    @property
    def name(self) -> str:
        """When it began, in UTC, as its directory is named."""
        return self.directory.name

    @property
    def history(self) -> Path:
        """Everything that happened."""
        return self.directory / "history.jsonl"

    @property
    def mail(self) -> Path:
        """The Maildir of what the sink accepted."""
        return self.directory / "mail"

    @property
    def logs(self) -> Path:
        """The logs' directory."""
        return self.directory / "logs"

    @property
    def function_log(self) -> Path:
        """What the function's processes printed."""
        return self.logs / "function.log"

    @property
    def localstack_log(self) -> Path:
        """What LocalStack printed."""
        return self.logs / "localstack.log"

    @property
    def results_file(self) -> Path:
        """The verdict and its figures, as JSON."""
        return self.directory / "results.json"

    @property
    def report(self) -> Path:
        """All of it as a page to read."""
        return self.directory / "report.html"

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Replace the results; a reader sees the old ones or the new ones, never half of them."""
        scratch = self.results_file.with_suffix(".json.new")
        text = json.dumps(results, indent=2, ensure_ascii=False) + "\n"
        # Half a surrogate pair, which only JSON's own escape can hold, comes from whoever published it so.
        scratch.write_text(text, encoding="utf-8", errors="backslashreplace")
        scratch.replace(self.results_file)

    def results(self) -> dict[str, Any]:
        """The results.

        Raises:
            RunError: There are none (the run was killed, or still goes on), or they cannot be read.
        """
        try:
            found = json.loads(self.results_file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise RunError(f"{self.directory} has no results.json: it was killed, or still runs") from error
        except (OSError, ValueError) as error:
            raise RunError(f"cannot read {self.results_file}: {error}") from error
        if not isinstance(found, dict):
            raise RunError(f"{self.results_file} holds no JSON object")
        return found


def create(scenario: str, *, root: Path = ROOT, now: float | None = None) -> Run:
    """Make the directory of a new run and point both `latest` links at it."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    parent = root.resolve() / scenario
    parent.mkdir(parents=True, exist_ok=True)
    tries = 1
    while True:
        # Two runs may begin within one second; the directory's creation decides who has the name.
        directory = parent / (stamp if tries == 1 else f"{stamp}-{tries}")
        try:
            directory.mkdir()
            break
        except FileExistsError:
            tries += 1
    run = Run(directory=directory)
    run.logs.mkdir()
    _link(parent / "latest", Path(directory.name))
    _link(root.resolve() / "latest", Path(scenario) / directory.name)
    return run


def find(name: str, *, root: Path = ROOT) -> Run:
    """A saved run by its path, by `scenario/time`, by its scenario (the latest one), or as `latest`.

    Raises:
        UsageError: There is none of that name.
    """
    for candidate in (Path(name), root / name, root / name / "latest"):
        if (candidate / "history.jsonl").is_file():
            return Run(directory=candidate.resolve())
    raise UsageError(f"no saved run {name!r}: give its directory, scenario/time, a scenario's name or latest ({root}/)")


def saved(*, root: Path = ROOT) -> list[Run]:
    """All saved runs, the oldest first."""
    found = [
        Run(directory=history.parent.resolve())
        for history in root.glob("*/*/history.jsonl")
        if not history.parent.is_symlink()
    ]
    return sorted(found, key=lambda run: (run.name, run.scenario))


def _link(link: Path, target: Path) -> None:
    scratch = link.with_name(f".{link.name}.{os.getpid()}")
    scratch.unlink(missing_ok=True)
    scratch.symlink_to(target)
    scratch.replace(link)
