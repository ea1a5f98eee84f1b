"""What a check of a run comes to: the verdict, the promises, and what was found of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Verdict(StrEnum):
    """What a run proves."""

    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"

    @property
    def exit_code(self) -> int:
        """0, 1 or 2."""
        return list(Verdict).index(self)


class Promise(StrEnum):
    """What must hold, always (docs/reliability.md)."""

    CONSERVATION = "conservation"
    CONTENT = "content"
    ONCE = "once"
    LIVENESS = "liveness"
    REASON = "reason"
    EXPECTATION = "expectation"


@dataclass(frozen=True, kw_only=True, slots=True)
class Breach:
    """A promise that was broken.

    Attributes:
        promise: Which.
        what: How, in words.
        mails: The X-Workload-Ids concerned, and what is wrong with each.
    """

    promise: Promise
    what: str
    mails: Mapping[str, str]


@dataclass(kw_only=True)
class Report:
    """What the checker found.

    Attributes:
        sets: X-Workload-Ids by what became of the mail.
        deliveries: How many copies reached a recipient.
        duplicates: How many copies too many did, with no excuse.
        ambiguous: How many did after a send of which nobody could know whether it had succeeded (RFC 1047).
        breaches: The promises broken.
        doubts: Why it cannot be said that all were kept.
        expectations: What the scenario expects beside the promises, each with what is wrong, if anything.
    """

    sets: dict[str, list[str]] = field(default_factory=dict)
    deliveries: int = 0
    duplicates: int = 0
    ambiguous: int = 0
    breaches: list[Breach] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    expectations: list[dict[str, str]] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        """False over unknown over true."""
        if self.breaches:
            return Verdict.INVALID
        return Verdict.UNKNOWN if self.doubts else Verdict.VALID

    @property
    def counts(self) -> dict[str, int]:
        """The sets' sizes and the copies."""
        sizes = {name: len(ids) for name, ids in self.sets.items()}
        return sizes | {
            "deliveries": self.deliveries,
            "duplicates": self.duplicates,
            "ambiguous": self.ambiguous,
        }

    @property
    def summary(self) -> str:
        """The verdict in one line."""
        counts = Counter(self.counts)
        parts = [f"{counts['acknowledged']} published", f"{counts['delivered']} delivered"]
        parts += [f"{counts[name]} {name.replace('_', '-')}" for name in ("dead_lettered", "pending") if counts[name]]
        parts += [f"{counts['lost']} lost", f"{counts['duplicates']} duplicated"]
        parts += [f"{counts[name]} {name}" for name in ("ambiguous", "unexpected", "changed", "leaked") if counts[name]]
        return f"{self.verdict}: {', '.join(parts)}"
