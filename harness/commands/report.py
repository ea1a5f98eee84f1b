"""Make a saved run's report.html anew, from its history and its results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import results, runs
from harness.errors import RunError
from harness.report import page

if TYPE_CHECKING:
    import argparse

OK, BROKEN = 0, 70


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("run", nargs="?", default="latest", help="directory, scenario, scenario/time or latest")


def run(args: argparse.Namespace) -> int:
    """Write it, and say where it is; a run that was killed before it was checked is checked for it."""
    saved = runs.find(args.run)
    try:
        found = saved.results()
    except RunError:
        found = results.check(saved)
    if not page.write(saved, found):
        return BROKEN
    print(saved.report)
    return OK
