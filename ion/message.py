"""A request becomes an RFC 5322 message.

The headers are written here and not by `email.message.EmailMessage`: on Python versions that ion runs on, its folding
takes the quotes from a long display name (`"Ann, Bob" <a@example.com>` becomes two recipients) and turns a long
Content-ID into an encoded word. The tests read every message back with the email package.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

from ion.address import Address, AddressError, unique
from ion.errors import SettingsError
from ion.protocols import Envelope

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ion.request import Attachment, SendRequest

# RFC 5322 section 2.1.1 and RFC 2047 section 2, without the line's end.
LINE_MAX_OCTETS = 998
LINE_SHOULD_CHARACTERS = 78
ENCODED_LINE_MAX_CHARACTERS = 76

_PHRASE = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")  # RFC 5322 section 3.2.5
_PLAIN = re.compile(
    r"(?:[!-~]+(?: [!-~]+)*)?"
)  # words of ASCII with single spaces: a folded line gives them back as they were
_NOT_7BIT = re.compile(r"[ \t]\n|[^\t\n -~]")  # spaces at the end of a line get lost on the way
_LINE_END = re.compile(r"\r\n|\r|\n")
_ENCODED_WORD_OVERHEAD = len("=?utf-8?b??=")


def build(request: SendRequest, *, mail_id: str, default_sender: str, date: float) -> Envelope:
    """The envelope and message of a request; the same arguments give the same octets.

    Every line ends in CRLF and has at most 998 octets, and everything but an address with a non-ASCII local part is
    ASCII, so no server needs 8BITMIME. A body's line ends become CRLF, and its last line gets one.

    Args:
        request: What to send.
        mail_id: The mail's id, from which Message-ID and MIME boundaries derive.
        default_sender: Whom it is from if the request does not say.
        date: The time of the first attempt, Unix seconds.

    Raises:
        SettingsError: The default sender is needed and not an address.
    """
    sender = request.sender or _default_sender(default_sender)
    key = _key(mail_id)
    headers = [
        ("From", _mailboxes("From", [sender])),
        ("To", _mailboxes("To", request.recipients)),
        ("Cc", _mailboxes("Cc", request.cc)),
        ("Reply-To", _mailboxes("Reply-To", request.reply_to)),
        ("Date", format_datetime(datetime.fromtimestamp(int(date), UTC))),
        ("Message-ID", message_id(request, mail_id=mail_id, default_sender=default_sender)),
    ]
    lines = [f"{name}: {value}" for name, value in headers if value]
    lines.append(f"Subject: {_unstructured('Subject', request.subject)}")
    lines.extend(f"{name}: {_unstructured(name, value)}" for name, value in request.headers)
    lines.append("MIME-Version: 1.0\r\n")
    visible = (sender, *request.recipients, *request.cc, *request.reply_to)
    return Envelope(
        sender=sender.mailbox,
        recipients=request.envelope_recipients,
        message="\r\n".join(lines).encode() + _content(request, key),
        smtputf8=any(address.smtputf8 for address in (*visible, *request.bcc)),
    )


def message_id(request: SendRequest, *, mail_id: str, default_sender: str) -> str:
    """The Message-ID that a mail is sent with (RFC 5322 section 3.6.4), angle brackets included.

    Raises:
        SettingsError: The default sender is needed and not an address.
    """
    sender = request.sender or _default_sender(default_sender)
    return f"<{_key(mail_id)[:40]}@{sender.domain.lower()}>"


def _key(mail_id: str) -> str:
    return sha256(mail_id.encode("utf-8", "surrogatepass")).hexdigest()


@lru_cache(maxsize=8)
def _default_sender(text: str) -> Address:
    try:
        return Address.parse(text)
    except AddressError as error:
        raise SettingsError(f"smtp.sender: the default sender is needed and is not an address: {error}") from None


def _mailboxes(header: str, addresses: Iterable[Address]) -> str:
    """An address list (RFC 5322 section 3.4), folded between its parts only, each mailbox once."""
    words: list[str] = []
    for address in unique(addresses):
        mailbox = f"<{address.mailbox}>,"
        if not address.name:
            words.append(f"{address.mailbox},")
        elif "=?" in address.name or not _PLAIN.fullmatch(address.name):
            words += [*_encoded_words(address.name, len(header) + 2), mailbox]
        elif _PHRASE.fullmatch(address.name):
            words += [*address.name.split(" "), mailbox]
        else:
            words += [_quoted(address.name), mailbox]
    return _folded(header, words).removesuffix(",")


def _unstructured(header: str, value: str) -> str:
    """A header's text as it is if it survives that, else in encoded words (RFC 2047)."""
    words = value.split(" ")
    if _PLAIN.fullmatch(value) and "=?" not in value and max(map(len, words)) < LINE_MAX_OCTETS - len(header) - 2:
        return _folded(header, words)
    return "\r\n ".join(_encoded_words(value, len(header) + 2))


