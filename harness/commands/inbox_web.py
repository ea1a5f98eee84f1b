"""Look at captured mail in the browser, until Ctrl-C. While `up` runs, it has such a page of its own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from harness import runs, whereabouts
from harness.errors import RunError
from harness.inbox.live import Live
from harness.inbox.server import Inbox, serving

if TYPE_CHECKING:
    import argparse

    from harness.runs import Run


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("--run", default="latest", metavar="RUN", help="directory, scenario, scenario/time or latest")
    parser.add_argument("--port", type=int, metavar="PORT", help="on loopback (default: 8025, else a free one)")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    saved = runs.find(args.run)
    with serving(Inbox(saved, live=_live(saved)), port=args.port) as address:
        print(f"the mail of {saved.scenario}/{saved.name}: {address}/\nCtrl-C ends it.", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print()
    return 0


def _live(saved: Run) -> Live | None:
    """The connection to what runs, if it is this run."""
    try:
        where = whereabouts.read()
    except RunError:
        return None
    return Live(where) if where.run == str(saved.directory) else None
