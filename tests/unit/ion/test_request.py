from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ion.errors import RequestError
from ion.request import HEADERS_REFUSED, RedriveRequest, SendRequest, parse
from tests.unit.ion.documents import documents, json_values, mutated, sends

LEAST = {"action": "send", "recipient": "ann@example.com", "subject": "Hello", "body_text": "Hi"}


def send(**fields: Any) -> SendRequest:
    request = parse(json.dumps(LEAST | fields))
    assert isinstance(request, SendRequest)
    return request


def redrive(**fields: Any) -> RedriveRequest:
    request = parse(json.dumps({"action": "redrive", **fields}))
    assert isinstance(request, RedriveRequest)
    return request


def refusal(body: str) -> RequestError:
    with pytest.raises(RequestError) as caught:
        parse(body)
    return caught.value


def refused(**fields: Any) -> RequestError:
    return refusal(json.dumps(LEAST | fields))


def attachment(**fields: Any) -> dict[str, Any]:
    return {"filename": "a.txt", "content_base64": "QQ==", **fields}


def test_the_least_document():
    """A recipient, a subject and one body are the whole of what is needed."""
    request = send()

    assert request.envelope_recipients == ("ann@example.com",)
    assert (request.subject, request.body_text, request.body_html) == ("Hello", "Hi", None)
    assert (request.sender, request.id, request.expires_at) == (None, "", None)


def test_html_alone():
    """The HTML body will do without the plain one."""
    document = LEAST | {"body_html": "<p>Hi"}
    del document["body_text"]

    request = parse(json.dumps(document))

    assert isinstance(request, SendRequest)
    assert (request.body_text, request.body_html) == (None, "<p>Hi")


def test_everything_optional():
    """Every optional field finds its place."""
    request = send(
        recipient=["Ann <ann@example.com>", "bob@example.com"],
        cc="carl@example.com",
        bcc=["dora@example.com"],
        reply_to='"Desk, help" <help@example.com>',
        sender="Shop <shop@example.com>",
        body_html="<p>Hi",
        headers={"X-Campaign": "spring"},
        attachments=[attachment(content_type="text/plain", content_id="a@b")],
        id="order-7",
        expires_at="2030-01-31T12:00:00+01:00",
        tags={"team": "sales"},
    )

    assert [address.name for address in request.recipients] == ["Ann", ""]
    assert request.envelope_recipients == (
        "ann@example.com",
        "bob@example.com",
        "carl@example.com",
        "dora@example.com",
    )
    assert request.reply_to[0].name == "Desk, help"
    assert request.sender is not None
    assert request.sender.mailbox == "shop@example.com"
    assert request.headers == (("X-Campaign", "spring"),)
    assert request.attachments[0].content == b"A"
    assert request.attachments[0].content_id == "a@b"
    assert request.id == "order-7"
    assert request.expires_at == 1_896_087_600.0
    assert request.tags == {"team": "sales"}


def test_recipients_are_counted_and_sent_to_once():
    """The same mailbox in recipient, cc and bcc is one recipient; only the domain is free of case."""
    request = send(recipient=["ann@example.com", "Ann <ann@EXAMPLE.com>"], cc="Ann@example.com", bcc="ann@example.com")

    assert request.envelope_recipients == ("ann@example.com", "Ann@example.com")


def test_fifty_recipients_and_no_more():
    """Fifty different mailboxes are taken, over recipient, cc and bcc together; the next one is refused."""
    some = [f"{n}@example.com" for n in range(30)]

    assert len(send(recipient=some, cc=some, bcc=[f"x{n}@example.com" for n in range(20)]).envelope_recipients) == 50
    error = refused(recipient=some, bcc=[f"x{n}@example.com" for n in range(21)])

    assert (error.field, error.reason) == ("recipient", "malformed")
    assert "51 recipients" in str(error)


def test_an_sns_envelope_is_opened():
    """The document may come in SNS's own envelope."""
    body = json.dumps({"Type": "Notification", "MessageId": "1", "TopicArn": "arn:x", "Message": json.dumps(LEAST)})

    request = parse(body)

    assert isinstance(request, SendRequest)
    assert request.subject == "Hello"


def test_an_sns_envelope_without_a_text():
    """An SNS envelope that carries no text names the field Message."""
    assert refusal('{"Type": "Notification", "Message": {}}').field == "Message"


def test_a_document_is_not_taken_for_an_envelope():
    """A document that holds the word of SNS's envelope is still a document."""
    assert send(tags={"Type": "Notification"}).tags == {"Type": "Notification"}


def test_only_one_sns_envelope_is_opened():
    """An envelope in an envelope is no document."""
    inner = json.dumps({"Type": "Notification", "Message": json.dumps(LEAST)})

    assert refusal(json.dumps({"Type": "Notification", "Message": inner})).field == "action"


