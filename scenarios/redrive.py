"""Everything is refused and dead-lettered; the trouble is mended; somebody asks for a redrive, and it is killed.

What it shows: a redrive brings every dead letter back, and each is delivered once, although the function is killed in
the middle of it and the redrive is asked for twice.
"""

from harness.expectations import all_delivered, no_dead_letters, refused
from harness.faults import Stage
from harness.localstack.trouble import TroubleRule
from harness.mischief import Misdeed
from harness.nemesis import Aws, Kill, Redrive, Server, all_dead, redriven
from harness.scenario import BRISK, Scenario

REFUSING = Misdeed(stages=(Stage.MAIL,), reply="550 5.7.1 your mail is not wanted here")
SLOW = TroubleRule(service="sqs", operations=("SendMessageBatch",), delay_seconds=0.5)

SCENARIO = Scenario(
    summary="dead letters are redriven, the redrive is killed halfway and asked for again: all delivered, once",
    mails=120,
    settings=BRISK,
    function_seconds=15,  # as in AWS no longer than letters are hidden from others
    faults=(
        Server(name="refusing", does=(REFUSING,), until=all_dead),
        Aws(name="queue slow", after="refusing", when=all_dead, rules=(SLOW,), until=redriven(0.8)),
        Redrive(name="redrive", after="queue slow"),
        Kill(name="killed in the redrive", after="redrive", when=redriven(0.1), until=redriven(0.6), every=1),
        Redrive(name="redrive once more", after="killed in the redrive"),
    ),
    expect=(all_delivered(), no_dead_letters(), refused(share=1)),
)
