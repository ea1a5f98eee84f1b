"""What thousands of simulated days have covered: kinds of faults, and lines of ion's dealing with failure."""

from __future__ import annotations

import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Self

from harness.simulation.plan import KINDS
from ion import breaker, deadletter, drain, intake, ledger, redrive, retry, settlement, settler

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

MODULES = (breaker, deadletter, drain, intake, ledger, redrive, retry, settlement, settler)


class Lines:
    """The lines of ion's drain that have run while this was entered, once or more often.

    Attributes:
        missing: By file and first line of a function, its lines that have not run yet.
    """

    def __init__(self) -> None:
        self.missing: dict[tuple[str, int], set[int]] = {}
        for module in MODULES:
            path = str(module.__file__)
            for code in _functions(compile(Path(path).read_text("utf-8"), path, "exec")):
                lines = {line for _, _, line in code.co_lines() if line} - {code.co_firstlineno}
                self.missing.setdefault((path, code.co_firstlineno), set()).update(lines)

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _call(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        missing = self.missing.get((frame.f_code.co_filename, frame.f_code.co_firstlineno))
        if not missing:  # no function of ion's drain, or one that has run whole
            return None

        def line(frame: FrameType, _event: str, _argument: Any) -> Any:
            missing.discard(frame.f_lineno)
            return line

        return line

    def never_ran(self) -> list[str]:
        """The lines that have not run: `drain.py:123: the line itself`."""
        found = []
        for path in sorted({path for path, _ in self.missing}):
            text = Path(path).read_text("utf-8").splitlines()
            lines = set().union(*(lines for (name, _), lines in self.missing.items() if name == path))
            found += [f"{Path(path).name}:{line}: {text[line - 1].strip()}" for line in sorted(lines)]
        return found


def _functions(code: CodeType) -> Iterator[CodeType]:
    """All functions in a module's code; what runs when it is imported is none."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_flags & 0x1:  # CO_OPTIMIZED: a function, and no class body
                yield constant
            yield from _functions(constant)


def never_struck(seen: Counter[str]) -> list[str]:
    """The kinds of faults that have not struck once."""
    return [kind for kind in KINDS if not seen[kind]]
