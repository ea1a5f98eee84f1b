"""How an SMTP server goes wrong, in pieces that can be named, put together and scheduled.

A `Mischief` is the sink's `faults.Faults`: it holds the pieces that are active now, and at every stage asks each.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.faults import Misbehaviour, Stage, Visit

if TYPE_CHECKING:
    from collections.abc import Iterable

HANG_POLL_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class Misdeed:
    """One way to go wrong at one stage or several.

    Attributes:
        stages: Where; none: at every stage.
        reply: What to answer in place of what is right (`451 4.3.0 try again later`).
        drop: Cut the connection. At `Stage.KEPT` that is after the mail was kept and before the reply: the maker of
            duplicates (RFC 1047).
        hang: Say nothing until the fault is over.
        delay_seconds: Wait before going on.
        jitter_seconds: Up to so much longer, by chance.
        drip_seconds: Send each byte of the reply after such a pause.
        share: Of the visits that fit, this share is struck; of recipients, where there is one, always the same ones.
        pattern: A regular expression that the recipient must match, at RCPT.
        times: Strike so often and then no more.
        greylist_seconds: Refuse each sender and recipient at first, and accept them this long after (RCPT only).
        per_second: Strike what goes beyond so many a second.
    """

    stages: tuple[Stage, ...] = ()
    reply: str = ""
    drop: bool = False
    hang: bool = False
    delay_seconds: float = 0.0
    jitter_seconds: float = 0.0
    drip_seconds: float = 0.0
    share: float = 1.0
    pattern: str = ""
    times: int | None = None
    greylist_seconds: float | None = None
    per_second: float | None = None


class _Active:
    """A misdeed while it is active, with what it has to remember."""

    def __init__(self, name: str, misdeed: Misdeed, seed: str) -> None:
        self.name = name
        self.misdeed = misdeed
        self.over = False
        self.struck = 0
        self._seed = seed
        self._dice = random.Random(seed)  # noqa: S311 - repeatable is what it must be
        self._first_seen: dict[tuple[str, str], float] = {}
        self._budget = misdeed.per_second or 0.0
        self._refilled = time.monotonic()

    def fits(self, visit: Visit) -> bool:
        """Whether it strikes this visit."""
        deed = self.misdeed
        aimed_at = not deed.stages or visit.stage in deed.stages
        spent = deed.times is not None and self.struck >= deed.times
        if not aimed_at or spent or not re.search(deed.pattern, visit.recipient):
            return False
        # A recipient has dice of its own: what it has met once it meets again.
        own = random.Random(f"{self._seed}/{visit.recipient}")  # noqa: S311 - as above
        if (own if visit.recipient else self._dice).random() >= deed.share:
            return False
        if deed.greylist_seconds is not None:
            now = time.monotonic()
            return now < self._first_seen.setdefault((visit.sender, visit.recipient), now) + deed.greylist_seconds
        return deed.per_second is None or not self._within_rate(deed.per_second)

    async def strike(self) -> Misbehaviour | None:
        """Do it; None where the server then goes on as it should."""
        deed = self.misdeed
        self.struck += 1
        if deed.delay_seconds or deed.jitter_seconds:
            await asyncio.sleep(deed.delay_seconds + self._dice.random() * deed.jitter_seconds)
        while deed.hang and not self.over:  # noqa: ASYNC110 - another thread ends it
            await asyncio.sleep(HANG_POLL_SECONDS)
        if deed.reply or deed.drop or deed.drip_seconds:
            return Misbehaviour(reply=deed.reply, drop=deed.drop, drip_seconds=deed.drip_seconds)
        return None

    def _within_rate(self, per_second: float) -> bool:
        now = time.monotonic()
        self._budget = min(per_second, self._budget + (now - self._refilled) * per_second)
        self._refilled = now
        if self._budget < 1:
            return False
        self._budget -= 1
        return True


class Mischief:
    """`harness.faults.Faults`: the misdeeds that are active now, the first begun asked first."""

    def __init__(self, *, seed: int) -> None:
        self._seed = seed
        self._active: list[_Active] = []
        self.struck: Counter[str] = Counter()

    def begin(self, name: str, misdeeds: Iterable[Misdeed]) -> None:
        """Let misdeeds happen from now on, under a name."""
        begun = [_Active(name, deed, f"{self._seed}/{name}/{number}") for number, deed in enumerate(misdeeds)]
        self._active = [*self._active, *begun]

    def end(self, name: str) -> None:
        """Let what was begun under a name happen no more."""
        for active in self._active:
            active.over = active.over or active.name == name
        self._active = [active for active in self._active if not active.over]

    async def at(self, visit: Visit) -> Misbehaviour | None:
        """What to do wrong here: every delay, and the first other thing."""
        for active in self._active:
            if not active.over and active.fits(visit):
                self.struck[active.name] += 1
                found = await active.strike()
                if found is not None:
                    return found
        return None
