"""Run a scenario, and say whether ion kept its promises. Without a name: list the scenarios; `all` runs every one."""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from harness import cli, live, results, rig, runner, scenario, suite
from harness.errors import UsageError
from harness.verdict import Verdict

if TYPE_CHECKING:
    from harness.runner import Options
    from harness.scenario import Scenario
    from harness.suite import Row

ALL = "all"
MOST_SEEDS = 10_000


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("name", nargs="?", help="the scenario, or `all`; without one, they are listed")
    parser.add_argument("--mails", type=cli.positive, metavar="N", help="how many to publish (default: the scenario's)")
    parser.add_argument(
        "--seed", type=int, default=1, metavar="S", help="the same seed gives the same mails and faults"
    )
    parser.add_argument("--seeds", type=_seeds, metavar="A-B", help="run with each of these seeds: 1-20, or 3,5,8")
    parser.add_argument("--shrink", action="store_true", help="run what is invalid again, with fewer and fewer faults")
    parser.add_argument("--connections", type=cli.positive, metavar="C", help="SMTP connections at most")
    parser.add_argument("--rate", type=_amount, metavar="R", help="publish so many a second, not all at once")
    parser.add_argument(
        "--duration", type=_amount, metavar="T", help="publish for so many seconds; chance draws its faults for as long"
    )
    parser.add_argument("--deploy", choices=rig.BY, default=rig.BY[0], help="by what ion is deployed (default: boto3)")
    parser.add_argument("--json", action="store_true", help="print nothing but the results, as JSON")


def run(args: argparse.Namespace) -> int:
    """Run or list; returns the verdict's exit code, of several the worst."""
    if args.name is None:
        print(f"scenarios:\n{scenario.listing()}")
        return 0
    if args.name == ALL or args.seeds or args.shrink:
        return _run_many(args)
    experiment = scenario.load(args.name)
    saved, found = runner.run(args.name, experiment, _options(args, experiment), live.view(quiet=args.json))
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        live.tell(results.text(saved, found), found["verdict"])
        print("  look further: the report, in any browser; and make inbox, for the mail that arrived")
    return Verdict(found["verdict"]).exit_code


def _run_many(args: argparse.Namespace) -> int:
    names = scenario.names() if args.name == ALL else [args.name]
    plays = [
        (name, experiment, replace(_options(args, experiment), seed=seed))
        for name, experiment in ((name, scenario.load(name)) for name in names)
        for seed in args.seeds or [args.seed]
    ]
    rows: list[Row] = []
    smaller: dict[str, list[str]] = {}
    for name, experiment, options in plays:
        rows.append(_play(args, name, experiment, options))
        if rows[-1].interrupted:
            break
        if args.shrink and rows[-1].verdict == Verdict.INVALID:
            try:
                smaller[f"{name}, seed {options.seed}"] = _shrink(args, rows[-1], experiment, options)
            except KeyboardInterrupt:
                break
    if args.json:
        print(json.dumps({"runs": [row.to_document() for row in rows], "smallest": smaller}, indent=2))
    else:
        suite.show(rows)
        for which, faults in smaller.items():
            print(f"\n{which}: the fewest faults that break the same promise:", *faults or ["none"], sep="\n  ")
    return suite.exit_code(rows)


def _play(args: argparse.Namespace, name: str, experiment: Scenario, options: Options) -> Row:
    return suite.play(name, experiment, options, live.view(quiet=args.json), announce=not args.json)


def _shrink(args: argparse.Namespace, row: Row, experiment: Scenario, options: Options) -> list[str]:
    if not args.json:
        print(f"--- looking for fewer faults, in {suite.SHRINK_RUNS} runs at most", file=sys.stderr)
    found = suite.shrunk(row, experiment, options, lambda fewer: _play(args, row.scenario, fewer, options))
    return [f"{fault.name}: {json.dumps(fault.plan())}" for fault in found]


def _options(args: argparse.Namespace, experiment: Scenario) -> Options:
    """What the command line says, and where it says nothing, the scenario.

    Raises:
        UsageError: A duration alone does not say how many mails.
    """
    mails, rate = args.mails or experiment.mails, args.rate or experiment.rate
    if args.duration and not args.mails:
        if not rate:
            raise UsageError("--duration needs a --rate here: this scenario publishes all at once")
        mails = max(1, round(args.duration * rate))
    return runner.Options(
        mails=mails,
        seed=args.seed,
        connections=args.connections or experiment.connections,
        rate=rate,
        deploy=args.deploy,
        seconds=args.duration or experiment.seconds,
    )


def _amount(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def _seeds(text: str) -> list[int]:
    """`1-20`, `3,5,8`, or both in one."""
    try:
        ends = [part.partition("-") for part in text.split(",")]
        ranges = [range(int(first), int(last or first) + 1) for first, _, last in ends]
    except ValueError:
        ranges = []
    if not 0 < sum(map(len, ranges)) <= MOST_SEEDS:
        raise argparse.ArgumentTypeError(f"{text!r}: give seeds as 1-20 or 3,5,8, {MOST_SEEDS} at most")
    return list(itertools.chain.from_iterable(ranges))
