"""Whatever comes: faults of every kind, composed by chance from the seed.

What it shows: the promises hold, not only under the troubles that somebody has thought of one by one.
"""

from collections.abc import Sequence
from random import Random

from harness.expectations import faults_of
from harness.faults import Stage
from harness.localstack.trouble import TroubleRule
from harness.mischief import Misdeed
from harness.nemesis import Aws, Fault, Kill, NoWakeUps, Redeliver, Server, ServerDown
from harness.scenario import BRISK, Scenario

STAGES = (Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.DOT)


def draw(dice: Random, seconds: float) -> Sequence[Fault]:
    """Three to six faults, each at a time and for a while of its own."""
    return [_fault(dice, number, seconds) for number in range(dice.randint(3, 6))]


def _fault(dice: Random, number: int, seconds: float) -> Fault:
    start, lasts = round(dice.uniform(0, seconds / 2), 2), round(dice.uniform(2, seconds / 2), 2)
    stage, share = dice.choice(STAGES), round(dice.uniform(0.05, 0.4), 2)
    deeds = {
        "4xx": Misdeed(stages=(stage,), reply="451 4.3.0 try again later", share=share),
        "421": Misdeed(stages=(stage,), reply="421 4.3.2 shutting down", share=share / 4),
        "dropped": Misdeed(stages=(stage,), drop=True, share=share / 2),
        "lost reply": Misdeed(stages=(Stage.KEPT,), drop=True, share=share / 2),
        "hanging": Misdeed(stages=(stage,), hang=True, share=share / 4),
        "slow": Misdeed(stages=(stage,), delay_seconds=share, jitter_seconds=share),
        "greeting": Misdeed(stages=(Stage.GREETING,), reply="554 5.3.2 no service here", share=share),
        "no login": Misdeed(stages=(Stage.AUTH,), reply="454 4.7.0 temporary authentication failure", share=share),
        "no TLS": Misdeed(stages=(Stage.STARTTLS,), reply="454 4.7.0 TLS not available", share=share),
    }
    kind = dice.choice((*deeds, "down", "killed", "delivered again", "ledger", "queue", "no wake-ups"))
    name = f"{number}: {kind}"
    match kind:
        case "down":
            return ServerDown(name=name, start=start, seconds=lasts)
        case "killed":
            return Kill(name=name, start=start, seconds=lasts, every=2)
        case "delivered again":
            return Redeliver(name=name, start=start, seconds=lasts, share=share)
        case "no wake-ups":
            return NoWakeUps(name=name, start=start, seconds=lasts)
        case "ledger":
            rule = TroubleRule(service="dynamodb", share=share / 2, code="ThrottlingException", status=400)
            return Aws(name=name, start=start, seconds=lasts, rules=(rule,))
        case "queue":
            rule = TroubleRule(service="sqs", share=share / 2, code="ServiceUnavailable", status=503)
            return Aws(name=name, start=start, seconds=lasts, rules=(rule,))
        case _:
            return Server(name=f"{name} at {stage}", start=start, seconds=lasts, does=(deeds[kind],))


SCENARIO = Scenario(
    summary="faults of every kind, composed by chance from the seed",
    mails=150,
    rate=15,
    settings=BRISK,
    faults=draw,
    repeats=0.2,
    expect=(faults_of(1),),
)
