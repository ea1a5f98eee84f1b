"""Faults of the sink that are set by hand, or by a test: Mailpit's three triggers, and one for each stage of a session.

https://mailpit.axllent.org/docs/integration/chaos/ describes Mailpit's. What happens is left to chance, by the
probability in percent; for faults that come again just so, there are scenarios.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.faults import Misbehaviour, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.faults import Visit
    from harness.sink import Sink

DEFAULTS = {"Sender": (Stage.MAIL, 451), "Recipient": (Stage.RCPT, 451), "Authentication": (Stage.AUTH, 535)}
MAX_DELAY_SECONDS = 300


class ChaosError(ValueError):
    """Faults that there are not; the message names the field."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trigger:
    """What goes wrong at one stage, and how often.

    Attributes:
        code: The reply code, 400 to 599; 0 to reply as always, after the delay.
        probability: In percent.
        drop: Cut the connection instead of replying.
        delay_seconds: Wait before that.
        times: At most so often; 0 for no such limit.
    """

    code: int = 0
    probability: int = 0
    drop: bool = False
    delay_seconds: float = 0.0
    times: int = 0


class Chaos:
    """The faults of one sink; takes the place of whatever faults it had.

    Attributes:
        fired: How often each stage's fault has struck since it was set.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.fired: Counter[Stage] = Counter()
        self._triggers: dict[Stage, Trigger] = {}
        self._closed = False
        self._dice = random.Random()  # noqa: S311 - no secret
        sink.faults = self

    async def at(self, visit: Visit) -> Misbehaviour | None:
        """What to do wrong; called by the sink."""
        trigger = self._triggers.get(visit.stage)
        if trigger is None or self._dice.random() * 100 >= trigger.probability:
            return None
        if trigger.times and self.fired[visit.stage] >= trigger.times:
            return None
        self.fired[visit.stage] += 1
        await asyncio.sleep(trigger.delay_seconds)
        if trigger.drop:
            return Misbehaviour(drop=True)
        if not trigger.code:
            return None
        return Misbehaviour(reply=f"{trigger.code} {trigger.code // 100}.3.0 refused, as was wished")

    def get(self) -> dict[str, Any]:
        """What is set, as a program reads it."""
        off = {name: Trigger(code=code) for name, (_, code) in DEFAULTS.items()}
        return {
            **{
                name: {"ErrorCode": trigger.code, "Probability": trigger.probability}
                for name, (stage, _) in DEFAULTS.items()
                for trigger in [self._triggers.get(stage, off[name])]
            },
            "Stages": {
                stage.value: {
                    "ErrorCode": trigger.code,
                    "Probability": trigger.probability,
                    "Drop": trigger.drop,
                    "DelaySeconds": trigger.delay_seconds,
                    "Times": trigger.times,
                }
                for stage, trigger in self._triggers.items()
            },
            "Closed": self._closed,
        }

    def set(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Set the faults, as a program gives them; what is left out is turned off. Returns what is set then.

        Raises:
            ChaosError: Something in it is wrong; then nothing changes.
        """
        if unknown := sorted(set(wanted) - {*DEFAULTS, "Stages", "Closed"}):
            raise ChaosError(f"{unknown[0]}: no such fault; there are {', '.join([*DEFAULTS, 'Stages', 'Closed'])}")
        stages = wanted.get("Stages") or {}
        if not isinstance(stages, dict):
            raise ChaosError("Stages: an object is needed")
        triggers = {stage: _trigger(wanted.get(name) or {}, name, code) for name, (stage, code) in DEFAULTS.items()}
        for name, value in stages.items():
            if name not in list(Stage):
                raise ChaosError(f"Stages.{name}: no such stage; there are {', '.join(Stage)}")
            triggers[Stage(name)] = _trigger(value, f"Stages.{name}", 0)
        closed = wanted.get("Closed") or False
        if not isinstance(closed, bool):
            raise ChaosError("Closed: true or false is needed")
        self._triggers = {stage: trigger for stage, trigger in triggers.items() if trigger.probability}
        self.fired.clear()
        if closed != self._closed:
            self._closed = closed
            (self._sink.close if closed else self._sink.open)()
        return self.get()


def _trigger(value: Any, name: str, code: int) -> Trigger:
    """Read a trigger; `code` is for one that gives none."""
    if not isinstance(value, dict):
        raise ChaosError(f"{name}: an object is needed")
    if unknown := sorted(set(value) - {"ErrorCode", "Probability", "Drop", "DelaySeconds", "Times"}):
        raise ChaosError(f"{name}.{unknown[0]}: no such field")
    drop, delay = value.get("Drop", False), value.get("DelaySeconds", 0)
    if not isinstance(drop, bool):
        raise ChaosError(f"{name}.Drop: true or false is needed")
    if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay <= MAX_DELAY_SECONDS:
        raise ChaosError(f"{name}.DelaySeconds: 0 to {MAX_DELAY_SECONDS} is needed")
    given = value.get("ErrorCode") or 0
    return Trigger(
        code=_whole(given, f"{name}.ErrorCode", 400, 599) if given else code,
        probability=_whole(value.get("Probability", 0), f"{name}.Probability", 0, 100),
        drop=drop,
        delay_seconds=float(delay),
        times=_whole(value.get("Times", 0), f"{name}.Times", 0, 2**31),
    )


def _whole(value: Any, name: str, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ChaosError(f"{name}: a whole number from {least} to {most} is needed")
    return value
