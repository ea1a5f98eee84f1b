"""The shortest plan found for each planted bug: `python -m tests.simulation.planted` prints them."""

from __future__ import annotations

from harness.simulation.plan import Fault, Plan, Publication

SHRUNK = {
    "delete before send": Plan(
        seed=1, max_attempts=2, connections=1, publications=(Publication(at=31374.804, to=("busy3",)),)
    ),
    "settle without a lease check": Plan(
        seed=1528,
        max_attempts=2,
        connections=2,
        visibility=65,
        concurrency=3,
        publications=(
            Publication(at=37637.532, to=()),
            Publication(at=37638.259, to=()),
            Publication(at=37638.343),
            Publication(at=37638.728),
            Publication(at=37641.821, to=("busy3",)),
            Publication(at=37645.813),
        ),
        faults=(Fault(kind="lambda.stalls", at=37601.343, seconds=371.446, detail="120"),),
    ),
    "claim that ignores an expired lease": Plan(
        seed=14,
        max_attempts=2,
        connections=1,
        publications=(Publication(at=72659.079),),
        faults=(Fault(kind="lambda.dies", at=72529.571, seconds=243.424),),
    ),
    "alarm reset only at the end": Plan(
        seed=368,
        max_attempts=2,
        connections=1,
        publications=(
            Publication(at=52659.856, to=("busy1",), key="own", times=2),
            Publication(at=52659.856),
            Publication(at=52659.856, to=("busy2",)),
        ),
        faults=(Fault(kind="lambda.dies", at=52639.761, seconds=1206.677),),
    ),
    "attempts counted by receive": Plan(
        seed=7,
        max_attempts=2,
        connections=1,
        publications=(Publication(at=41536.781, to=("busy1",)),),
        faults=(Fault(kind="smtp.greets", at=41395.898, seconds=3600.0, detail="554"),),
    ),
    "redrive deletes before it sends": Plan(
        seed=425,
        max_attempts=2,
        connections=1,
        publications=(
            Publication(at=71249.965, to=("busy3",)),
            Publication(at=71249.965, to=("gone",)),
            Publication(at=71466.715, redrive="all"),
        ),
        faults=(Fault(kind="lambda.dies", at=71179.824, seconds=1349.712),),
    ),
    "dead letter before the last attempt is recorded": Plan(
        seed=362,
        max_attempts=2,
        connections=1,
        publications=(
            Publication(at=14103.478),
            Publication(at=15025.706, redrive="max"),
            Publication(at=39130.583, to=("busy2",)),
        ),
        faults=(
            Fault(kind="smtp.login", at=37709.776, seconds=2510.631, share=0.1),
            Fault(kind="lambda.dies", at=38841.782, seconds=1282.044),
        ),
    ),
    "visibility shorter than a send": Plan(
        seed=52,
        max_attempts=2,
        connections=1,
        publications=(Publication(at=8004.235, to=("busy3",)),),
        faults=(Fault(kind="smtp.slow", at=8438.125, seconds=397.255, detail="15"),),
    ),
    "group commit that drops the last batch at the deadline": Plan(
        seed=988,
        max_attempts=2,
        connections=1,
        publications=(
            Publication(at=26704.687),
            Publication(at=57663.747, to=("gone",)),
            Publication(at=57863.573, to=("busy2",), times=2),
        ),
        faults=(Fault(kind="smtp.slow", at=57581.677, seconds=631.787, detail="60"),),
    ),
    "421 in mid-RCPT taken as delivered": Plan(
        seed=179,
        max_attempts=2,
        connections=1,
        publications=(Publication(at=13852.075, to=("busy3",)),),
        faults=(Fault(kind="smtp.closes", at=13966.241, seconds=185.254, detail="RCPT"),),
    ),
}
