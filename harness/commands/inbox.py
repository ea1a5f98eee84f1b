"""Look at captured mail: list, search, show, raw, attachments, diff, duplicates, wait."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from harness import runs
from harness.inbox import terminal
from harness.inbox.store import Store

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    terminal.configure(parser)


def run(args: argparse.Namespace) -> int:
    """Do it; 1 where a question is answered with no."""
    try:
        with Store(runs.find(args.run)) as store:
            return terminal.run(store, args)
    except BrokenPipeError:  # whoever reads, `head` say, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return terminal.DONE
