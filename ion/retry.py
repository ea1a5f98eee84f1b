"""When a deferred mail is tried again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from ion.settings import RetrySettings

# The longest SQS keeps a message hidden, counted from its receive:
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
MAX_VISIBILITY_SECONDS = 43_200


def ceiling(attempt: int, settings: RetrySettings) -> float:
    """The longest delay after the given attempt, in seconds: min(cap, base * 2^(attempt - 1)).

    Attempts count from 1. The result never falls as attempts grow and is finite for every one of them.
    """
    # Past this many doublings any base of a second or more has reached the largest cap SQS allows.
    doublings = min(max(attempt, 1) - 1, 64)
    return min(settings.cap_seconds, settings.base_seconds * 2.0**doublings, MAX_VISIBILITY_SECONDS)


def delay(attempt: int, settings: RetrySettings, *, random: random.Random) -> float:
    """Seconds to wait after the given attempt: between half the ceiling and the ceiling, drawn evenly.

    Half of it is kept so that a server which asked for time gets time; the other half spreads the mails that
    failed together.
    """
    longest = ceiling(attempt, settings)
    return longest / 2 + random.random() * longest / 2
