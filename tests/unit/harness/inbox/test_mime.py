from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.inbox import mime


def mixed():
    """A mail of the usual shape: two bodies, an inline image, a file."""
    made = EmailMessage()
    made["From"] = "Zoë <zoe@example.com>"
    made["To"] = '"Peg, Sales" <peg@example.com>, b@example.com'
    made["Subject"] = "Grüße"
    made["Message-ID"] = "<1@example.com>"
    made["Date"] = "Thu, 01 Jan 2026 00:00:00 +0000"
    made.set_content("Käse\nund mehr")
    made.add_alternative("<p>Käse</p>", subtype="html")
    made.get_payload()[1].add_related(b"\x89PNG", "image", "png", cid="<logo>")
    made.add_attachment(b"%PDF", "application", "pdf", filename="Übersicht.pdf")
    return bytes(made)


def touch_everything(raw):
    """Read all that can be read of a mail."""
    mail = mime.read(raw)
    for part in mail.parts:
        assert isinstance(mail.content(part), bytes)
    for name in ("From", "To", "Subject"):
        mail.header(name).encode()
        mail.people(name)
    mail.body(mail.text).encode()
    mail.body(mail.html).encode()
    mail.message_id().encode()
    mail.date()
    return mail


def test_a_usual_mail_is_taken_apart():
    """Bodies, inline image and file are told apart, and encoded names are read."""
    mail = mime.read(mixed())
    assert mail.header("subject") == "Grüße"
    assert mail.body(mail.text) == "Käse\nund mehr\n"
    assert mail.body(mail.html) == "<p>Käse</p>\n"
    assert [(part.filename, part.content_type, part.inline) for part in mail.files] == [
        ("", "image/png", True),
        ("Übersicht.pdf", "application/pdf", False),
    ]
    assert mail.content(mail.files[1]) == b"%PDF"
    assert [(each.name, each.address) for each in mail.people("To")] == [
        ("Peg, Sales", "peg@example.com"),
        ("", "b@example.com"),
    ]
    assert (mail.message_id(), mail.date(), mail.notes) == ("1@example.com", 1767225600.0, ())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("=?utf-8?b?WsOkaA==?= and =?iso-8859-1?Q?z=E4h?=", "Zäh and zäh"),
        ("=?utf-8?q?one?= =?utf-8?q?_word?=", "one word"),
        ("=?utf-8?q?with spaces in it?=", "with spaces in it"),
        ("=?utf-8?b?WsOkaA==?= <jörg@example.org>", "Zäh <jörg@example.org>"),  # RFC 6532: UTF-8 beside them
        ("Re: =?not an encoded word?=", "Re: =?not an encoded word?="),
        ("=?no-such-charset?q?x?= =?utf-8?b?!?=", "=?no-such-charset?q?x?= =?utf-8?b?!?="),
    ],
)
def test_encoded_words_are_read_wherever_they_stand(value, text):
    """A header is text for people, whatever stands between its encoded words; what is broken stays as it is."""
    assert mime.decoded(value) == text


def test_a_part_is_found_by_its_place():
    """A part's id is its place in the tree."""
    mail = mime.read(mixed())
    assert [part.id for part in mail.parts] == ["1.1", "1.2.1", "1.2.2", "2"]
    assert mail.find("2") == mail.files[1]
    assert mail.find("9") is None


@pytest.mark.parametrize(
    ("charset", "octets", "text"),
    [
        ("iso-8859-1", b"K\xe4se", "Käse"),
        ("utf-8", b"K\xe4se", "K\ufffdse"),
        ("", b"K\xe4se", "Käse"),
        ("no-such-charset", "Käse".encode(), "Käse"),
        ("punycode", b"a-b", "a-b"),
        ("rot13", b"abc", "abc"),
        ("utf-7", b"+2AA-", "?"),
    ],
)
def test_a_body_is_read_in_its_charset(charset, octets, text):
    """A body is text whatever its charset claims to be, and never half a surrogate pair."""
    mail = mime.read(b"Content-Type: text/plain; charset=" + charset.encode() + b"\r\n\r\n" + octets)
    mail.body(mail.text).encode()
    assert mail.body(mail.text) == text


HOSTILE = {
    "a million headers": b"".join(b"X-%d: y\r\n" % number for number in range(1_000_000)) + b"\r\nbody",
    "a header of ten megabytes": b"Subject: " + b"a" * 10_000_000 + b"\r\n\r\nbody",
    "a million recipients": b"To: " + b"a@b.c,\r\n " * 1_000_000 + b"\r\n\r\nbody",
    "nested comments": b"To: " + b"(" * 100_000 + b"\r\n\r\nbody",
    "encoded words without end": b"Subject: " + b"=?utf-8?q?a?= " * 100_000 + b"\r\n\r\nbody",
    "five hundred multiparts in one another": b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (number, number) for number in range(500)
    )
    + b"line\r\n" * 500_000,
    "a multipart that holds itself": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    + b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" * 100_000,
    "a million parts": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 1_000_000,
    "a million near-delimiters": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"\n--bx" * 1_000_000,
    "quotes in a parameter": b"Content-Type: text/plain; " + b';a="' * 100_000 + b"\r\n\r\nx",
    "a file name in 20,000 pieces": b"Content-Disposition: attachment; "
    + b"".join(b"filename*%d*=%%41;" % number for number in range(20_000))
    + b"\r\n\r\nx",
    "base64 that is cut short": b"Content-Transfer-Encoding: base64\r\n\r\n" + b"A" * 4_000_001,
    "nothing": b"",
    "one line feed": b"\n",
    "only carriage returns": b"\r" * 100_000,
    "only NUL": b"\0" * 100_000,
    "a message in a message": b"Content-Type: message/rfc822\r\n\r\n" * 10_000,
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_mail_is_read_in_bounded_work(name):
    """Whatever a mail is made of, what comes out of it is bounded, and it comes soon."""
    mail = touch_everything(HOSTILE[name])
    assert len(mail.headers) <= mime.MAX_HEADERS
    assert len(mail.parts) <= mime.MAX_PARTS
    assert all(part.id.count(".") <= mime.MAX_DEPTH for part in mail.parts)


def test_what_was_left_out_is_said():
    """A mail of which not all is shown has a note that says so."""
    assert (
        "A header block is larger than 256 KiB; only its beginning is shown."
        in mime.read(HOSTILE["a million headers"]).notes
    )
    assert mime.read(mixed()).notes == ()


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_mail_however_broken_raises(data):
    """A mail with bytes put in, taken out and exchanged anywhere can still be read."""
    raw = bytearray(mixed())
    for _ in range(data.draw(st.integers(1, 12))):
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 40))] = data.draw(
            st.one_of(st.binary(max_size=8), st.sampled_from([b"\r\n\r\n", b"--", b'="', b"=?utf-8?b?", b"\xff", b";"]))
        )
    touch_everything(bytes(raw))
