"""A steady stream for minutes, with a little of everything going wrong all the time.

What it shows: nothing wears out. `--duration` makes it longer.
"""

from harness.expectations import all_delivered, no_dead_letters
from harness.faults import Stage
from harness.mischief import Misdeed
from harness.nemesis import Kill, Redeliver, Server, accepted
from harness.scenario import BRISK, Scenario

NOW_AND_THEN = (
    Misdeed(stages=(Stage.RCPT,), reply="451 4.2.1 not now", share=0.02, times=100),
    Misdeed(stages=(Stage.DATA,), drop=True, share=0.01),
    Misdeed(stages=(Stage.MAIL,), reply="421 4.3.2 shutting down", share=0.005),
    Misdeed(stages=(Stage.MAIL, Stage.DOT), jitter_seconds=0.1),
)

SCENARIO = Scenario(
    summary="a steady stream for a minute with a little of everything going wrong; --duration 3600 makes it an hour",
    mails=600,
    rate=10,
    settings=BRISK,
    repeats=0.1,
    faults=(
        Server(name="now and then", does=NOW_AND_THEN),
        Kill(name="killed", when=accepted(0.1), every=0.15),
        Redeliver(name="delivered again", when=accepted(0.05), share=0.05),
    ),
    expect=(all_delivered(), no_dead_letters()),
)
