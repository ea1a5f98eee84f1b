"""List the saved runs, the oldest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import runs
from harness.errors import RunError

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """No arguments."""
    del parser


def run(args: argparse.Namespace) -> int:
    """A line each."""
    del args
    for each in runs.saved():
        try:
            summary = each.results()["summary"]
        except (RunError, KeyError):
            summary = "no results"
        print(f"{each.scenario}/{each.name}  {summary}")
    return 0
