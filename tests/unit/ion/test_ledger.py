"""What a claim comes to: the whole rule, as a table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.ledger import Answer, Attempt, Busy, Claim, Conflict, Entry, Finished, Granted, Status, fresh, judge
from ion.outcome import Kind, Outcome

NOW = 1_767_225_600.0
LEASE = 120.0
CLAIM = Claim(id="m", owner="me", digest="d", message_id="<m@example.com>", tags={"a": "b"})
OLD = replace(fresh(replace(CLAIM, owner="other"), now=NOW - 1000, lease_seconds=LEASE), lease_until=NOW - 1)
GONE = Outcome(kind=Kind.REJECTED, code=550, text="unknown")
GOT = Outcome(kind=Kind.DELIVERED, code=250, text="ok")


def old(status: Status, **changes: Any) -> Entry:
    return replace(OLD, status=status, **changes)


def dead(**changes: Any) -> Entry:
    return old(Status.FAILED, reason="rejected", detail="550", **changes)


@pytest.mark.parametrize(
    ("entry", "claim", "answer"),
    [
        # Delivered: nothing is left to do, whoever asks.
        (old(Status.DELIVERED), CLAIM, Finished),
        (old(Status.DELIVERED), replace(CLAIM, generation=3), Finished),
        (old(Status.DELIVERED, lease_until=NOW + 60), CLAIM, Finished),
        # In somebody's hands, until the lease runs out.
        (old(Status.SENDING, lease_until=NOW + 10), CLAIM, Busy(NOW + 10)),
        (old(Status.SENDING, lease_until=NOW + 100), CLAIM, Busy(NOW + 15)),
        (old(Status.SENDING, lease_until=NOW), CLAIM, Granted),
        (old(Status.SENDING, lease_until=NOW - 1), CLAIM, Granted),
        (old(Status.SENDING, lease_until=NOW + 10), replace(CLAIM, generation=1), Busy(NOW + 10)),
        # Deferred: as soon as it is due.
        (old(Status.DEFERRED, retry_at=NOW + 500), CLAIM, Busy(NOW + 500)),
        (old(Status.DEFERRED, retry_at=NOW), CLAIM, Granted),
        (old(Status.DEFERRED, retry_at=NOW - 5, lease_until=NOW + 50), CLAIM, Granted),
        # Dead: finished once its letter is out; before that it is its worker's, and then whose the lease is.
        (dead(dead_lettered=True), CLAIM, Finished),
        (dead(lease_until=NOW + 5), CLAIM, Busy(NOW + 5)),
        (dead(), CLAIM, Granted),
        (old(Status.EXPIRED, reason="expired", dead_lettered=True), CLAIM, Finished),
        # A redrive later than the last one gives it another life; an earlier one's copy does not.
        (dead(dead_lettered=True), replace(CLAIM, generation=1), Granted),
        (dead(lease_until=NOW + 5), replace(CLAIM, generation=1), Granted),
        (dead(dead_lettered=True, generation=1), replace(CLAIM, generation=1), Finished),
        (dead(dead_lettered=True, generation=2), replace(CLAIM, generation=1), Finished),
        (old(Status.EXPIRED, reason="expired", dead_lettered=True), replace(CLAIM, generation=1), Granted),
        # Another document under this id; where either could not be read, nobody can tell.
        (old(Status.DELIVERED), replace(CLAIM, digest="e"), Conflict),
        (old(Status.SENDING, lease_until=NOW + 10), replace(CLAIM, digest="e"), Conflict),
        (old(Status.DELIVERED), replace(CLAIM, digest=""), Finished),
        (old(Status.DELIVERED, digest=""), CLAIM, Finished),
        # The answer to this very claim was lost.
        (old(Status.SENDING, owner="me", lease_until=NOW + 10), CLAIM, Granted),
    ],
)
def test_judge(entry: Entry, claim: Claim, answer: Answer | type) -> None:
    """Each row of the rule."""
    found = judge(entry, claim, now=NOW, lease_seconds=LEASE)
    assert isinstance(found, answer) if isinstance(answer, type) else found == answer


def granted(entry: Entry, claim: Claim = CLAIM) -> Entry:
    found = judge(entry, claim, now=NOW, lease_seconds=LEASE)
    assert isinstance(found, Granted)
    return found.entry


def test_fresh_entry() -> None:
    """A new mail's entry holds what the claim says."""
    assert fresh(CLAIM, now=NOW, lease_seconds=LEASE) == Entry(
        id="m",
        status=Status.SENDING,
        owner="me",
        lease_until=NOW + LEASE,
        created=NOW,
        updated=NOW,
        digest="d",
        message_id="<m@example.com>",
        tags={"a": "b"},
    )


