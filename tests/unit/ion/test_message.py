from __future__ import annotations

import email
import email.policy
import json
import re
from base64 import b64decode
from email.header import decode_header, make_header
from email.utils import getaddresses
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ion.address import Address
from ion.errors import RequestError, SettingsError
from ion.message import build
from ion.request import SendRequest, parse
from tests.unit.ion.documents import lines, sends
from tests.unit.ion.test_request import LEAST, attachment, send

if TYPE_CHECKING:
    from email.message import EmailMessage

    from ion.protocols import Envelope

BRACKETS = {"filename": "<a>", "content_base64": ""}
DATE = 1_893_456_000.9  # 2030-01-01 00:00:00 UTC, and a bit


def built(request: SendRequest, **arguments: Any) -> Envelope:
    return build(request, **({"mail_id": "7", "default_sender": "ion@example.com", "date": DATE} | arguments))


def read(envelope: Envelope) -> EmailMessage:
    message = email.message_from_string(envelope.message.decode(), policy=email.policy.default)
    assert not message.defects
    return message


def lines_of(text: str) -> str:
    """A body as it arrives: every line ends, and all in the same way."""
    text = re.sub("\r\n|\r|\n", "\n", text)
    return text if text.endswith("\n") else f"{text}\n"


def body_of(part: EmailMessage) -> str:
    return part.get_payload(decode=True).decode().replace("\r\n", "\n")


def test_the_least_mail():
    """A plain mail has the headers that RFC 5322 asks for and its body, and nothing else."""
    envelope = built(send())

    assert envelope.message == (
        b"From: ion@example.com\r\n"
        b"To: ann@example.com\r\n"
        b"Date: Tue, 01 Jan 2030 00:00:00 +0000\r\n"
        b"Message-ID: <7902699be42c8a8e46fbbb4501726517e86b22c5@example.com>\r\n"
        b"Subject: Hello\r\n"
        b"MIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=us-ascii\r\n"
        b"Content-Transfer-Encoding: 7bit\r\n"
        b"\r\n"
        b"Hi\r\n"
    )
    assert (envelope.sender, envelope.recipients, envelope.smtputf8) == ("ion@example.com", ("ann@example.com",), False)


def test_the_structure():
    """Both bodies, an inline image and a file nest as mixed (alternative (plain, related (HTML, image)), file)."""
    message = read(
        built(send(body_html="<p>", attachments=[attachment(), attachment(filename="i.png", content_id="i@x")]))
    )

    assert [part.get_content_type() for part in message.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "application/octet-stream",
        "application/octet-stream",
    ]
    inline, file = list(message.walk())[-2:]
    assert (inline["Content-ID"], inline.get_content_disposition()) == ("<i@x>", "inline")
    assert (file["Content-ID"], file.get_content_disposition()) == (None, "attachment")


def test_an_inline_file_without_html():
    """Without an HTML body a file with a content id is an attachment like any other."""
    message = read(built(send(attachments=[attachment(content_id="i@x")])))

    assert [part.get_content_type() for part in message.walk()] == [
        "multipart/mixed",
        "text/plain",
        "application/octet-stream",
    ]
    assert list(message.walk())[-1].get_content_disposition() == "attachment"


def test_bcc_is_in_no_header():
    """A bcc address is in the envelope and nowhere in the message."""
    envelope = built(send(bcc="Hidden One <hidden@example.com>"))

    assert "hidden@example.com" in envelope.recipients
    assert b"idden" not in envelope.message


def test_the_sender():
    """The request's sender goes before the default, bare in the envelope and with its name in the header."""
    envelope = built(send(sender="Shop <shop@example.net>"))

    assert envelope.sender == "shop@example.net"
    assert read(envelope)["From"] == "Shop <shop@example.net>"
    assert b"@example.net>\r\nSubject" in envelope.message  # the Message-ID's domain


def test_a_default_sender_with_a_name():
    """The default sender may have a name too."""
    envelope = built(send(), default_sender="Shop <shop@example.net>")

    assert (envelope.sender, read(envelope)["From"]) == ("shop@example.net", "Shop <shop@example.net>")


def test_a_default_sender_that_is_none():
    """A default sender that is no address is an error of the settings, unless the request has a sender."""
    with pytest.raises(SettingsError, match=r"smtp\.sender"):
        built(send(), default_sender="apikey")
    assert built(send(sender="a@example.com"), default_sender="apikey").sender == "a@example.com"


