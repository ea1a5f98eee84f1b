"""Check a saved run again, with the checker as it is now, and replace its results and its report."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from harness import live, results, runs
from harness.report import page
from harness.verdict import Verdict

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("run", nargs="?", default="latest", help="directory, scenario, scenario/time or latest")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def run(args: argparse.Namespace) -> int:
    """Check; returns the verdict's exit code."""
    saved = runs.find(args.run)
    found = results.check(saved)
    saved.write_results(found)
    page.write(saved, found)
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        live.tell(results.text(saved, found), found["verdict"])
    return Verdict(found["verdict"]).exit_code
