"""What every clock must do, the machine's and its twin on a loop's time alike."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from harness.memory import LoopClock
from harness.simulation.loop import run
from ion.handler import SystemClock

if TYPE_CHECKING:
    from ion.protocols import Clock


async def goes_on(clock: Clock, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    before = clock.now()
    await asyncio.sleep(seconds)
    assert seconds * 0.9 <= clock.now() - before < loop.time() - began + 5
    assert before > 1_700_000_000  # Unix seconds, of this age


async def test_system_clock() -> None:
    """The machine's clock goes in seconds, and shows the time of day."""
    await goes_on(SystemClock(), 0.05)
    before = time.time()
    assert before <= SystemClock().now() <= time.time()


async def test_loop_clock() -> None:
    """Its twin goes as the event loop does."""
    await goes_on(LoopClock(), 0.05)


def test_loop_clock_on_virtual_time() -> None:
    """On a virtual loop a day takes no time."""
    began = time.monotonic()
    run(goes_on(LoopClock(), 86_400))
    assert time.monotonic() - began < 60
