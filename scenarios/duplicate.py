"""SQS delivers messages twice, publishers publish twice, and the server's replies get lost.

What it shows: a repeat of a mail that is known is not sent; only a reply that never came can make a second copy, and it
is counted apart.
"""

from harness.expectations import all_delivered, no_dead_letters, repeated
from harness.faults import Stage
from harness.mischief import Misdeed
from harness.nemesis import Redeliver, Server
from harness.scenario import BRISK, Scenario

LOST_REPLY = Misdeed(stages=(Stage.KEPT,), drop=True, share=0.05)
SLOW = Misdeed(stages=(Stage.MAIL,), delay_seconds=0.1)

SCENARIO = Scenario(
    summary="SQS and publishers repeat themselves, and replies get lost",
    mails=150,
    rate=20,
    settings=BRISK,
    repeats=0.5,
    faults=(
        Redeliver(name="delivered again", start=1, seconds=8),
        Server(name="lost replies", does=(LOST_REPLY,)),
        Server(name="a little slow", does=(SLOW,)),
    ),
    expect=(all_delivered(), no_dead_letters(), repeated(at_least=5)),
)
