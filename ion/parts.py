"""Everything that a drain touches, so that the same drain runs on AWS and in a simulation."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random, SystemRandom
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ion.ledger import Ledger
    from ion.protocols import Alarm, Clock, Courier, Queue
    from ion.settings import Settings
    from ion.telemetry import Telemetry


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What ion is wired from; made once for the life of the process.

    Attributes:
        queue: The input queue.
        letters: The dead-letter queue.
        ledger: The record of each mail.
        couriers: Makes a courier, not yet connected.
        alarm: The alarm that wakes the function for what is left.
        clock: The time of day.
        settings: ion's settings.
        telemetry: Logs and metrics.
        random: The source of chance, for claims' tokens and the retry's jitter.
    """

    queue: Queue
    letters: Queue
    ledger: Ledger
    couriers: Callable[[], Courier]
    alarm: Alarm
    clock: Clock
    settings: Settings
    telemetry: Telemetry
    random: Random = field(default_factory=SystemRandom)
