"""Whatever comes: faults of every kind, composed by chance from the seed.

What it shows: the promises hold, not only under the troubles that somebody has thought of one by one.
"""

from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from harness.expectations import all_delivered, no_dead_letters
from harness.faults import Stage
from harness.localstack.trouble import TroubleRule
from harness.mischief import Misdeed
from harness.nemesis import Aws, Fault, Kill, NoWakeUps, Redeliver, Server, ServerDown, accepted
from harness.scenario import BRISK, Scenario

STAGES = (Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT)


def draw(dice: Random, seconds: float) -> Sequence[Fault]:
    """Three to six faults, which begin within so many seconds of the first delivery and last as long at most."""
    return [_fault(dice, number, seconds) for number in range(dice.randint(3, 6))]


def _fault(dice: Random, number: int, seconds: float) -> Fault:
    stage, share = dice.choice(STAGES), round(dice.uniform(0.05, 0.4), 2)
    deeds = {
        "4xx": Misdeed(stages=(stage,), reply="451 4.3.0 try again later", share=share),
        "421": Misdeed(stages=(stage,), reply="421 4.3.2 shutting down", share=share / 2),
        "dropped": Misdeed(stages=(stage,), drop=True, share=share / 2),
        "reply lost": Misdeed(stages=(Stage.KEPT,), drop=True, share=share / 2),
        "hanging": Misdeed(stages=(stage,), hang=True, share=share / 2),
        "slow": Misdeed(stages=(stage,), delay_seconds=share, jitter_seconds=share),
        "greeting": Misdeed(stages=(Stage.GREETING,), reply="554 5.3.2 no service here", share=share),
        "no login": Misdeed(stages=(Stage.AUTH,), reply="454 4.7.0 temporary authentication failure", share=share),
        "no TLS": Misdeed(stages=(Stage.STARTTLS,), reply="454 4.7.0 TLS not available", share=share),
    }
    throttled = TroubleRule(service="dynamodb", share=share / 2, code="ThrottlingException", status=400)
    failing = TroubleRule(service="sqs", share=share / 2, code="ServiceUnavailable", status=503)
    others: dict[str, Callable[..., Fault]] = {
        "server down": ServerDown,
        "killed": partial(Kill, every=0.1),
        "delivered again": partial(Redeliver, share=share),
        "no wake-ups": NoWakeUps,
        "ledger throttled": partial(Aws, rules=(throttled,)),
        "queue failing": partial(Aws, rules=(failing,)),
    }
    kinds = {f"{name} at {deed.stages[0]}": partial(Server, does=(deed,)) for name, deed in deeds.items()} | others
    kind = dice.choice(list(kinds))
    # Where chance has it that a fault never strikes, the others still do.
    return kinds[kind](
        name=f"{number}: {kind}",
        when=accepted(0),
        start=round(dice.uniform(0, seconds), 2),
        seconds=round(dice.uniform(2, seconds), 2),
        must_strike=False,
    )


SCENARIO = Scenario(
    summary="faults of every kind, composed by chance from the seed",
    mails=150,
    rate=15,
    settings=BRISK | {"retry.max_attempts": "50"},
    faults=draw,
    repeats=0.2,
    expect=(all_delivered(), no_dead_letters()),
)
