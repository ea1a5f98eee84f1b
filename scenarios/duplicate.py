"""SQS delivers messages twice, publishers publish twice, and the server's replies get lost.

What it shows: a repeat of a mail that is known is not sent; only a reply that never came can make a second copy, and it
is counted apart.
"""

from harness.expectations import all_delivered, no_dead_letters, repeated
from harness.faults import Stage
from harness.mischief import Misdeed
from harness.nemesis import Redeliver, Server, accepted
from harness.scenario import BRISK, Scenario

LOST_REPLY = Misdeed(stages=(Stage.KEPT,), drop=True, share=0.1)
SLOW = Misdeed(stages=(Stage.MAIL,), delay_seconds=0.1, jitter_seconds=0.1)

SCENARIO = Scenario(
    summary="SQS and publishers repeat themselves, and replies get lost",
    mails=150,
    rate=40,
    settings=BRISK,
    repeats=0.5,
    faults=(
        Server(name="a little slow", does=(SLOW,), until=accepted(0.9)),
        Server(name="lost replies", does=(LOST_REPLY,), until=accepted(0.6)),
        Redeliver(name="delivered again", when=accepted(0.05), until=accepted(0.7)),
    ),
    expect=(all_delivered(), no_dead_letters(), repeated()),
)
