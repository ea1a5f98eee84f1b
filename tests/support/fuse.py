"""What goes wrong at one chosen moment of a run: a hook for the twins that counts its calls and strikes at the n-th."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Killed(BaseException):
    """The process is dead; no code of it may do anything any more, not even clean up."""


class Fuse:
    """Strikes at the n-th call, counted from 1.

    Attributes:
        struck: Where it struck: the operation, and whether `before` or `after` it took effect; empty if it has not.
    """

    def __init__(self, at: int, *, when_struck: Callable[[], None] = lambda: None) -> None:
        self._left = at
        self._when_struck = when_struck
        self.struck = ""

    def burn(self, operation: str, when: str) -> bool:
        """Count one call; whether it has struck, now or before."""
        self._left -= 1
        if self._left == 0:
            self.struck = f"{operation} {when}"
            self._when_struck()
        return self._left <= 0


class Kill(Fuse):
    """Kills the process: from then on every call raises `Killed`."""

    async def __call__(self, operation: str, when: str) -> None:
        if self.burn(operation, when):
            raise Killed


class Fail(Fuse):
    """Fails one call, or that one and all after it; where it had taken effect already, its answer is lost."""

    def __init__(
        self,
        at: int,
        error: Callable[[str], Exception | None],
        *,
        for_good: bool = False,
        when_struck: Callable[[], None] = lambda: None,
    ) -> None:
        """Fail with what `error` gives for an operation; it gives None for those that are not to be touched."""
        super().__init__(at, when_struck=when_struck)
        self._error = error
        self._for_good = for_good

    async def __call__(self, operation: str, when: str) -> None:
        error = self._error(operation)
        if error is not None and self.burn(operation, when) and (self._for_good or self._left == 0):
            raise error
