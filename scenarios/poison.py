"""Malformed, oversized, injected and unknown bodies between good mail.

What it shows: each ends in the dead-letter queue with its reason, and the good mail beside it is neither delayed nor
harmed.
"""

from harness.expectations import poison_buried
from harness.scenario import BRISK, Scenario

SCENARIO = Scenario(
    summary="bodies that nobody should publish, between good mail",
    mails=150,
    poison=52,
    settings=BRISK,
    expect=(poison_buried(),),
)
