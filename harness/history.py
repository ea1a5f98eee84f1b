"""The history of a run: everything that happened, one JSON object a line, in the order in which it was recorded.

A line is {"t": Unix seconds, "event": name, ...}. It is handed to the operating system before `record` returns, so
that a harness which is killed loses nothing of what it recorded; at worst the last line is torn, and `read` drops that.
"""

from __future__ import annotations

import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from harness.errors import HistoryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Event: TypeAlias = dict[str, Any]


class History:
    """An append-only file of events that any thread may write to.

    Attributes:
        path: The file.
        failure: Why it can no longer be written (a full disk, say); None while all is well. Nothing is written after
            the first failure, so that the torn line, if there is one, stays the last.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.failure: OSError | None = None
        self._clock = clock
        self._lock = threading.Lock()
        self._listeners: list[Callable[[Event], None]] = []
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def subscribe(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` with each event from now on, in the thread that records it and in the history's order."""
        with self._lock:
            self._listeners.append(listener)

    def record(self, event: str, **fields: Any) -> Event:
        """Append one event; `t` may be given for something that happened earlier.

        Raises:
            HistoryError: It could not be written, now or before.
        """
        with self._lock:
            entry: Event = {"t": self._clock(), "event": event, **fields}
            self._write((json.dumps(entry, separators=(",", ":")) + "\n").encode())
            for listener in self._listeners:
                listener(entry)
        return entry

    def close(self) -> None:
        """Flush to the disk and close; a second call does nothing."""
        with self._lock:
            if self._descriptor >= 0:
                os.fsync(self._descriptor)
                os.close(self._descriptor)
                self._descriptor = -1

    def _write(self, line: bytes) -> None:
        if self._descriptor < 0:
            raise HistoryError(f"{self.path} is closed")
        if self.failure is None:
            try:
                while line:
                    line = line[os.write(self._descriptor, line) :]
            except OSError as error:
                self.failure = error
        if self.failure is not None:
            raise HistoryError(f"cannot write to {self.path}: {self.failure}") from self.failure


def read(path: Path) -> Iterator[Event]:
    """The events of a saved history.

    Raises:
        HistoryError: There is no such file, or a line other than the last is no JSON object.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise HistoryError(f"cannot read the history {path}: {error.strerror}") from error
    with file:
        torn = ""
        for number, line in enumerate(file, start=1):
            if torn:
                raise HistoryError(torn)
            try:
                entry = json.loads(line)
            except ValueError:
                entry = None
            if isinstance(entry, dict) and line.endswith(b"\n"):
                yield entry
            else:
                torn = f"{path}, line {number}: no JSON object, and not the last line either"
