"""Four functions at once, a ledger that is throttled, and a server that takes so many mails a second.

What it shows: leases keep four workers from sending a mail twice, nothing is sent that could not be claimed, and what
was sent is recorded as soon as the ledger takes it.
"""

from harness.expectations import all_delivered, no_dead_letters, refused
from harness.faults import Stage
from harness.localstack.trouble import TroubleRule
from harness.mischief import Misdeed
from harness.nemesis import Aws, Server, accepted
from harness.scenario import BRISK, Scenario

LIMITED = Misdeed(stages=(Stage.MAIL,), reply="451 4.7.1 too many mails, slow down", per_second=6)
THROTTLED = TroubleRule(service="dynamodb", share=0.3, code="ThrottlingException", status=400)

SCENARIO = Scenario(
    summary="four functions at once, a throttled ledger and a server with a rate limit",
    mails=150,
    rate=50,
    connections=4,
    concurrency=4,
    settings=BRISK,
    faults=(
        Server(name="rate limit", does=(LIMITED,), until=accepted(0.9)),
        Aws(name="ledger throttled", rules=(THROTTLED,), until=accepted(0.7)),
    ),
    expect=(all_delivered(), no_dead_letters(), refused()),
)
