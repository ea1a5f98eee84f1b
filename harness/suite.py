"""Several runs, one after the other: all scenarios, a scenario with many seeds, a failing seed with fewer faults."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.table import Table

from harness import cli, live, results, runner
from harness.errors import HarnessError
from harness.verdict import Promise, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from harness.live import View
    from harness.nemesis import Fault
    from harness.runner import Options
    from harness.scenario import Scenario

BROKEN = "broken"
"""In place of a verdict: the harness itself broke."""
SEVERITY = (Verdict.VALID, Verdict.UNKNOWN, Verdict.INVALID, BROKEN)
COLUMNS = ("published", "delivered", "dead-lettered", "pending", "lost", "duplicated", "ambiguous")
SHRINK_RUNS = 12
WIDTH = 140  # of a table that goes to a file
NARROW = 115  # a terminal that is no wider gets the heads of some columns in two lines, so that nothing is cut off
SPLIT = {
    "published": "publi-\nshed",
    "delivered": "deli-\nvered",
    "dead-lettered": "dead-\nlettered",
    "pending": "pen-\nding",
    "duplicated": "dupli-\ncated",
    "ambiguous": "ambi-\nguous",
}

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What one run came to.

    Attributes:
        scenario: Its scenario.
        seed: Its seed.
        verdict: The verdict, or `BROKEN`.
        counts: How many mails went which way.
        seconds: How long it took, all in all.
        run: Its directory.
        wrong: Why it is not valid; or why the harness broke.
        promises: The promises broken.
        interrupted: Whether somebody pressed Ctrl-C.
    """

    scenario: str
    seed: int
    verdict: str
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    run: str = ""
    wrong: tuple[str, ...] = ()
    promises: frozenset[str] = frozenset()
    interrupted: bool = False

    def to_document(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self) | {"promises": sorted(self.promises)}


def play(name: str, experiment: Scenario, options: Options, view: View, *, announce: bool) -> Row:
    """One run. A harness that breaks ends this run, and not those to come."""
    if announce:
        print(f"--- {name}, seed {options.seed}", file=sys.stderr, flush=True)
    try:
        saved, found = runner.run(name, experiment, options, view)
    except HarnessError as error:
        return Row(scenario=name, seed=options.seed, verdict=BROKEN, wrong=(str(error),))
    if announce:
        live.tell(found["summary"], found["verdict"], stderr=True)
    counts = found["counts"]
    names = {"published": "acknowledged", "dead-lettered": "dead_lettered", "duplicated": "duplicates"}
    broken = [
        f"{breach['promise']}: {breach['what']} "
        f"({'; '.join(f'{mail}: {results.brief(what)}' for mail, what in mails[:3])})"
        for breach in found["breaches"]
        if (mails := list(breach["mails"].items()))
    ]
    return Row(
        scenario=name,
        seed=options.seed,
        verdict=str(found["verdict"]),
        counts={column: counts.get(names.get(column, column), 0) for column in COLUMNS},
        seconds=round(sum(found["phases"].values()), 1),
        run=str(saved.directory),
        wrong=(*broken, *found["doubts"]),
        promises=frozenset(str(breach["promise"]) for breach in found["breaches"]),
        interrupted=found["finished"].get("reason") == "interrupted",
    )


def exit_code(rows: Iterable[Row]) -> int:
    """The worst of all: a harness that broke, then invalid, then unknown."""
    worst = max((row.verdict for row in rows), key=SEVERITY.index, default=Verdict.UNKNOWN)
    return cli.BROKEN if worst == BROKEN else Verdict(worst).exit_code


def show(rows: Sequence[Row]) -> None:
    """Print one table, and below it what was wrong."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    narrow = console.width <= NARROW
    table = Table(box=None, pad_edge=False, collapse_padding=narrow)
    for column in ("scenario", "seed", "verdict", *COLUMNS, "seconds"):
        head = SPLIT.get(column, column) if narrow else column
        table.add_column(head, justify="left" if column in {"scenario", "verdict"} else "right", no_wrap=True)
    for row in rows:
        verdict = f"[{live.colour(row.verdict)}]{row.verdict}[/]"
        cells = [str(row.counts.get(column) or "-") for column in COLUMNS]
        table.add_row(row.scenario, str(row.seed), verdict, *cells, f"{row.seconds:.0f}")
    console.print(table)
    for row in rows:
        if row.verdict != Verdict.VALID:
            console.print(f"\n{row.scenario}, seed {row.seed}: {row.verdict}; {row.run}", markup=False, soft_wrap=True)
            for line in row.wrong:
                console.print(f"  {line}", markup=False, soft_wrap=True)
    valid = sum(row.verdict == Verdict.VALID for row in rows)
    total = sum(row.seconds for row in rows)
    console.print(f"\n{valid} of {len(rows)} valid, {total:.0f} s")
    failed = sorted({row.seed for row in rows if row.verdict != Verdict.VALID})
    if failed and len({row.seed for row in rows}) > 1:
        console.print(f"failed seeds: {', '.join(map(str, failed))}")


def shrunk(row: Row, experiment: Scenario, options: Options, play_again: Callable[[Scenario], Row]) -> list[Fault]:
    """The fewest faults found with which the run breaks a promise that it broke before.

    Raises:
        KeyboardInterrupt: Somebody pressed Ctrl-C in one of the runs.
    """
    faults = experiment.schedule(options.seed, options.seconds)
    wanted = row.promises - {Promise.EXPECTATION} or row.promises

    def fails(some: Sequence[Fault]) -> bool:
        begun = {fault.name for fault in some} | {""}
        if any(fault.after not in begun for fault in some):
            return False  # it would wait for one that never comes
        again = play_again(replace(experiment, faults=tuple(some)))
        if again.interrupted:
            raise KeyboardInterrupt
        return bool(wanted & again.promises)

    return smallest(faults, fails, tries=SHRINK_RUNS)


def smallest(items: Sequence[T], fails: Callable[[Sequence[T]], bool], *, tries: int) -> list[T]:
    """As few of the items as can be found that still fail: delta debugging, from halves down to single ones.

    Args:
        items: Which fail together.
        fails: Whether these few do.
        tries: Ask no more often.
    """
    kept = list(items)
    size = max(1, len(kept) // 2)
    while size and kept:
        start = 0
        while start < len(kept):
            if not tries:
                return kept
            tries -= 1
            fewer = kept[:start] + kept[start + size :]
            if fails(fewer):
                kept = fewer
            else:
                start += size
        size //= 2
    return kept
