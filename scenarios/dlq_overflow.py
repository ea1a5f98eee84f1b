"""A server that accepts a few mails and then refuses every one for good.

What it shows: all of it ends in the dead-letter queue at once, each letter with its reason, and the input queue is empty.
"""

from harness.expectations import dead_letters, refused
from harness.faults import Stage
from harness.mischief import Misdeed
from harness.nemesis import Server
from harness.scenario import BRISK, Scenario

REFUSING = Misdeed(stages=(Stage.MAIL,), reply="550 5.7.1 your mail is not wanted here")

SCENARIO = Scenario(
    summary="everything is refused: dead letters with their reasons, and an empty input queue",
    mails=200,
    rate=30,
    settings=BRISK,
    faults=(Server(name="refusing", start=2, does=(REFUSING,), heals=False),),
    expect=(dead_letters("rejected", share=0.5), refused(at_least=100)),
)