def test_an_international_domain():
    """An international domain is in ASCII everywhere, and needs no SMTPUTF8."""
    envelope = built(send(recipient="Änn <ann@bücher.example>"))

    assert envelope.recipients == ("ann@xn--bcher-kva.example",)
    assert not envelope.smtputf8
    assert envelope.message.isascii()


@pytest.mark.parametrize("field", ["recipient", "cc", "bcc", "reply_to", "sender"])
def test_an_international_local_part(field: str):
    """A local part that is not ASCII needs SMTPUTF8, wherever it stands."""
    assert built(send(**{field: "jürgen@example.com"})).smtputf8


def test_quotes_around_a_long_name_stay():
    """A long name with commas stays one name of one recipient."""
    name = ", ".join(["Ann"] * 30)
    message = read(built(send(recipient=f'"{name}" <ann@example.com>')))

    (address,) = message["To"].addresses
    assert (address.display_name, address.addr_spec) == (name, "ann@example.com")


def test_a_long_content_id_stays():
    """A long Content-ID stays as the HTML body calls it."""
    cid = "c" * 200
    message = read(built(send(body_html="<img>", attachments=[attachment(content_id=cid)])))

    assert list(message.walk())[-1]["Content-ID"] == f"<{cid}>"


@pytest.mark.parametrize("subject", ["=?utf-8?q?hi?=", "a  b", " a ", "x" * 998, "x " * 499, "é" * 998, "😀" * 300])
def test_subjects_arrive_as_they_were(subject: str):
    """A subject that looks encoded, has odd spaces, is long or is not ASCII arrives as it was, in short lines."""
    envelope = built(send(subject=subject))

    assert read(envelope)["Subject"] == subject
    assert max(len(row) for row in envelope.message.split(b"\r\n")) <= 998


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        ("short lines\nof ASCII", "7bit"),
        ("x" * 79, "quoted-printable"),
        ("some naïve words", "quoted-printable"),
        ("例え" * 100, "base64"),
        ("a bell \x07", "quoted-printable"),
        ("\x00" * 100, "base64"),
        ("space at the end \n", "quoted-printable"),
    ],
)
def test_transfer_encodings(body: str, encoding: str):
    """A body of short ASCII lines travels as it is, any other in the shorter of two encodings."""
    message = read(built(send(body_text=body)))

    assert message["Content-Transfer-Encoding"] == encoding
    assert body_of(message) == lines_of(body)


def test_line_ends_become_one_kind():
    """Lone CR and LF arrive as line ends like any other."""
    assert built(send(body_text="a\rb\nc\r\nd")).message.endswith(b"\r\n\r\na\r\nb\r\nc\r\nd\r\n")


def test_a_resend_is_the_same():
    """The same id and date give the same octets; another id gives another Message-ID and other boundaries."""
    request = send(body_html="<p>")
    first, again, other = built(request), built(request), built(request, mail_id="8")

    assert first == again
    assert read(first)["Message-ID"] != read(other)["Message-ID"]
    assert read(first).get_boundary() != read(other).get_boundary()


def test_a_boundary_is_not_in_the_content():
    """A body that holds the very boundary its mail would have gets another one."""
    boundary = str(read(built(send(body_html="<p>"))).get_boundary())

    message = read(built(send(body_text=f"--{boundary}--", body_html="<p>")))

    assert message.get_boundary() != boundary
    assert [body_of(part) for part in message.iter_parts()] == [f"--{boundary}--\n", "<p>\n"]


def people(envelope: Envelope, header: str) -> list[tuple[str, str]]:
    """Names and mailboxes of an address header; the newer policies would leave a space between two encoded words."""
    raw = email.message_from_string(envelope.message.decode(), policy=email.policy.compat32)[header] or ""
    listed = getaddresses([re.sub("\r\n ", " ", raw)])
    return [(str(make_header(decode_header(name))), mailbox) for name, mailbox in listed if mailbox]


def unique(listed: Any) -> list[tuple[str, str]]:
    entries = [Address.parse(one) for one in ([listed] if isinstance(listed, str) else listed or [])]
    firsts = {address.key: address for address in reversed(entries)}
    return [(one.name, one.mailbox) for one in entries if firsts[one.key] is one]