def test_redrive():
    """A redrive may name a reason, ids (each counts once) and a maximum; without them it means all."""
    assert redrive() == RedriveRequest()
    assert redrive(reason="rejected", ids=["a", "b", "a"], max=3) == RedriveRequest(
        reason="rejected", ids=("a", "b"), max=3
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "not JSON"),
        ("nonsense", "not JSON"),
        ("[]", "not a list"),
        ("null", "not null"),
        ('"send"', "not a string"),
        ('{"action": "redrive", "max": NaN}', "NaN"),
        ('{"action": "redrive", "max": -Infinity}', "-Infinity"),
        ('{"action": "redrive", "action": "send"}', "'action' stands twice"),
        ('{"action": "redrive", "ids": [{"a": 1, "a": 2}]}', "'a' stands twice"),
        ('{"action": "redrive", "max": ' + "9" * 5_000 + "}", "not JSON"),
        ("[" * 100_000, "too deeply"),
        ('{"action": ' + '{"a":' * 100_000, "too deeply"),
        ("\ufeff{}", "not JSON"),
    ],
)
def test_what_is_not_a_json_object(body: str, message: str):
    """A body that is no JSON object is malformed, in words that say how."""
    error = refusal(body)

    assert message in str(error)
    assert (error.reason, error.field) == ("malformed", "")


@pytest.mark.parametrize(
    ("action", "reason"),
    [("destroy", "unknown-action"), ("Send", "unknown-action"), (None, "malformed"), (1, "malformed")],
)
def test_unknown_actions(action: Any, reason: str):
    """An action is `send` or `redrive`, in this very case."""
    error = refused(action=action)

    assert (error.field, error.reason) == ("action", reason)


def test_no_action():
    """A document without an action is malformed."""
    assert (refusal("{}").field, refusal("{}").reason) == ("action", "malformed")


def test_too_large():
    """A document of more octets than SQS takes is too large, and one of as many is not."""
    room = 1_048_576 - len(json.dumps(LEAST | {"body_text": ""}))

    assert send(body_text="x" * room)
    assert refused(body_text="x" * (room + 1)).reason == "too-large"
    assert refusal("é" * 600_000).reason == "too-large"


@pytest.mark.parametrize("name", ["recipient", "subject", "body_text"])
def test_missing_fields(name: str):
    """A field that is needed is named when it is missing."""
    document = {key: value for key, value in LEAST.items() if key != name}

    error = refusal(json.dumps(document))

    assert error.field == name
    assert "missing" in str(error)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("recipient", 1),
        ("recipient", None),
        ("recipient", []),
        ("recipient", ""),
        ("recipient", "a@example.com, b@example.com"),
        ("recipient", "a@example.com\r\nBcc: b@example.com"),
        ("recipient", "a@example.com\x00"),
        ("cc", {"a": "b"}),
        ("sender", ["a@example.com"]),
        ("subject", None),
        ("subject", "a\nb"),
        ("subject", "a\tb"),
        ("subject", "a\x85b"),
        ("subject", "a\u2028b"),
        ("subject", "\ud800"),
        ("subject", "x" * 999),
        ("body_text", 7),
        ("body_text", "half \udc00"),
        ("body_html", ["a"]),
        ("headers", []),
        ("headers", {f"X-{n}": "" for n in range(51)}),
        ("headers", {"": "a"}),
        ("headers", {"X A": "a"}),
        ("headers", {"X:A": "a"}),
        ("headers", {"X-\u00e9": "a"}),
        ("headers", {"X-A\r\nBcc": "a"}),
        ("headers", {"X" * 77: "a"}),
        ("attachments", {}),
        ("attachments", [attachment()] * 51),
        ("id", ""),
        ("id", "x" * 257),
        ("id", "a\nb"),
        ("id", "a\u200bb"),
        ("id", "ion:breaker"),
        ("id", 7),
        ("expires_at", "tomorrow"),
        ("expires_at", "2030-01-31T12:00:00"),
        ("expires_at", "2030-01-31"),
        ("expires_at", "2030-02-30T12:00:00Z"),
        ("expires_at", "2030-01-31T12:00:00+24:00"),
        ("expires_at", "\u0662\u066030-01-31T12:00:00Z"),
        ("expires_at", 1_900_000_000),
        ("tags", ["a"]),
        ("tags", {str(n): "" for n in range(21)}),
    ],
)
def test_refused_values(field: str, value: Any):
    """A value that its field cannot take is refused, and the field named."""
    error = refused(**{field: value})

    assert (error.field, error.reason) == (field, "malformed")


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"recipient": ["ann@example.com", "bob"]}, "recipient[1]"),
        ({"bcc": ["ann@example.com", 1]}, "bcc[1]"),
        ({"headers": {"X-A": 1}}, "headers.X-A"),
        ({"headers": {"X-A": "a\r\nBcc: b"}}, "headers.X-A"),
        ({"headers": {"X-A": "x" * 2_001}}, "headers.X-A"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "headers.x-a"),
        ({"attachments": [7]}, "attachments[0]"),
        ({"attachments": [{"filename": "a"}]}, "attachments[0].content_base64"),
        ({"attachments": [{"content_base64": ""}]}, "attachments[0].filename"),
        ({"attachments": [attachment(), attachment(name="x")]}, "attachments[1]"),
        ({"attachments": [attachment(filename="../a.txt")]}, "attachments[0].filename"),
        ({"attachments": [attachment(filename="C:\\a.txt")]}, "attachments[0].filename"),
        ({"attachments": [attachment(filename="..")]}, "attachments[0].filename"),
        ({"attachments": [attachment(filename=" a.txt")]}, "attachments[0].filename"),
        ({"attachments": [attachment(filename='a"\r\nX: y')]}, "attachments[0].filename"),
        ({"attachments": [attachment(filename="")]}, "attachments[0].filename"),
        ({"attachments": [attachment(content_base64="QQ")]}, "attachments[0].content_base64"),
        ({"attachments": [attachment(content_base64="QQ==\n")]}, "attachments[0].content_base64"),
        ({"attachments": [attachment(content_base64="_-==")]}, "attachments[0].content_base64"),
        ({"attachments": [attachment(content_base64="é===")]}, "attachments[0].content_base64"),
        ({"attachments": [attachment(content_base64="QQ==QQ==")]}, "attachments[0].content_base64"),
        ({"attachments": [attachment(content_type="pdf")]}, "attachments[0].content_type"),
        ({"attachments": [attachment(content_type="text/plain\r\nX: y")]}, "attachments[0].content_type"),
        ({"attachments": [attachment(content_type="text/plain; a")]}, "attachments[0].content_type"),
        ({"attachments": [attachment(content_type="Multipart/mixed; boundary=a")]}, "attachments[0].content_type"),
        ({"attachments": [attachment(content_type="message/rfc822")]}, "attachments[0].content_type"),
        ({"attachments": [attachment(content_id="<a>")]}, "attachments[0].content_id"),
        ({"attachments": [attachment(content_id="a"), attachment(content_id="a")]}, "attachments[1].content_id"),
        ({"tags": {"a": 1}}, "tags.a"),
        ({"tags": {"a": "x" * 257}}, "tags.a"),
    ],
)
def test_refused_values_within(fields: dict[str, Any], path: str):
    """What is wrong within a field is named by its path."""
    assert refused(**fields).field == path


