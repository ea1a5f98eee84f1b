"""The SMTP server goes and comes, again and again.

What it shows: a breaker that opens and closes several times loses nothing on the way, and a mail whose transaction was
cut is sent again as the same mail.
"""

from harness.expectations import all_delivered, held_up, no_dead_letters
from harness.faults import Stage
from harness.mischief import Misdeed
from harness.nemesis import Server, ServerDown, accepted
from harness.scenario import BRISK, Scenario

SLOW = Misdeed(stages=(Stage.MAIL,), delay_seconds=0.1, jitter_seconds=0.1)

SCENARIO = Scenario(
    summary="the SMTP server goes and comes, three times",
    mails=160,
    rate=40,
    settings=BRISK,
    faults=(
        Server(name="a little slow", does=(SLOW,)),
        *(ServerDown(name=f"server down, time {n}", when=accepted(n / 4), seconds=2) for n in (1, 2, 3)),
    ),
    expect=(all_delivered(), no_dead_letters(), held_up("server down")),
)
