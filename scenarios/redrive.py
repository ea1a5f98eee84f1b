"""Everything is refused and dead-lettered; the trouble is mended; somebody asks for a redrive, and it is killed.

What it shows: a redrive brings every dead letter back, and each is delivered once, although the function is killed in
the middle of it and the redrive is asked for twice.
"""

from harness.expectations import all_delivered, no_dead_letters, refused
from harness.faults import Stage
from harness.mischief import Misdeed
from harness.nemesis import Kill, Redrive, Server, all_dead
from harness.scenario import BRISK, Scenario

REFUSING = Misdeed(stages=(Stage.MAIL,), reply="550 5.7.1 your mail is not wanted here")

SCENARIO = Scenario(
    summary="dead letters are redriven, the redrive is killed halfway and asked for again: all delivered, once",
    mails=120,
    settings=BRISK,
    faults=(
        Server(name="refusing", does=(REFUSING,), until=all_dead),
        Redrive(name="redrive", after="refusing", when=all_dead),
        Kill(name="killed in the redrive", after="redrive", start=0.5, seconds=1, every=0.5),
        Redrive(name="redrive once more", after="redrive", start=1.5),
    ),
    expect=(all_delivered(), no_dead_letters(), refused(share=1)),
)
