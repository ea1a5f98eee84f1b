"""What a received message is read as."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.intake import Read, read
from ion.message import build
from ion.protocols import Message
from ion.request import RedriveRequest, SendRequest
from tests.support.world import mail

SENDER = "ion@example.com"
MESSAGE = Message(message_id="m-1", receipt="r", body="")


def reading(body: str, **changes: object) -> Read:
    return read(replace(MESSAGE, body=body, **changes), owner="me", default_sender=SENDER)


def test_mail() -> None:
    """A mail is claimed under its id, with its tags, and with the Message-ID that it will have."""
    found = reading(mail("ann", id="order-1", tags={"a": "b"}))
    assert isinstance(found.request, SendRequest)
    assert found.failure is None
    assert (found.claim.id, found.claim.owner, found.claim.generation) == ("order-1", "me", 0)
    assert found.claim.tags == {"a": "b"}
    envelope = build(found.request, mail_id="order-1", default_sender=SENDER, date=0)
    assert f"Message-ID: {found.claim.message_id}\r\n".encode() in envelope.message


def test_redrive_request() -> None:
    """A redrive is claimed under its MessageId, and is no mail."""
    found = reading('{"action": "redrive"}')
    assert found.request == RedriveRequest()
    assert (found.claim.id, found.claim.digest, found.claim.message_id) == ("m-1", "", "")


def test_redriven() -> None:
    """A message that a redrive made says so."""
    found = reading(mail("ann"), attributes={"ion-id": "order-1", "ion-redrives": "2"})
    assert (found.claim.id, found.claim.generation) == ("order-1", 2)


def test_digest_is_of_the_published_document() -> None:
    """An SNS envelope, which differs each time, does not make another mail of it; another document does."""
    body = mail("ann", id="x")

    def enveloped(number: str) -> str:
        return json.dumps({"Type": "Notification", "MessageId": number, "Timestamp": number, "Message": body})

    digests = {reading(one).claim.digest for one in (body, enveloped("1"), enveloped("2"))}
    assert len(digests) == 1
    assert reading(mail("bob", id="x")).claim.digest not in digests


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "malformed"),
        ("nonsense", "malformed"),
        ('{"Type": "Notification"}', "malformed"),
        ('{"Type": "Notification", "Message": 1}', "malformed"),
        ('{"action": "dance"}', "unknown-action"),
        ("x" * 1_048_577, "too-large"),
    ],
)
def test_unreadable(body: str, reason: str) -> None:
    """What cannot be read has its reason, and stays claimable under its MessageId."""
    found = reading(body)
    assert found.request is None
    assert found.failure is not None
    assert found.failure[0] == reason
    assert found.failure[1]
    assert (found.claim.id, found.claim.digest) == ("m-1", "")


@pytest.mark.parametrize(
    ("receives", "id_", "failed"),
    [(40, "order-1", False), (41, "order-1", True), (45, "order-1", True), (46, "m-1", True)],
)
def test_received_often(receives: int, id_: str, failed: bool) -> None:
    """After 40 receives it is given up under its own id; after 45 it is not read any more."""
    found = reading(mail("ann", id="order-1"), receive_count=receives)
    assert found.claim.id == id_
    assert (found.failure is not None and found.failure[0] == "receives-exhausted") is failed


def test_under_another_id() -> None:
    """Claimed apart, the mail has the Message-ID of the id that it then has."""
    one = reading(mail("ann", id="x"))
    other = one.under("m-1", default_sender=SENDER)
    assert other.claim.id == "m-1"
    assert other.claim.message_id == reading(mail("ann")).claim.message_id != one.claim.message_id
    assert other.claim.digest == one.claim.digest


@given(st.text() | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_never_raises(body: str) -> None:
    """Whatever the body: it is read as something, or there is a reason."""
    found = reading(body)
    assert (found.request is None) is (found.failure is not None)


def test_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where reading itself fails, this message is given up for it, and no other pays."""

    def parse(_: str) -> None:
        raise ZeroDivisionError("nobody thought of this")

    monkeypatch.setattr("ion.intake.parse", parse)
    assert reading("x").failure == ("internal-error", "ZeroDivisionError: nobody thought of this")
