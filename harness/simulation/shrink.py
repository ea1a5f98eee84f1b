"""The shortest plan that breaks the same promise.

Hypothesis draws what is left of a plan, and shrinks it: towards fewer publications and faults, then towards plain ones.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, TypeVar

from hypothesis import HealthCheck, Phase, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from harness.simulation.plan import KINDS, Plan, Publication

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import DrawFn

T = TypeVar("T")

TRIES = 400
# Of so many, one is dropped, or simplified, where Hypothesis only looks around; shrinking tries it for each.
KEPT, PLAIN = 24, 9


def shrink(plan: Plan, broken: Callable[[Plan], bool]) -> Plan:
    """The shortest plan found that is still broken; the plan itself where none is."""
    quiet = settings(
        max_examples=TRIES,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    try:
        return find(_smaller(plan), broken, settings=quiet, random=Random(plan.seed))  # noqa: S311 - chance only
    except NoSuchExample:
        return plan


@st.composite
def _smaller(draw: DrawFn, plan: Plan) -> Plan:
    """A plan with some of its publications and faults, some of them simpler."""

    def either(plain: T, one: T) -> T:
        return plain if plain != one and not draw(st.integers(0, PLAIN)) else one

    kept = st.integers(0, KEPT)
    mails = [(Publication(at=one.at, to=one.to[:1], redrive=one.redrive), one) for one in plan.publications]
    # Never to a share that no seed draws: a queue that hides nothing is no SQS.
    faults = [(replace(one, share=max(KINDS[one.kind].shares)), one) for one in plan.faults]
    return replace(
        plan,
        publications=tuple(either(*pair) for pair in mails if draw(kept)),
        faults=tuple(either(*pair) for pair in faults if draw(kept)),
        connections=either(1, plan.connections),
        concurrency=either(1, plan.concurrency),
        max_attempts=either(2, plan.max_attempts),
        visibility=either(120, plan.visibility),
    )
