"""One drain by ion as it is in the artifact: a script for a process that has nothing of the checkout on its path.

`python -P drain_once.py ARTIFACT_DIRECTORY RESULT_FILE`, with ion's settings in the environment.
"""

from __future__ import annotations

import dataclasses
import json
import re
import resource
import sys
import time
from pathlib import Path
from typing import Any

DEADLINE_SECONDS = 3_600  # never reached: a drain is measured to its end, however slow the machine


class Stopwatch:
    """The input queue, which notes when a message was last deleted."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self.last = time.monotonic()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    async def delete(self, messages: Any) -> Any:
        """Delete."""
        refused = await self._queue.delete(messages)
        if messages:
            self.last = time.monotonic()
        return refused


def peak_memory_mb() -> float:
    """The most memory that this process has had resident, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux, where getrusage begins with what the parent had
        (peak,) = re.findall(r"VmHWM:\s*(\d+) kB", status.read_text())
        return int(peak) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # bytes there, KiB elsewhere


def main(artifact: Path, result: Path) -> None:
    """Drain the queue, and write down what it took."""
    begun = time.monotonic()
    from ion import handler  # noqa: PLC0415 - its import is a part of what is measured

    if not Path(handler.__file__).is_relative_to(artifact):
        raise SystemExit(f"ion comes from {handler.__file__}, not from {artifact}")
    parts = handler._parts()  # noqa: SLF001 - as `handler.run` has it
    watch = Stopwatch(parts.queue)
    parts = dataclasses.replace(parts, queue=watch)
    start = time.monotonic()
    summary = handler._runner().run(handler.serve(parts, deadline=time.time() + DEADLINE_SECONDS))  # noqa: SLF001
    done = {
        "mails": summary.get("delivered", 0),
        "seconds": watch.last - start,
        "aws_calls": parts.telemetry.aws_calls,
        "summary": summary,
        "init_seconds": start - begun,
        "peak_memory_mb": peak_memory_mb(),
    }
    result.write_text(json.dumps(done))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
