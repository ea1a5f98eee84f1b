"""A greylisting server: each recipient is refused at first and accepted some seconds later.

What it shows: whoever has accepted is not sent to again, whoever has not is tried again, recipient by recipient.
"""

from harness.expectations import all_delivered, no_dead_letters, refused
from harness.faults import Stage
from harness.mischief import Misdeed
from harness.nemesis import Server
from harness.scenario import BRISK, Scenario

GREYLISTING = Misdeed(stages=(Stage.RCPT,), reply="451 4.7.1 greylisted, come back later", greylist_seconds=4)

SCENARIO = Scenario(
    summary="every recipient is refused at first and accepted four seconds later",
    mails=100,
    settings=BRISK | {"retry.base_seconds": "3", "retry.cap_seconds": "6"},
    faults=(Server(name="greylisting", does=(GREYLISTING,), heals=False),),
    expect=(all_delivered(), no_dead_letters(), refused(share=0.9)),
)
