"""An event loop on virtual time: whenever nobody has anything to do, the clock jumps to the next timer.

Threads and sockets have no place on it: nothing waits for them. What is ready runs in the order in which it became so,
as asyncio promises; timers that fall due together run in the order of the loop's source of chance. So a run is the same
each time for the same seed, and another one for another.
"""

from __future__ import annotations

import asyncio
import selectors
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextvars import Context
    from random import Random

    from _typeshed import FileDescriptorLike

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Timers of the same moment are set apart by less than this.
TIE_SECONDS = 1e-6


class StuckError(RuntimeError):
    """Every task waits for something that can never happen: no timer is set and nothing is ready."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop, with a clock that starts at 0 and does not wait."""

    def __init__(self, random: Random | None = None) -> None:
        """Make a loop; without a source of chance, timers of one moment run in the order of asyncio's heap."""
        self._selector_of_time = _TimeSelector()
        self._random = random
        super().__init__(self._selector_of_time)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call at a time, as ever, with ties broken by chance."""
        if self._random is not None:
            when += self._random.random() * TIE_SECONDS
        return super().call_at(when, callback, *args, context=context)

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


def run(work: Coroutine[Any, Any, T], *, random: Random | None = None) -> T:
    """Run a coroutine to its end on virtual time.

    Raises:
        StuckError: It cannot come to an end.
    """
    with asyncio.Runner(loop_factory=partial(VirtualTimeLoop, random)) as runner:
        return runner.run(work)
