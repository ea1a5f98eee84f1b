"""A Maildir of exact bytes, which mutt and Python's `mailbox.Maildir` open as it is."""

from __future__ import annotations

import glob
import itertools
import os
import socket
import time
from typing import TYPE_CHECKING

from harness.errors import RunError

if TYPE_CHECKING:
    from pathlib import Path

_count = itertools.count(1)


def create(directory: Path) -> None:
    """Make the directory and its three folders; what is there already stays."""
    for folder in ("tmp", "new", "cur"):
        (directory / folder).mkdir(parents=True, exist_ok=True)


def add(directory: Path, message: bytes) -> str:
    """Keep a message and return its key; it appears in `new` whole or not at all.

    Not flushed to the disk: this must outlive a killed harness, not a power cut, and a flush a mail would make the sink
    slower than what it measures.

    Raises:
        OSError: It could not be kept, and nothing of it is left.
    """
    host = socket.gethostname().replace("/", r"\057").replace(":", r"\072")
    key = f"{time.time_ns()}.P{os.getpid()}Q{next(_count)}.{host}"
    scratch = directory / "tmp" / key
    try:
        scratch.write_bytes(message)
        scratch.rename(directory / "new" / key)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise
    return key


def read(directory: Path, key: str) -> bytes:
    """The message of that key, wherever a mail reader has moved it since.

    Raises:
        RunError: There is none.
    """
    return find(directory, key).read_bytes()


def find(directory: Path, key: str) -> Path:
    """The file of that key, wherever a mail reader has moved it since.

    Raises:
        RunError: There is none.
    """
    # The usual places first: to list a directory of thousands for each of its mails would take minutes.
    usual = (directory / "new" / key, *(directory / "cur" / f"{key}:2,{flags}" for flags in ("S", "", "ST", "T")))
    found = next((path for path in usual if path.is_file()), None)
    found = found or next((path for path in (directory / "cur").glob(f"{glob.escape(key)}*") if path.is_file()), None)
    if found is None:
        raise RunError(f"no mail {key} in {directory}")
    return found


def flag(directory: Path, key: str, **flags: bool | None) -> str:
    """Set (True) or clear (False) flags of a message, S for seen and T for trashed; a None leaves one as it is.

    Flags are letters at the end of its file's name, in alphabetical order (https://cr.yp.to/proto/maildir.html).

    Returns:
        Where its file is now, below the directory.

    Raises:
        RunError: There is no such message.
    """
    path = find(directory, key)
    has = set(path.name.partition(":2,")[2])
    wanted = {name for name in has | set(flags) if (name in has if flags.get(name) is None else flags[name])}
    if wanted != has:
        path = path.rename(directory / "cur" / f"{key}:2,{''.join(sorted(wanted))}")
    return f"{path.parent.name}/{path.name}"
