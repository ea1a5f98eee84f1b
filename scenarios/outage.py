"""The SMTP server dies in the middle of the work and comes back.

What it shows: nothing is lost, nothing is sent twice, and the outage costs no mail an attempt but those that were in a
transaction when the server died. While it is down ion receives nothing; the alarm wakes it, and it looks for the server
first.
"""

from harness.expectations import (
    alarm_fired,
    all_delivered,
    attempts_unspent,
    held_up,
    no_dead_letters,
    recovered_within,
)
from harness.faults import Stage
from harness.mischief import Misdeed
from harness.nemesis import Server, ServerDown, accepted, alarmed
from harness.scenario import BRISK, Scenario

SLOW = Misdeed(stages=(Stage.MAIL,), delay_seconds=0.1, jitter_seconds=0.1)

SCENARIO = Scenario(
    summary="the SMTP server dies for fifteen seconds or more and comes back",
    mails=200,
    rate=25,
    settings=BRISK,
    faults=(
        Server(name="a little slow", does=(SLOW,)),
        ServerDown(name="server down", when=accepted(0.2), seconds=15, until=alarmed("wake-up")),
    ),
    expect=(
        all_delivered(),
        no_dead_letters(),
        attempts_unspent(allowed=3),
        held_up("server down"),
        alarm_fired(),
        recovered_within(90),
    ),
)
