"""Dead letters, and the messages that a redrive makes of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.deadletter import dead_letter, failed_at, identity, iso, redrives, revived
from ion.ledger import Entry, Status
from ion.outcome import Kind, Outcome
from ion.protocols import Message
from ion.queue import MAX_BATCH_BYTES, size

NOW = 1_767_225_600.5
MESSAGE = Message(message_id="m-1", receipt="r", body='{"action": "send"}', sent_at=NOW - 100)
GONE = Outcome(kind=Kind.REJECTED, code=550, text="unknown")
GOT = Outcome(kind=Kind.DELIVERED, code=250, text="ok")
ENTRY = Entry(
    id="order-1",
    status=Status.FAILED,
    owner="me",
    lease_until=0,
    created=NOW - 60,
    updated=NOW,
    attempts=3,
    generation=1,
    reason="rejected",
    detail="550 unknown",
    recipients={"ann@example.com": GOT, "bob@example.com": GONE, "cat@example.com": GONE},
)


def test_says_why() -> None:
    """The body is untouched; the attributes say whose it is, why it failed, for whom, when, and how often."""
    letter = dead_letter(MESSAGE, ENTRY)
    assert letter.body == MESSAGE.body
    assert letter.attributes == {
        "ion-id": "order-1",
        "failure-reason": "rejected",
        "failure-detail": "550 unknown",
        "failed-recipients": "bob@example.com, cat@example.com",
        "attempts": "3",
        "first-seen": "2025-12-31T23:59:00.500+00:00",
        "failed-at": "2026-01-01T00:00:00.500+00:00",
        "ion-redrives": "1",
    }


def test_names_nobody_who_got_it() -> None:
    """Where nobody is known to have failed, no attribute is empty: SQS would refuse it."""
    letter = dead_letter(MESSAGE, replace(ENTRY, recipients={}))
    assert "failed-recipients" not in letter.attributes
    assert all(letter.attributes.values())


@given(st.text(max_size=3000), st.lists(st.text(min_size=1, max_size=300), max_size=100))
def test_sqs_takes_it(detail: str, names: list[str]) -> None:
    """Whatever a server says: at most ten attributes, of allowed characters, within their limits, none empty."""
    letter = dead_letter(MESSAGE, replace(ENTRY, detail=detail, recipients=dict.fromkeys(names, GONE)))
    assert len(letter.attributes) <= 10
    for value in letter.attributes.values():
        assert value
        assert all(c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff" for c in value)
    assert len(letter.attributes.get("failure-detail", "").encode()) <= 1024
    assert len(letter.attributes.get("failed-recipients", "").encode()) <= 8192
    assert size(letter) <= MAX_BATCH_BYTES


def test_long_texts_are_cut_within_characters() -> None:
    """A text that is too long ends in an ellipsis, and in no half character."""
    detail = dead_letter(MESSAGE, replace(ENTRY, detail="ü" * 1000)).attributes["failure-detail"]
    assert detail == "ü" * 510 + "..."


@pytest.mark.parametrize("room", [0, 30, 60, 100, 150, 200, 300, 1000])
def test_full_body_leaves_out_what_has_no_room(room: int) -> None:
    """A body that fills SQS's limit costs attributes, the reason and the id last of all."""
    needed = size(dead_letter(replace(MESSAGE, body=""), replace(ENTRY, detail="", recipients={}, attempts=0)))
    body = "x" * (MAX_BATCH_BYTES - room)
    letter = dead_letter(replace(MESSAGE, body=body), ENTRY)
    assert letter.body == body
    assert {"ion-id", "failure-reason", "ion-redrives"} <= set(letter.attributes)
    if room >= needed:
        assert size(letter) <= MAX_BATCH_BYTES


def test_revived() -> None:
    """A redrive takes along the body, the mail's id, and how often that makes."""
    letter = replace(MESSAGE, attributes=dict(dead_letter(MESSAGE, ENTRY).attributes))
    assert revived(letter, "order-1").body == MESSAGE.body
    assert revived(letter, "order-1").attributes == {"ion-id": "order-1", "ion-redrives": "2"}
    assert revived(MESSAGE, "m-1").attributes["ion-redrives"] == "1"


@pytest.mark.parametrize(
    ("attributes", "published", "expected"),
    [
        ({}, None, "m-1"),
        ({}, "order-1", "order-1"),
        ({"ion-id": "given"}, "order-1", "given"),
        ({"ion-id": ""}, "order-1", "order-1"),
        ({"ion-id": "ion:breaker"}, "order-1", "order-1"),
        ({"ion-id": "x" * 257}, None, "m-1"),
        ({"ion-id": "x" * 256}, None, "x" * 256),
    ],
)
def test_identity(attributes: dict[str, str], published: str | None, expected: str) -> None:
    """What ion gave, else what the publisher gave, else SQS's; never a record of ion's own."""
    assert identity(replace(MESSAGE, attributes=attributes), published) == expected


@pytest.mark.parametrize(
    ("told", "expected"), [("0", 0), ("7", 7), ("999999", 999_999), ("1000000", 0), ("-1", 0), ("x", 0), ("²", 0)]
)
def test_redrives(told: str, expected: int) -> None:
    """Digits are taken at their word, anything else for none."""
    assert redrives({"ion-redrives": told}) == expected


def test_no_redrives() -> None:
    """A message that says nothing has not been redriven."""
    assert redrives({}) == 0


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [({"failed-at": iso(NOW)}, NOW), ({}, NOW - 100), ({"failed-at": "yesterday"}, NOW - 100)],
)
def test_failed_at(attributes: dict[str, str], expected: float) -> None:
    """A letter that does not say when it died is as old as its message."""
    assert failed_at(replace(MESSAGE, attributes=attributes)) == expected


def test_iso() -> None:
    """Times are ISO 8601 in UTC, to the millisecond, and can be read back."""
    assert datetime.fromisoformat(iso(NOW)).timestamp() == NOW
