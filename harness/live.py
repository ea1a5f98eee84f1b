"""What a run shows while it goes on: in a terminal where the mails are, anywhere else plain lines."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.console import RenderableType

    from harness.tally import Tally

LINE_SECONDS = 2.0
REFRESH_PER_SECOND = 4
BAR_WIDTH = 36
BESIDE_BAR = 44  # so many columns are for words and numbers
COLOURS: Mapping[str, str] = {Verdict.VALID: "green", Verdict.UNKNOWN: "yellow"}


class View(Protocol):
    """Somewhere to show a run."""

    def showing(self, tally: Tally) -> contextlib.AbstractContextManager[None]:
        """Show the tally while the context lasts."""


class Silence:
    """Shows nothing: for programs, which read the results."""

    @contextlib.contextmanager
    def showing(self, tally: Tally) -> Iterator[None]:
        """Nothing."""
        del tally
        yield


class Terminal:
    """The way of the mails, a bar for each part of it, which renews itself."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextlib.contextmanager
    def showing(self, tally: Tally) -> Iterator[None]:
        """The bars, and at the end their last state."""
        began = time.monotonic()
        over = threading.Event()
        since: dict[str, float] = {}  # when each fault that is active now was first seen

        def picture() -> RenderableType:
            now = time.monotonic()
            for name in tally.faults:
                since.setdefault(name, now)
            for name in set(since).difference(tally.faults):
                del since[name]
            phase = "over" if over.is_set() else tally.phase
            head = Text.assemble((f"{phase:<15}", "bold"), f"{now - began:.0f} s   ", (tally.summary, "dim"))
            head.no_wrap, head.overflow = True, "ellipsis"
            active = {name: now - at for name, at in since.items()}
            return Group(head, _bars(tally, active, width=self._console.width)) if tally.mails else head

        with Live(get_renderable=picture, console=self._console, refresh_per_second=REFRESH_PER_SECOND):
            try:
                yield
            finally:
                over.set()


class Lines:
    """A line now and then, when something has changed: for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextlib.contextmanager
    def showing(self, tally: Tally) -> Iterator[None]:
        """Lines until the end."""
        began = time.monotonic()
        over = threading.Event()

        def show() -> None:
            last, ended = "", False
            while not ended:
                ended = over.wait(LINE_SECONDS)
                line = _line(tally)
                if line != last:
                    line_at = f"{time.monotonic() - began:6.1f} s  {line}"
                    self._console.print(line_at, soft_wrap=True, highlight=False, markup=False)
                    last = line

        thread = threading.Thread(target=show, name="live view", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def view(*, quiet: bool) -> View:
    """The right one for where standard error goes; standard output is for the results."""
    console = Console(stderr=True)
    if quiet:
        return Silence()
    return Terminal(console) if console.is_terminal and not console.is_dumb_terminal else Lines(console)


def tell(text: str, verdict: str, *, stderr: bool = False) -> None:
    """Print text that begins with a verdict, which in a terminal has its colour."""
    made = Text(text)
    made.stylize(f"bold {colour(verdict)}", 0, len(verdict))
    Console(stderr=stderr, highlight=False).print(made, soft_wrap=True)


def colour(verdict: str) -> str:
    """A verdict's colour; red for all that is worse than unknown."""
    return COLOURS.get(verdict, "red")


def _bars(tally: Tally, active: dict[str, float], *, width: int) -> Table:
    """Where the mails are, from the publisher to their recipients, and what goes wrong now and since when."""
    depth, total = tally.depth, max(tally.mails, tally.attempted)
    waiting, rate = depth.visible + depth.delayed, tally.rate(time.time())
    rows: list[tuple[str, int, str, str]] = [
        ("published", tally.acknowledged, "blue", f"of {total}"),
        ("waiting", waiting, "yellow", f"{depth.delayed} delayed" if depth.delayed else ""),
        ("in flight", depth.in_flight, "cyan", ""),
        ("delivered", tally.delivered, "green", f"{rate:.0f}/s" if rate else ""),
    ]
    rows += [("dead-lettered", depth.dead, "red", "")] if depth.dead else []
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", min_width=len("dead-lettered"))
    grid.add_column()
    grid.add_column(justify="right", min_width=4)
    grid.add_column(style="dim", no_wrap=True)
    length = max(10, min(BAR_WIDTH, width - BESIDE_BAR))
    for name, count, colour, note in rows:
        full = min(length, -(-length * count // total))  # rounded up: one mail is to be seen
        bar = Text.assemble(("━" * full, colour), ("─" * (length - full), "dim"))
        grid.add_row(name, bar, str(count), note)
    if tally.refused:
        grid.add_row("refused, cut", Text(f"{tally.refused} times"))
    if tally.alarmed:
        grid.add_row("alarm fired", Text(", ".join(sorted(tally.alarmed)), style="magenta"))
    for name, seconds in active.items():
        grid.add_row("fault now", Text(name, style="bold red"), f"{seconds:.0f} s")
    return grid


def _line(tally: Tally) -> str:
    depth = tally.depth
    of = f" of {tally.attempted}" if tally.attempted > tally.acknowledged else ""
    counts = {
        "published": f"{tally.acknowledged}{of}",
        "visible": depth.visible,
        "in flight": depth.in_flight,
        "delivered": tally.delivered,
        "rate": f"{tally.rate(time.time()):.0f}/s",
    }
    more = {"delayed": depth.delayed, "dead-lettered": depth.dead, "refused": tally.refused}
    counts |= {name: count for name, count in more.items() if count}
    words = {"alarm fired": sorted(tally.alarmed), "faults": tally.faults}
    counts |= {name: ", ".join(some) for name, some in words.items() if some}
    return ", ".join([f"phase {tally.phase}", *(f"{name} {count}" for name, count in counts.items())])
