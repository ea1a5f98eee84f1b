"""A server that accepts a few mails and then refuses every one for good.

What it shows: all of it ends in the dead-letter queue at once, each letter with its reason, the input queue is empty,
and the alarm that wakes people fires.
"""

from harness.expectations import alarm_fired, dead_letters, refused
from harness.faults import Stage
from harness.mischief import Misdeed
from harness.nemesis import Server, accepted, alarmed
from harness.scenario import BRISK, Scenario

REFUSING = Misdeed(stages=(Stage.MAIL,), reply="550 5.7.1 your mail is not wanted here")

SCENARIO = Scenario(
    summary="everything is refused: dead letters with their reasons, an alarm, and an empty input queue",
    mails=200,
    rate=40,
    settings=BRISK,
    faults=(Server(name="refusing", when=accepted(0.05), does=(REFUSING,), until=alarmed("dead letters")),),
    expect=(dead_letters("rejected"), refused(), alarm_fired("dead letters")),
)