@pytest.mark.parametrize("name", [*sorted(HEADERS_REFUSED), "Content-Type", "Resent-To", "ARC-Seal"])
@pytest.mark.parametrize("change", [str.lower, str.upper, str.title])
def test_structural_headers(name: str, change: Any):
    """A header that ion or the mail system writes is refused in any case."""
    assert refused(headers={change(name): "x"}).field == f"headers.{change(name)}"


def test_unknown_fields():
    """An unknown field is refused by name, with the nearest known name."""
    assert "'recipients'; did you mean recipient?" in str(refused(recipients="a@example.com"))
    assert "known are" in str(refused(zzzzzzzz=1))
    assert "'file_name'; did you mean filename?" in str(refused(attachments=[{"file_name": "a"}]))
    assert "'id'; did you mean ids?" in str(refusal('{"action": "redrive", "id": "7"}'))


@pytest.mark.parametrize(
    "fields",
    [
        {"max": 0},
        {"max": True},
        {"max": 1.0},
        {"max": 1_000_001},
        {"max": "3"},
        {"ids": []},
        {"ids": "a"},
        {"ids": ["ion:x"]},
        {"ids": ["a"] * 1_001},
        {"reason": ""},
        {"reason": 1},
        {"subject": "x"},
    ],
)
def test_refused_redrives(fields: dict[str, Any]):
    """A redrive that asks for what cannot be is refused."""
    assert refusal(json.dumps({"action": "redrive", **fields})).reason == "malformed"


def test_errors_are_safe_to_pass_on():
    """What a stranger wrote goes into an error escaped and cut, ready for a log and a message attribute."""
    error = refused(**{"\ud800\n" + "x" * 10_000: 1})

    assert str(error).isascii()
    assert str(error).isprintable()
    assert len(str(error)) < 400


@given(sends())
def test_valid_documents_are_taken(document: dict[str, Any]):
    """Every valid document is taken, with the same content."""
    request = parse(json.dumps(document))

    assert isinstance(request, SendRequest)
    assert request.subject == document["subject"]
    assert request.body_text == document.get("body_text")
    assert request.body_html == document.get("body_html")
    assert [base64.b64encode(one.content).decode() for one in request.attachments] == [
        one["content_base64"] for one in document.get("attachments", [])
    ]
    assert dict(request.tags) == document.get("tags", {})
    assert request.id == document.get("id", "")
    assert all(recipient.rpartition("@")[2].isascii() for recipient in request.envelope_recipients)


@given(
    st.text()
    | json_values.map(json.dumps)
    | documents.map(json.dumps)
    | mutated().map(json.dumps)
    | st.text('{}[]",:a1 \\')
)
@example("\ud800")
@example('{"action": "\\ud800"}')
def test_only_request_errors(body: str):
    """Whatever the body, there is a request or a RequestError whose text has a UTF-8 form."""
    try:
        parse(body)
    except RequestError as error:
        str(error).encode()
        assert error.reason in {"malformed", "unknown-action", "too-large"}  # noqa: PT017
