"""Some recipients are refused for good, in mails that others get; and large mail is refused for all of them.

What it shows: the others get theirs once, and the dead letter names just those who did not. What is larger than the
server says that it takes is not even sent.
"""

from harness.expectations import dead_letters, refused
from harness.faults import Stage
from harness.mischief import Misdeed
from harness.nemesis import Server, SizeLimit
from harness.scenario import BRISK, Scenario

UNKNOWN = Misdeed(stages=(Stage.RCPT,), reply="550 5.1.1 no such user", share=0.2)
FULL = Misdeed(stages=(Stage.RCPT,), reply="452 4.2.2 mailbox full, for a while", share=0.1, greylist_seconds=3)

SCENARIO = Scenario(
    summary="a fifth of the recipients is refused for good, others for a while, and large mail always",
    mails=150,
    settings=BRISK,
    faults=(
        Server(name="no such user", does=(UNKNOWN,), heals=False),
        Server(name="mailbox full", does=(FULL,), heals=False),
        SizeLimit(name="no large mail", size=20_000, heals=False),
    ),
    expect=(dead_letters("rejected", share=0.1), refused(share=0.2)),
)
