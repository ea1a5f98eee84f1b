"""A Maildir of exact bytes, which mutt and Python's `mailbox.Maildir` open as it is."""

from __future__ import annotations

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
    for path in (directory / "new" / key, *(directory / "cur").glob(f"{key}*")):
        if path.is_file():
            return path.read_bytes()
    raise RunError(f"no mail {key} in {directory}")
