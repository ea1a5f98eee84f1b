"""From outcomes to the ledger's next entry."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.ledger import MAX_LOGGED_ATTEMPTS, MAX_TEXT, Attempt, Entry, Status
from ion.outcome import Kind, Outcome
from ion.settings import RetrySettings
from ion.settlement import concluded, failed, put_off, released, unsent

ANN, BOB, CAT = "ann@example.com", "bob@example.com", "cat@example.com"
NOW = 1_767_225_600.0
SCHEDULE = RetrySettings(base_seconds=60, cap_seconds=3600, max_attempts=3)
ENTRY = Entry(
    id="m", status=Status.SENDING, owner="me", lease_until=NOW + 100, created=NOW - 10, updated=NOW - 10, digest="d"
)
DELIVERED = Outcome(kind=Kind.DELIVERED, code=250, text="ok")
DEFERRED = Outcome(kind=Kind.DEFERRED, code=450, enhanced="4.2.1", text="busy")
REJECTED = Outcome(kind=Kind.REJECTED, code=550, enhanced="5.1.1", text="unknown")
AMBIGUOUS = Outcome(kind=Kind.AMBIGUOUS, text="the connection was lost, at final dot")
outcomes = st.sampled_from([DELIVERED, DEFERRED, REJECTED, AMBIGUOUS])


def after(entry: Entry = ENTRY, **found: Outcome) -> Entry:
    by_address = {f"{name}@example.com": outcome for name, outcome in found.items()}
    return concluded(entry, by_address, now=NOW, seconds=0.5, schedule=SCHEDULE, random=Random(1))  # noqa: S311


@pytest.mark.parametrize(
    ("found", "status", "reason", "result"),
    [
        ({"ann": DELIVERED}, Status.DELIVERED, "", "delivered"),
        ({"ann": DELIVERED, "bob": DELIVERED}, Status.DELIVERED, "", "delivered"),
        ({"ann": REJECTED}, Status.FAILED, "rejected", "rejected"),
        ({"ann": DELIVERED, "bob": REJECTED}, Status.FAILED, "rejected", "rejected"),
        ({"ann": DEFERRED}, Status.DEFERRED, "", "deferred"),
        ({"ann": DELIVERED, "bob": DEFERRED}, Status.DEFERRED, "", "deferred"),
        ({"ann": REJECTED, "bob": DEFERRED}, Status.DEFERRED, "", "deferred"),
        ({"ann": AMBIGUOUS}, Status.DEFERRED, "", "ambiguous"),
        ({"ann": AMBIGUOUS, "bob": REJECTED, "cat": DEFERRED}, Status.DEFERRED, "", "ambiguous"),
    ],
)
def test_first_attempt(found: dict[str, Outcome], status: Status, reason: str, result: str) -> None:
    """The mail ends when every recipient has; its log tells the worst of them."""
    entry = after(**found)
    assert (entry.status, entry.reason, entry.attempts) == (status, reason, 1)
    assert [line.result for line in entry.log] == [result]
    assert (entry.log[0].at, entry.log[0].seconds) == (NOW, 0.5)


def test_last_attempt_exhausts() -> None:
    """After the last attempt what is still open fails, and says how."""
    entry = after(replace(ENTRY, attempts=2), ann=DEFERRED, bob=DELIVERED)
    assert (entry.status, entry.reason, entry.attempts) == (Status.FAILED, "attempts-exhausted", 3)
    assert entry.detail == "deferred 3 times: 450 4.2.1 busy"


def test_last_attempt_may_succeed() -> None:
    """The last attempt counts like any other."""
    assert after(replace(ENTRY, attempts=2), ann=DELIVERED).status is Status.DELIVERED


def test_rejected_earlier() -> None:
    """Whoever was rejected at an earlier attempt fails the mail when the deferred ones have been delivered."""
    entry = after(ann=REJECTED, bob=DEFERRED)
    assert unsent(entry, [ANN, BOB]) == (BOB,)
    entry = after(entry, bob=DELIVERED)
    assert (entry.status, entry.reason, entry.detail) == (Status.FAILED, "rejected", "550 5.1.1 unknown")
    assert entry.recipients == {ANN: REJECTED, BOB: DELIVERED}


def test_deferred_is_due_later_and_free() -> None:
    """A deferred mail is due after the schedule's delay, and nobody's until then."""
    entry = after(ann=DEFERRED)
    assert NOW + 30 <= entry.retry_at <= NOW + 60
    assert entry.lease_until == 0
    later = after(entry, ann=DEFERRED)
    assert NOW + 60 <= later.retry_at <= NOW + 120


def test_failed_keeps_its_lease() -> None:
    """Until its dead letter is out a failed mail stays its worker's."""
    assert after(ann=REJECTED).lease_until == ENTRY.lease_until