@given(sends(), st.text(max_size=20))
@example({"action": "send", "recipient": "a@b.example", "subject": "", "body_text": "", "attachments": [BRACKETS]}, "")
def test_what_arrives_is_what_was_published(document: dict[str, Any], mail_id: str):
    """Subject, people, bodies, files and headers come out of the message as they went into the document."""
    request = parse(json.dumps(document))
    assert isinstance(request, SendRequest)

    envelope = built(request, mail_id=mail_id)
    message = read(envelope)

    assert message["Subject"] == document["subject"]
    assert people(envelope, "From") == unique(document.get("sender", "ion@example.com"))
    assert people(envelope, "To") == unique(document["recipient"])
    assert people(envelope, "Cc") == unique(document.get("cc"))
    assert people(envelope, "Reply-To") == unique(document.get("reply_to"))
    leaves = [part for part in message.walk() if not part.is_multipart()]
    bodies = [document[name] for name in ("body_text", "body_html") if name in document]
    texts = [part for part in leaves if part.get_content_disposition() is None]
    assert [body_of(part) for part in texts] == [lines_of(body) for body in bodies]
    files = {
        (
            part["Content-Disposition"].params["filename"],
            part.get_content_type(),
            part.get_payload(decode=True),
            part["Content-ID"],
        )
        for part in leaves
        if part.get_content_disposition() is not None
    }
    assert files == {
        (
            one["filename"],
            one.get("content_type", "application/octet-stream").partition(";")[0].lower(),
            b64decode(one["content_base64"]),
            f"<{one['content_id']}>" if "content_id" in one else None,
        )
        for one in document.get("attachments", [])
    }
    for name, value in document.get("headers", {}).items():
        assert message[name] == value.strip(" ")


@given(sends())
def test_the_wire_format(document: dict[str, Any]):
    """Every line ends in CRLF and has at most 998 octets; without SMTPUTF8 all of them are ASCII."""
    request = parse(json.dumps(document))
    assert isinstance(request, SendRequest)

    envelope = built(request)

    rows = envelope.message.split(b"\r\n")
    assert rows.pop() == b""
    assert max(len(row) for row in rows) <= 998
    assert not any(b"\r" in row or b"\n" in row for row in rows)
    assert envelope.smtputf8 or envelope.message.isascii()
    assert b"\x00" not in envelope.message
    head = envelope.message.partition(b"\r\n\r\n")[0].decode()
    assert all(row.strip() if row.startswith(" ") else re.match("[!-9;-~]+: ?", row) for row in head.split("\r\n"))


@given(
    st.text('ab\r\n :,<>@"=?\x00\x0b\x0c\x1c\x85\u2028é', max_size=40),
    st.sampled_from(["subject", "name", "header", "filename"]),
)
def test_no_header_can_be_injected(text: str, place: str):
    """Whatever stands in a field, the message has the headers that ion wrote and no other."""
    fields: dict[str, Any] = {
        "subject": {"subject": text},
        "name": {"recipient": f'"{text}" <ann@example.com>'},
        "header": {"headers": {"X-A": text}},
        "filename": {"attachments": [attachment(filename=text)]},
    }[place]
    try:
        request = parse(json.dumps(LEAST | fields))
    except RequestError:
        return
    assert isinstance(request, SendRequest)

    envelope = built(request)

    own = {"From", "To", "Date", "Message-ID", "Subject", "MIME-Version", "Content-Type"}
    assert set(read(envelope).keys()) - {"X-A", "Content-Transfer-Encoding"} == own
    assert envelope.recipients == ("ann@example.com",)


@given(lines(256), lines(998), st.dictionaries(st.sampled_from(["X-A", "References"]), lines(2_000)))
def test_long_texts_arrive(name: str, subject: str, headers: dict[str, str]):
    """Long names, subjects and headers arrive as they were."""
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    envelope = built(send(sender=f'"{quoted}" <a@example.com>', subject=subject, headers=headers))
    message = read(envelope)

    assert people(envelope, "From") == [(Address.parse(f'"{quoted}" <a@example.com>').name, "a@example.com")]
    assert message["Subject"] == subject
    for header, value in headers.items():
        assert message[header] == value.strip(" ")
