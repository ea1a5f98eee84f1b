"""Plans in which a promise was broken once; they run with every test run from then on.

A plan and not its seed: what a seed draws changes when the drawing does.
"""

from __future__ import annotations

from harness.simulation.plan import Fault, Plan, Publication

REGRESSIONS = {
    "copies of a mail whose id is taken were sent once each after a redrive (seed 140)": Plan(
        seed=140,
        max_attempts=2,
        connections=1,
        publications=(
            Publication(at=642.802, to=("busy1",), key="shared", times=2),
            Publication(at=642.802, to=("ann", "busy2", "gone"), key="shared"),
            Publication(at=71145.751, redrive="all"),
        ),
    ),
    "a letter that SQS refused in passing was sent without its words (seed 173)": Plan(
        seed=173,
        max_attempts=2,
        connections=1,
        publications=(Publication(at=49204.178, to=("spam",)),),
        faults=(Fault(kind="sqs.refuses", at=48949.822, seconds=370.54, share=0.1),),
    ),
    "an alarm that could not be set to OK stayed in ALARM (seed 10)": Plan(
        seed=10,
        connections=2,
        visibility=65,
        concurrency=2,
        publications=tuple(Publication(at=72659.079, to=(f"busy{n % 3 + 1}",), key="own") for n in range(8)),
        faults=(
            Fault(kind="smtp.refuses", at=72618.651, seconds=10171.567, share=0.3),
            Fault(kind="alarm.fails", at=72680.0, seconds=40.0),
        ),
    ),
    "a letter whose answer was lost had a twin that outlived a redrive (seed 603)": Plan(
        seed=603,
        max_attempts=2,
        connections=1,
        publications=(
            Publication(at=5040.303, to=("ann",)),
            Publication(at=5070.217, to=("busy3",)),
            Publication(at=5236.76, to=("busy3", "busy1"), key="own", times=2),
            Publication(at=6796.988, redrive="max"),
        ),
        faults=(Fault(kind="sqs.loses", at=5219.415, seconds=189.228, share=0.3),),
    ),
    "a mail that a dead worker had delivered was dead-lettered after doubtful attempts: no breach (seed 11639)": Plan(
        seed=11647,
        max_attempts=2,
        connections=1,
        publications=(Publication(at=39581.83), Publication(at=39581.83, to=("spam",))),
        faults=(
            Fault(kind="lambda.dies", at=39227.026, seconds=774.063),
            Fault(kind="smtp.drops", at=39866.662, seconds=723.976, detail="final dot"),
        ),
    ),
    "mails that waited behind a slow one were taken over by another worker (seed 17335)": Plan(
        seed=17345,
        max_attempts=2,
        connections=1,
        visibility=65,
        concurrency=2,
        publications=(
            Publication(at=43519.418, to=("spam",)),
            Publication(at=43520.927),
            Publication(at=43527.326, to=("busy2",), times=2),
        ),
        faults=(
            Fault(kind="sns.loses", at=43517.5, seconds=395.783),
            Fault(kind="smtp.slow", at=43518.567, seconds=71.415, share=0.3, detail="60"),
        ),
    ),
    "a large letter that SQS refused in passing was sent without its words (seed 61003)": Plan(
        seed=61003,
        max_attempts=2,
        connections=1,
        publications=(Publication(at=44996.786, to=("spam", "ann"), times=2, large=True),),
        faults=(
            Fault(kind="sqs.refuses", at=44993.745, seconds=805.318),
            Fault(kind="sqs.slow", at=45457.06, seconds=514.458, detail="40"),
        ),
    ),
}
