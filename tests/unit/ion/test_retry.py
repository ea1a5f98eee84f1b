"""The schedule of attempts."""

from __future__ import annotations

import random
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.retry import MAX_VISIBILITY_SECONDS, ceiling, delay
from ion.settings import RetrySettings

schedules = st.builds(
    RetrySettings,
    base_seconds=st.floats(0.001, 43_200),
    cap_seconds=st.floats(0.001, 43_200),
    max_attempts=st.integers(1, 100),
)
attempts = st.integers(1, 10**30)
DEFAULT = RetrySettings(base_seconds=60, cap_seconds=3600, max_attempts=10)


def test_default_schedule() -> None:
    """A minute, doubling up to an hour."""
    assert [ceiling(n, DEFAULT) for n in range(1, 10)] == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


@given(schedules, attempts, attempts)
def test_is_monotone(settings: RetrySettings, one: int, other: int) -> None:
    """A later attempt never waits for less."""
    earlier, later = sorted((one, other))
    assert ceiling(earlier, settings) <= ceiling(later, settings)


@given(schedules, attempts, st.randoms(use_true_random=False))
def test_is_capped_and_never_overflows(settings: RetrySettings, attempt: int, chance: random.Random) -> None:
    """However many attempts there were, the wait is a time that the cap and SQS allow."""
    assert 0 < ceiling(attempt, settings) <= min(settings.cap_seconds, MAX_VISIBILITY_SECONDS)
    assert 0 < delay(attempt, settings, random=chance) <= min(settings.cap_seconds, MAX_VISIBILITY_SECONDS)


@given(schedules, st.integers(1, 60))
def test_doubles_until_the_cap(settings: RetrySettings, attempt: int) -> None:
    """Below the cap each wait is twice the one before."""
    if ceiling(attempt + 1, settings) < settings.cap_seconds:
        assert ceiling(attempt + 1, settings) == pytest.approx(2 * ceiling(attempt, settings))


@given(schedules, attempts, st.randoms(use_true_random=False))
def test_jitter_stays_in_the_upper_half(settings: RetrySettings, attempt: int, chance: random.Random) -> None:
    """Half of the wait is kept, so that a server that asked for time gets time."""
    longest = ceiling(attempt, settings)
    assert longest / 2 <= delay(attempt, settings, random=chance) <= longest


def test_jitter_spreads() -> None:
    """Mails that failed together do not come back together."""
    chance = Random(1)  # noqa: S311 - chance, not secrecy
    waits = sorted(delay(3, DEFAULT, random=chance) for _ in range(1000))
    assert waits[0] < 125
    assert waits[-1] > 235
    assert waits[500] == pytest.approx(180, abs=10)


@pytest.mark.parametrize("attempt", [0, -1])
def test_attempts_count_from_one(attempt: int) -> None:
    """What is no attempt waits like the first."""
    assert ceiling(attempt, DEFAULT) == ceiling(1, DEFAULT)
