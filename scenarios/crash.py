"""The function is killed (SIGKILL) again and again while it sends.

What it shows: what it held becomes visible again and is sent; a mail comes twice only where the kill fell between the
server's reply and ion's record of it, and those are counted apart.
"""

from harness.expectations import all_delivered, no_dead_letters
from harness.faults import Stage
from harness.mischief import Misdeed
from harness.nemesis import Kill, Server, accepted
from harness.scenario import BRISK, Scenario

SLOW = Misdeed(stages=(Stage.MAIL, Stage.DOT), delay_seconds=0.05, jitter_seconds=0.1)

SCENARIO = Scenario(
    summary="the function is killed again and again while it sends",
    mails=200,
    rate=40,
    settings=BRISK,
    faults=(
        Server(name="a little slow", does=(SLOW,), until=accepted(0.8)),
        Kill(name="killed", when=accepted(0.1), every=0.1, until=accepted(0.6)),
    ),
    expect=(all_delivered(), no_dead_letters()),
)
