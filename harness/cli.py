"""`python -m harness`: one word names a command, and harness/commands/ has a module for each.

A command's module has `configure(parser)`, which adds its arguments, and `run(args)`, which returns the exit code.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import traceback
from typing import TYPE_CHECKING, NoReturn, Protocol, cast

from harness.errors import HarnessError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "scenario": "run a scenario, or list them",
    "simulate": "put the drain through thousands of bad days on virtual time",
    "check": "check a saved run again",
    "report": "make a saved run's report.html anew",
    "runs": "list the saved runs",
    "up": "run the whole of it here until Ctrl-C, to publish mail to",
    "send": "publish a mail to what `up` runs",
    "inbox": "look at captured mail in the terminal",
    "inbox-web": "look at captured mail in the browser",
    "deploy": "deploy to AWS; show what that would change; remove it all",
    "smoke": "send one mail through what is deployed in AWS",
    "bench": "measure speed and size on this machine",
    "artifact": "build dist/ion.zip, what Lambda runs",
}

OK = 0
UNKNOWN = 2
USAGE = 64
BROKEN = 70
EXIT_CODES = "exit codes: 0 valid, 1 invalid, 2 unknown, 64 wrong usage, 70 the harness itself broke"


def positive(text: str) -> int:
    """The type of an argument that counts something.

    Raises:
        ArgumentTypeError: It is no whole number, or 0.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


class Command(Protocol):
    """What a module in harness/commands/ has."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it; returns the exit code."""


class Parser(argparse.ArgumentParser):
    """Ends with 64 on wrong usage: argparse's own 2 means that a verdict is unknown."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and how it is right."""
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str]) -> int:
    """Run a command; returns the exit code."""
    parser = Parser(
        prog="python -m harness",
        description="The local emulator and the test bench of ion.",
        epilog="\n".join(["commands:", *(f"  {name:<10} {what}" for name, what in COMMANDS.items()), "", EXIT_CODES]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="command", help="one of those below; each has its --help")
    name: str = parser.parse_args(arguments[:1]).command
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # end as on Ctrl-C: everything stopped, what was kept kept
    try:
        command = cast("Command", importlib.import_module(f"harness.commands.{name.replace('-', '_')}"))
        own = Parser(prog=f"python -m harness {name}", description=command.__doc__, epilog=EXIT_CODES)
        command.configure(own)
        return command.run(own.parse_args(arguments[1:]))
    except UsageError as error:
        print(error, file=sys.stderr)
        return USAGE
    except HarnessError as error:
        print(error, file=sys.stderr)
        return BROKEN
    except KeyboardInterrupt:
        return UNKNOWN
    except Exception:
        traceback.print_exc()
        return BROKEN
