"""Run a scenario, and say whether ion kept its promises. Without a name: list the scenarios."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from harness import live, results, rig, runner, scenario
from harness.checker import Verdict

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("name", nargs="?", help="the scenario; without one, they are listed")
    parser.add_argument("--mails", type=_positive, metavar="N", help="how many to publish (default: the scenario's)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="the same seed gives the same mails")
    parser.add_argument("--connections", type=_positive, metavar="C", help="SMTP connections at most")
    parser.add_argument("--rate", type=float, metavar="R", help="publish so many a second, not all at once")
    parser.add_argument("--seconds", type=float, metavar="T", help="how long faults drawn by chance may take")
    parser.add_argument("--deploy", choices=rig.BY, default=rig.BY[0], help="by what ion is deployed (default: boto3)")
    parser.add_argument("--json", action="store_true", help="print nothing but the results, as JSON")


def run(args: argparse.Namespace) -> int:
    """Run or list; returns the verdict's exit code."""
    if args.name is None:
        print(f"scenarios:\n{scenario.listing()}")
        return 0
    experiment = scenario.load(args.name)
    options = runner.Options(
        mails=args.mails or experiment.mails,
        seed=args.seed,
        connections=args.connections or experiment.connections,
        rate=args.rate or experiment.rate,
        deploy=args.deploy,
        seconds=args.seconds or experiment.seconds,
    )
    saved, found = runner.run(args.name, experiment, options, live.view(quiet=args.json))
    print(json.dumps(found, indent=2) if args.json else results.text(saved, found))
    return Verdict(found["verdict"]).exit_code


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value
