"""An event loop on virtual time: whenever nobody has anything to do, the clock jumps to the next timer.

Threads and sockets have no place on it: nothing waits for them. What is ready runs in the order in which it became so,
so that a run is the same each time.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from _typeshed import FileDescriptorLike

T = TypeVar("T")


class StuckError(RuntimeError):
    """Every task waits for something that can never happen: no timer is set and nothing is ready."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop, with a clock that starts at 0 and does not wait."""

    def __init__(self) -> None:
        self._selector_of_time = _TimeSelector()
        super().__init__(self._selector_of_time)

    def time(self) -> float:
        """Seconds of virtual time since the loop was made."""
        return self._selector_of_time.now


class _TimeSelector(selectors.BaseSelector):
    """Where asyncio's loop would wait for a file or for the next timer: jump to the timer instead."""

    def __init__(self) -> None:
        self.now = 0.0
        self._files = selectors.DefaultSelector()  # asyncio registers a pipe to wake itself with

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise StuckError("nothing is ready and no timer is set: everybody waits for somebody else")
        self.now += max(0.0, timeout)
        return []

    def register(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._files.register(fileobj, events, data)

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._files.unregister(fileobj)

    def get_map(self) -> Any:
        return self._files.get_map()

    def close(self) -> None:
        self._files.close()


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on virtual time.

    Raises:
        StuckError: It cannot come to an end.
    """
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(work)
