"""What is published reaches the queue and wakes nobody: only the alarm can save it.

What it shows: while a message is visible the alarm fires and wakes the function, without anybody's help.
"""

from harness.expectations import alarm_fired, all_delivered, no_dead_letters
from harness.nemesis import NoWakeUps
from harness.scenario import BRISK, Scenario

SCENARIO = Scenario(
    summary="no publish wakes the function: only the alarm can save the mail",
    mails=60,
    settings=BRISK,
    faults=(NoWakeUps(name="no wake-ups", heals=False),),
    expect=(all_delivered(), no_dead_letters(), alarm_fired()),
)
