"""The function's processes: which of them asks, and what it means that one is dead.

A process that dies runs no `finally` and no `except`. In Python the tasks of one that is to be forgotten have to be
cancelled, and then they do run theirs; so every step from a process into the world asks first whether it still lives,
and raises `Killed` where it does not. Whatever dead code then tries, it reaches nothing.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ion.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random


class Killed(BaseException):
    """The process is dead. No `Exception`, so that nothing in ion takes it for an error to deal with."""


class Process:
    """One process of the function: a container, in Lambda's words.

    Attributes:
        number: Its number, from 1.
        random: Where its own chance comes from.
        alive: Whether it can still do anything.
        fuse: It dies at its so many-th step from now; 0: at none.
        stall: At its so many-th step from now it stands still, and for how many seconds.
        stalled_until: Nothing of it moves before, in seconds of the loop's time.
        idle_since: When it last had something to do.
        how: How it died: `killed` or `timed out`.
    """

    def __init__(self, number: int, random: Random) -> None:
        self.number = number
        self.random = random
        self.alive = True
        self.fuse = 0
        self.stall = (0, 0.0)
        self.stalled_until = 0.0
        self.idle_since = 0.0
        self.how = ""
        self.main: asyncio.Task[Any] | None = None

    def die(self, how: str) -> None:
        """Never do anything again."""
        if self.alive:
            self.alive, self.how = False, how
            if self.main is not None:
                self.main.cancel()

    def check(self) -> None:
        """Go no further if it is dead.

        Raises:
            Killed: It is.
        """
        if not self.alive:
            raise Killed

    async def step(self, seconds: float) -> None:
        """One step into the world, or back from it, which takes so long.

        Raises:
            Killed: The process is dead, by now or at this very step.
        """
        self.check()
        if self.fuse:
            self.fuse -= 1
            if not self.fuse:
                self.die("killed")
                raise Killed
        await asyncio.sleep(seconds)
        if self.stall[0]:
            self.stall = (self.stall[0] - 1, self.stall[1])
            if not self.stall[0]:
                self.stalled_until = asyncio.get_running_loop().time() + self.stall[1]
        if self.stalled_until:
            await asyncio.sleep(max(0.0, self.stalled_until - asyncio.get_running_loop().time()))
        self.check()


CURRENT: ContextVar[Process] = ContextVar("CURRENT")
"""The process whose code runs; set for each invocation, and inherited by all tasks that it starts."""


class Notes(Telemetry):
    """Telemetry that writes nothing, and hands on what a living process says."""

    def __init__(self, process: Process, listener: Callable[[Process, str, dict[str, object]], None]) -> None:
        self._process = process
        self._listener = listener

    def log(self, stage: str, *, level: str = "INFO", id: str = "", **fields: object) -> None:  # noqa: A002 - as ion's
        """Hand a line on."""
        del level
        if self._process.alive:
            self._listener(self._process, stage, {"id": id, **fields})

    def count(self, *_: object, **__: object) -> None:
        """Nothing: what is counted or observed is logged too."""

    observe = flush = count
