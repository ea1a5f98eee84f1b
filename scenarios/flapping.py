"""The SMTP server goes and comes, again and again.

What it shows: a breaker that opens and closes several times loses nothing on the way, and a mail whose transaction was
cut is sent again as the same mail.
"""

from harness.expectations import all_delivered, no_dead_letters
from harness.nemesis import ServerDown
from harness.scenario import BRISK, Scenario

SCENARIO = Scenario(
    summary="the SMTP server goes and comes, four times",
    mails=160,
    rate=12,
    settings=BRISK,
    faults=tuple(ServerDown(name=f"server down, time {n}", start=1 + 5 * n, seconds=2.5) for n in range(4)),
    expect=(all_delivered(), no_dead_letters()),
)
