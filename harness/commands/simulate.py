"""Simulate ion's drain on virtual time: a day a seed, with what goes wrong drawn from the seed."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from harness import cli
from harness.simulation import story
from harness.simulation.coverage import Lines, never_struck
from harness.simulation.plan import draw
from harness.simulation.run import simulate
from harness.verdict import Verdict

if TYPE_CHECKING:
    import argparse

    from harness.simulation.plan import Plan
    from harness.simulation.run import Result

# Every so many seeds, the lines that run are noted (which takes time), and every so many the mails are read.
LINES_EVERY, READ_EVERY = 10, 16
# Where there is no terminal for a bar, so often there is a line.
LINE_EVERY = 1_000
MAX_STORIES = 3
SEEDS_A_PLAN = 12


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--seeds", type=_range, default=range(1, 1001), metavar="A-B", help="default: 1-1000")
    seeds.add_argument("--seed", type=int, metavar="N", help="one seed alone, told as a story")
    parser.add_argument(
        "--days", type=cli.positive, default=1, metavar="D", help="how long each world lasts (default: 1)"
    )
    parser.add_argument("--trace", action="store_true", help="with --seed: tell every single call")
    parser.add_argument("--keep-long", action="store_true", help="do not shrink what breaks a promise")


def run(args: argparse.Namespace) -> int:
    """Simulate; 0 where every promise was kept, 1 where one was broken."""
    if args.seed is not None:
        result = simulate(draw(args.seed, days=args.days), tracing=True, reading=True)
        print(story.tell(result, calls=args.trace))
        return (Verdict.INVALID if result.broken else Verdict.VALID).exit_code
    return _many(args)


def _many(args: argparse.Namespace) -> int:
    seen: Counter[str] = Counter()
    lines = Lines()
    broken: list[Result] = []
    mails = days = 0
    began, console = time.monotonic(), Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=console, disable=not console.is_terminal)
    with contextlib.suppress(KeyboardInterrupt), progress:  # what has been done by then is told all the same
        bar = progress.add_task("simulating", total=len(args.seeds))
        for number, seed in enumerate(args.seeds, start=1):
            plan = draw(seed, days=args.days)
            with contextlib.nullcontext() if number % LINES_EVERY else lines:
                result = simulate(plan, reading=number % READ_EVERY == 0)
            seen += result.seen
            days += args.days
            mails += len(plan.publications)
            if result.broken:
                broken.append(result)
                console.print(f"seed {seed}: {result.broken}", highlight=False, markup=False)
            rate = f"{days / (time.monotonic() - began) * 60:,.0f} days a minute, {len(broken)} broken"
            progress.update(bar, advance=1, description=rate)
            if progress.disable and number % LINE_EVERY == 0:
                console.print(f"{number:,} of {len(args.seeds):,}: {rate}", highlight=False)
    for result in broken[:MAX_STORIES]:
        print(f"\n{_story(result, keep_long=args.keep_long)}")
    print(_summary(days, mails, time.monotonic() - began, len(broken), seen=seen, lines=lines))
    return (Verdict.INVALID if broken else Verdict.VALID).exit_code


def _story(result: Result, *, keep_long: bool) -> str:
    """The story of a broken promise, as short as it can be made, and the plan that shows it again."""
    plan = result.plan if keep_long else shortest(result)
    return f"{story.tell(simulate(plan, tracing=True, reading=True))}\n{plan!r}"


def shortest(result: Result) -> Plan:
    """The shortest plan that breaks the same promise in the same way."""
    from harness.simulation.shrink import shrink  # noqa: PLC0415 - Hypothesis takes its time to import

    how = _how(result)

    def again(plan: Plan) -> Plan | None:
        """The plan with a seed under which it breaks the promise still: with less in it, chance falls otherwise."""
        seeds = (replace(plan, seed=plan.seed + more) for more in range(SEEDS_A_PLAN))
        return next((one for one in seeds if _how(simulate(one, reading="changed" in how)) == how), None)

    return again(shrink(result.plan, lambda plan: again(plan) is not None)) or result.plan


def _how(result: Result) -> str:
    """What was broken, without the names."""
    return ":".join(result.broken.split(":")[:2])


def _summary(days: int, mails: int, seconds: float, broken: int, *, seen: Counter[str], lines: Lines) -> str:
    idle, unrun = never_struck(seen), lines.never_ran()
    return "\n".join(
        [
            f"{days:,} days simulated in {seconds:,.0f} s: {60 * days / seconds:,.0f} days a minute",
            f"{mails:,} published; {broken} promises broken",
            "",
            "what has struck, and what ion and AWS said, how often:",
            *(f"  {count:>9,}  {what}" for what, count in sorted(seen.items()) if count),
            f"faults that never struck: {', '.join(idle) or 'none'}",
            f"lines of ion's dealing with failure that never ran (every {LINES_EVERY}th seed is watched):",
            *(f"  {line}" for line in unrun or ["none"]),
        ]
    )


def _range(text: str) -> range:
    first, _, last = text.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    if not seeds:
        raise ValueError(text)
    return seeds
