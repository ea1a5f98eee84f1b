"""The SMTP server is overloaded: slow to answer, and 4xx for many.

What it shows: deferred mail is tried again on a schedule of its own while the rest goes through.
"""

from harness.expectations import all_delivered, no_dead_letters, refused
from harness.faults import Stage
from harness.mischief import Misdeed
from harness.nemesis import Server, accepted
from harness.scenario import BRISK, Scenario

SLOW = Misdeed(stages=(Stage.MAIL, Stage.RCPT, Stage.DOT), delay_seconds=0.02, jitter_seconds=0.2)
DRIPPING = Misdeed(stages=(Stage.EHLO,), drip_seconds=0.002)
BUSY = Misdeed(stages=(Stage.MAIL, Stage.DOT), reply="451 4.3.2 too busy, try again later", share=0.2)

SCENARIO = Scenario(
    summary="the SMTP server is slow and turns away many with 4xx",
    mails=150,
    rate=25,
    settings=BRISK,
    faults=(
        Server(name="slow", does=(SLOW, DRIPPING), until=accepted(0.9)),
        Server(name="busy", does=(BUSY,), until=accepted(0.9)),
    ),
    expect=(all_delivered(), no_dead_letters(), refused(share=0.1)),
)
