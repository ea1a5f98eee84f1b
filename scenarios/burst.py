"""Many mails at once and nothing in the way: the straight way through SNS, SQS, Lambda and SMTP.

What it shows: that the pieces fit, that every mail arrives once and as it was published, and how fast.
"""

from harness.scenario import Scenario

SCENARIO = Scenario(summary="500 mails of every shape at once, and an SMTP server that works", mails=500)
