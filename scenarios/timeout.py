"""The function's time-out is short and the server slow: the deadline falls into the work.

What it shows: ion begins nothing that it could not end, gives back what it holds, and goes on when it is woken again.
"""

from harness.expectations import all_delivered, attempts_unspent, no_dead_letters
from harness.faults import Stage
from harness.mischief import Misdeed
from harness.nemesis import Server
from harness.scenario import BRISK, Scenario

SLOW = Misdeed(stages=(Stage.MAIL, Stage.DOT), delay_seconds=0.3, jitter_seconds=0.3)

SCENARIO = Scenario(
    summary="the function's deadline falls into slow sends",
    mails=120,
    connections=4,
    # The replies may take so long that a machine which is busy for a while spends nobody's attempt.
    settings=BRISK
    | {
        "smtp.command_timeout_seconds": "15",
        "smtp.data_timeout_seconds": "15",
        "smtp.transaction_timeout_seconds": "20",
        "queue.visibility_timeout_seconds": "30",
    },
    function_seconds=30,
    faults=(Server(name="slow", does=(SLOW,), heals=False),),
    expect=(all_delivered(), no_dead_letters(), attempts_unspent()),
)