def test_taking_over_keeps_what_is_known() -> None:
    """Who takes over a mail keeps its results, its attempts and its Date, and notes that its worker vanished."""
    entry = granted(old(Status.SENDING, attempts=2, recipients={"a@example.com": GOT}))
    assert (entry.owner, entry.lease_until, entry.updated) == ("me", NOW + LEASE, NOW)
    assert (entry.created, entry.attempts, entry.recipients) == (OLD.created, 2, {"a@example.com": GOT})
    assert [(line.at, line.result) for line in entry.log] == [(NOW, "abandoned")]


def test_a_due_mail_was_not_abandoned() -> None:
    """A deferred mail's next attempt follows without such a note."""
    assert granted(old(Status.DEFERRED)).log == ()


def test_unburied_keeps_its_reason() -> None:
    """Who takes over a mail that failed and has no dead letter yet, sees why it failed."""
    assert granted(dead()).reason == "rejected"


def test_redrive_begins_anew() -> None:
    """A redriven mail has its full attempts again, for those who have not got it, and keeps its history."""
    entry = granted(
        dead(
            dead_lettered=True,
            attempts=10,
            recipients={"a@example.com": GOT, "b@example.com": GONE},
            log=(Attempt(at=NOW - 5, result="rejected"),),
        ),
        replace(CLAIM, generation=1),
    )
    assert (entry.status, entry.attempts, entry.generation, entry.reason) == (Status.SENDING, 0, 1, "")
    assert entry.recipients == {"a@example.com": GOT}
    assert [line.result for line in entry.log] == ["rejected", "redriven"]
    assert entry.log[-1].text == "after rejected: 550"
    assert not entry.dead_lettered
    assert entry.created == OLD.created


def test_lost_answer_is_given_again() -> None:
    """A claim that did get through is granted as it was, its lease included."""
    entry = old(Status.SENDING, owner="me", lease_until=NOW + 10)
    assert granted(entry) is entry


def test_message_id_is_learnt() -> None:
    """A mail that could not be read before, and can be now, gets its Message-ID."""
    assert granted(old(Status.SENDING, message_id="")).message_id == "<m@example.com>"
    assert granted(old(Status.SENDING), replace(CLAIM, message_id="")).message_id == "<m@example.com>"


entries = st.builds(
    old,
    status=st.sampled_from(Status),
    lease_until=st.floats(NOW - 500, NOW + 500),
    retry_at=st.floats(NOW - 500, NOW + 500),
    generation=st.integers(0, 3),
    dead_lettered=st.booleans(),
    digest=st.sampled_from(["", "d", "e"]),
)
claims = st.builds(
    replace, st.just(CLAIM), generation=st.integers(0, 3), digest=st.sampled_from(["", "d", "e"]), owner=st.just("me")
)


@given(entries, claims)
def test_nobody_takes_what_is_held(entry: Entry, claim: Claim) -> None:
    """Whatever the rest: what is sent, or in another's hands, is never granted; what is granted has the new owner."""
    found = judge(entry, claim, now=NOW, lease_seconds=LEASE)
    if isinstance(found, Granted):
        assert entry.status is not Status.DELIVERED
        assert not (entry.status is Status.SENDING and entry.lease_until > NOW)
        assert found.entry.owner == "me"
        assert found.entry.lease_until == NOW + LEASE
    if isinstance(found, Busy):
        assert found.until > NOW


@given(entries, claims)
def test_nothing_is_busy_for_ever(entry: Entry, claim: Claim) -> None:
    """After the lease and the delay a mail that is neither delivered nor dead-lettered can be had."""
    later = max(entry.lease_until, entry.retry_at, NOW) + 1
    found = judge(entry, claim, now=later, lease_seconds=LEASE)
    assert not isinstance(found, Busy)
    if isinstance(found, Finished):
        assert entry.status is Status.DELIVERED or entry.dead_lettered
