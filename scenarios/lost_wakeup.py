"""What is published reaches the queue and wakes nobody, and the SMTP server is down: only the alarm can save the mail.

What it shows: while a message is visible the alarm fires and wakes the function, without anybody's help, and again
where the function could do nothing the first time: it sets the alarm to OK, for an alarm acts only on a transition.
"""

from harness.expectations import alarm_fired, all_delivered, no_dead_letters
from harness.nemesis import NoWakeUps, ServerDown, alarmed
from harness.scenario import BRISK, Scenario

SCENARIO = Scenario(
    summary="no publish wakes the function: only the alarm can save the mail",
    mails=60,
    settings=BRISK,
    faults=(
        NoWakeUps(name="no wake-ups", heals=False),
        ServerDown(name="server down", seconds=25, until=alarmed("wake-up")),
    ),
    expect=(all_delivered(), no_dead_letters(), alarm_fired()),
)