def _folded(header: str, words: Sequence[str]) -> str:
    """The words with a space between them, or a line's end and a space where a line would grow too long."""
    text, length = "", len(header) + 1
    for word in words:
        if text and length + 1 + len(word) > LINE_SHOULD_CHARACTERS:
            text, length = f"{text}\r\n {word}", 1 + len(word)
        else:
            text, length = f"{text} {word}", length + 1 + len(word)
    return text[1:]


def _encoded_words(text: str, indent: int) -> list[str]:
    """Encoded words of whole characters, each short enough for a line, the first for one that begins at `indent`."""
    words: list[str] = []
    chunk = b""
    for character in text:
        octets = character.encode()
        room = ENCODED_LINE_MAX_CHARACTERS - _ENCODED_WORD_OVERHEAD - (1 if words else indent)
        if len(chunk + octets) > max(room // 4 * 3, len(octets)):
            words.append(f"=?utf-8?b?{base64.b64encode(chunk).decode()}?=")
            chunk = b""
        chunk += octets
    return [*words, f"=?utf-8?b?{base64.b64encode(chunk).decode()}?="]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """A MIME entity: header lines, and encoded content."""

    headers: Sequence[str]
    content: bytes

    def octets(self) -> bytes:
        return "".join(f"{header}\r\n" for header in self.headers).encode("ascii") + b"\r\n" + self.content


def _content(request: SendRequest, key: str) -> bytes:
    """multipart/mixed of (multipart/alternative of (plain, multipart/related of (HTML, inline files)), files)."""
    inline = [one for one in request.attachments if one.content_id and request.body_html is not None]
    files = [one for one in request.attachments if not one.content_id or request.body_html is None]
    bodies: list[_Part] = []
    if request.body_text is not None:
        bodies.append(_text("plain", request.body_text))
    if request.body_html is not None:
        related = [_text("html", request.body_html), *(_file(one, disposition="inline") for one in inline)]
        bodies.append(_multipart('related; type="text/html"', related, f"{key}r"))
    body = _multipart("alternative", bodies, f"{key}a")
    return _multipart("mixed", [body, *(_file(one, disposition="attachment") for one in files)], f"{key}m").octets()


def _multipart(subtype: str, parts: Sequence[_Part], key: str) -> _Part:
    """The parts as one; a part alone stays itself."""
    if len(parts) == 1:
        return parts[0]
    octets = [part.octets() for part in parts]
    boundary = key[:32] + key[-1]
    while any(boundary.encode() in part for part in octets):
        boundary = sha256(boundary.encode()).hexdigest()[:32] + key[-1]
    content = b"".join(b"--%s\r\n%s\r\n" % (boundary.encode(), part) for part in octets)
    return _Part(
        headers=[f'Content-Type: multipart/{subtype};\r\n boundary="{boundary}"'],
        content=content + b"--%s--\r\n" % boundary.encode(),
    )


def _text(subtype: str, body: str) -> _Part:
    """A body, as it is if it is short lines of ASCII, else in the shorter of quoted-printable and base64 (RFC 2045)."""
    body = _LINE_END.sub("\n", body)
    if not body.endswith("\n"):
        body += "\n"
    lines = body.split("\n")
    octets = body.replace("\n", "\r\n").encode()
    if not _NOT_7BIT.search(body) and max(map(len, lines)) <= LINE_SHOULD_CHARACTERS:
        charset, encoding, content = "us-ascii", "7bit", octets
    else:
        charset = "utf-8"
        quoted, based = binascii.b2a_qp(octets), _base64(octets)
        encoding, content = ("quoted-printable", quoted) if len(quoted) <= len(based) else ("base64", based)
    return _Part(
        headers=[f"Content-Type: text/{subtype}; charset={charset}", f"Content-Transfer-Encoding: {encoding}"],
        content=content,
    )


def _file(attachment: Attachment, *, disposition: str) -> _Part:
    headers = [
        f"Content-Type: {attachment.content_type}",
        "Content-Transfer-Encoding: base64",
        f"Content-Disposition: {disposition};\r\n {_filename(attachment.filename)}",
    ]
    if attachment.content_id:
        headers.append(f"Content-ID: <{attachment.content_id}>")
    return _Part(headers=headers, content=_base64(attachment.content))


def _filename(name: str) -> str:
    """The parameter of Content-Disposition (RFC 2183), in RFC 2231's form where it is not plain ASCII."""
    if _PLAIN.fullmatch(name):
        return f"filename={_quoted(name)}"
    octets = [chr(one) if chr(one).isascii() and chr(one).isalnum() else f"%{one:02X}" for one in name.encode()]
    pieces = ["".join(octets[start : start + 18]) for start in range(0, len(octets), 18)]
    if len(pieces) == 1:
        return f"filename*=utf-8''{pieces[0]}"
    pieces[0] = f"utf-8''{pieces[0]}"
    return ";\r\n ".join(f"filename*{number}*={piece}" for number, piece in enumerate(pieces))


def _quoted(text: str) -> str:
    """A quoted string (RFC 5322 section 3.2.4)."""
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def _base64(octets: bytes) -> bytes:
    return base64.encodebytes(octets).replace(b"\n", b"\r\n")
