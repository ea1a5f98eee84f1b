"""What a run shows while it goes on: a small table that renews itself in a terminal, plain lines anywhere else."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.tally import Tally

LINE_SECONDS = 2.0
REFRESH_PER_SECOND = 4


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
    """A table that renews itself."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextlib.contextmanager
    def showing(self, tally: Tally) -> Iterator[None]:
        """The table, and at the end its last state."""
        began = time.monotonic()

        def table() -> Table:
            grid = Table.grid(padding=(0, 2))
            for name, value in _cells(tally, time.monotonic() - began):
                grid.add_row(f"[dim]{name}[/dim]", value)
            return grid

        with Live(get_renderable=table, console=self._console, refresh_per_second=REFRESH_PER_SECOND):
            yield


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
                cells = _cells(tally, time.monotonic() - began)[1:]
                line = ", ".join(f"{name} {value}" for name, value in cells)
                if line != last:
                    self._console.print(f"{time.monotonic() - began:6.1f} s  {line}", soft_wrap=True, highlight=False)
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
    return Terminal(console) if console.is_terminal else Lines(console)


def _cells(tally: Tally, seconds: float) -> list[tuple[str, str]]:
    depth = tally.depth
    cells = [
        ("time", f"{seconds:.0f} s"),
        ("phase", tally.phase),
        (
            "published",
            f"{tally.acknowledged}" + (f" of {tally.attempted}" if tally.attempted > tally.acknowledged else ""),
        ),
        ("visible", str(depth.visible)),
        ("in flight", str(depth.in_flight)),
        ("delivered", str(tally.delivered)),
        ("rate", f"{tally.rate(time.time()):.0f}/s"),
    ]
    more = {"delayed": depth.delayed, "dead-lettered": depth.dead, "refused": tally.refused}
    cells += [(name, str(value)) for name, value in more.items() if value]
    return cells + ([("faults", ", ".join(tally.faults))] if tally.faults else [])