@given(st.dictionaries(st.sampled_from([ANN, BOB, CAT]), outcomes, min_size=1), st.integers(0, 5))
def test_nobody_is_forgotten(found: dict[str, Outcome], attempts: int) -> None:
    """Whatever the outcomes: delivered to all, or failed with a reason, or open and due again."""
    entry = concluded(
        replace(ENTRY, attempts=attempts),
        found,
        now=NOW,
        seconds=0,
        schedule=SCHEDULE,
        random=Random(1),  # noqa: S311
    )
    assert entry.recipients == found
    assert entry.attempts == attempts + 1
    still = unsent(entry, list(found))
    match entry.status:
        case Status.DELIVERED:
            assert set(found.values()) == {DELIVERED}
        case Status.DEFERRED:
            assert still
            assert entry.attempts < SCHEDULE.max_attempts
            assert entry.retry_at > NOW
        case _:
            assert entry.reason
            assert entry.detail
            assert not still or entry.attempts >= SCHEDULE.max_attempts


def test_unsent_are_those_without_an_end() -> None:
    """Sent to again are those who were deferred, in doubt, or never reached; in the mail's own order."""
    entry = replace(ENTRY, recipients={ANN: DELIVERED, BOB: AMBIGUOUS})
    assert unsent(entry, [CAT, BOB, ANN]) == (CAT, BOB)
    assert unsent(replace(ENTRY, recipients={ANN: REJECTED, BOB: DEFERRED}), [ANN, BOB]) == (BOB,)


def test_released_costs_nothing() -> None:
    """What is given back is due at once; no attempt is spent."""
    entry = released(replace(ENTRY, attempts=1), now=NOW, text="time is short")
    assert (entry.status, entry.retry_at, entry.lease_until, entry.attempts) == (Status.DEFERRED, NOW, 0, 1)
    assert entry.log == (Attempt(at=NOW, result="released", text="time is short"),)


def test_put_off_waits_longer_each_time_in_a_row() -> None:
    """A mail that is turned away again and again waits longer and longer; no attempt is spent."""
    entry, waits = replace(ENTRY, attempts=1), []
    for _ in range(4):
        entry = put_off(entry, now=NOW, text="421", schedule=SCHEDULE, random=Random(1))  # noqa: S311
        waits.append(entry.retry_at - NOW)
        entry = released(entry, now=NOW, text="between them it may be given back")
    assert waits == pytest.approx([waits[0] * 2**n for n in range(4)])
    assert entry.attempts == 1
    entry = after(entry, ann=DEFERRED)
    entry = put_off(entry, now=NOW, text="421", schedule=SCHEDULE, random=Random(1))  # noqa: S311
    assert entry.retry_at - NOW == pytest.approx(waits[0])


@pytest.mark.parametrize(("reason", "status"), [("expired", Status.EXPIRED), ("malformed", Status.FAILED)])
def test_given_up(reason: str, status: Status) -> None:
    """What is given up has its status, a reason and words that any store takes."""
    entry = failed(ENTRY, reason=reason, detail="x" * 5000 + "\ud800", now=NOW)
    assert (entry.status, entry.reason, len(entry.detail)) == (status, reason, 1000)
    assert failed(ENTRY, reason=reason, detail="a\ud800", now=NOW).detail == "a?"


def test_log_is_bounded() -> None:
    """The log keeps the latest attempts, and texts of a length that leaves room for all of them."""
    entry = ENTRY
    for n in range(MAX_LOGGED_ATTEMPTS + 10):
        entry = released(entry, now=NOW + n, text="x" * 1000)
    assert len(entry.log) == MAX_LOGGED_ATTEMPTS
    assert entry.log[-1].at == NOW + MAX_LOGGED_ATTEMPTS + 9
    assert {len(line.text) for line in entry.log} == {MAX_TEXT}
