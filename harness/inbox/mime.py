"""Reading a mail that may be broken or hostile: never raises, never hangs, at most so much work a byte.

The email package's parser is right about mails that are right. One that nests a thousand multiparts or has a million
headers keeps it busy for minutes, so the structure is found here, with searches over the bytes and a limit on
everything that can be repeated; the package only reads single headers, of limited length.
"""

from __future__ import annotations

import binascii
import codecs
import re
from dataclasses import dataclass, field
from email.header import decode_header, make_header
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

MAX_HEADER_BLOCK_BYTES = 256 * 1024  # of the mail's own header
MAX_PART_HEADER_BLOCK_BYTES = 32 * 1024
MAX_HEADERS = 1_000
MAX_VALUE_CHARACTERS = 16 * 1024  # of one header, where it is read for its meaning
MAX_ADDRESSES = 1_000  # of one header
MAX_PARTS = 500
MAX_DEPTH = 10
MAX_DELIMITERS = 50_000  # looked at in one multipart, most of them no real ones
MAX_TEXT_CHARACTERS = 1024 * 1024  # of one body

# Encodings that are no charset of a mail, and of which some take quadratic time.
_NO_CHARSETS = frozenset({"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs", "oem"})
_DELIMITER_END = re.compile(rb"(--)?[ \t]{0,80}(?:\r?\n|\Z)")
# One or more encoded words in a row; the space between them is not part of the text (RFC 2047 section 6.2).
_ENCODED_WORDS = re.compile(r"=\?[^?\s]+\?[bBqQ]\?[^?]*\?=(?:\s+=\?[^?\s]+\?[bBqQ]\?[^?]*\?=)*")
_FOLD = re.compile(r"\r?\n(?=[ \t])")
_MESSAGE_ID = re.compile(r"<([^<>\s]{1,990})>")
_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,127}/[a-z0-9!#$&^_.+-]{1,127}")  # RFC 6838 section 4.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """An address as a header gives it.

    Attributes:
        name: The display name, empty if there is none.
        address: The mailbox; of a header that cannot be read, its text.
    """

    name: str
    address: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A leaf of the MIME tree.

    Attributes:
        id: Its place, such as `1.2`: the second part of the first.
        content_type: The media type, in lower case, without parameters.
        charset: As the mail names it; empty if it does not.
        filename: As the mail names it: never to be used as a path.
        content_id: Without angle brackets.
        disposition: `attachment`, `inline` or empty.
        encoding: The content transfer encoding, in lower case.
        start: Where its encoded content begins in the mail's bytes.
        end: Where it ends.
    """

    id: str
    content_type: str
    charset: str = ""
    filename: str = ""
    content_id: str = ""
    disposition: str = ""
    encoding: str = ""
    start: int
    end: int

    @property
    def inline(self) -> bool:
        """Whether the body shows it, rather than that it comes along."""
        return self.disposition == "inline" or bool(self.content_id and self.disposition != "attachment")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mail:
    """A mail, taken apart.

    Attributes:
        raw: Its bytes.
        headers: Name and value, in order, unfolded and not decoded.
        parts: The leaves, in order.
        text: The part with the plain body.
        html: The part with the HTML body.
        notes: What of the mail was too much, or wrong, in a sentence each.
    """

    raw: bytes = field(repr=False)
    headers: tuple[tuple[str, str], ...]
    parts: tuple[Part, ...]
    text: Part | None
    html: Part | None
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Part, ...]:
        """The parts besides the two bodies."""
        return tuple(part for part in self.parts if part not in {self.text, self.html})

    def header(self, name: str) -> str:
        """The first header of that name, decoded; empty if there is none."""
        return next((decoded(value) for each, value in self.headers if each.lower() == name.lower()), "")

    def people(self, name: str) -> tuple[Person, ...]:
        """The addresses in all headers of that name."""
        values = [value for each, value in self.headers if each.lower() == name.lower()]
        return tuple(islice((person for value in values for person in _people(value)), MAX_ADDRESSES))

    def message_id(self) -> str:
        """The Message-ID without angle brackets, or what stands in its place."""
        value = self.header("Message-ID")
        found = _MESSAGE_ID.search(value)
        return found[1] if found else value.strip()[:990]

    def date(self) -> float | None:
        """The Date header as Unix seconds; None where it is missing or makes no sense."""
        try:
            return parsedate_to_datetime(self.header("Date")).timestamp()
        except Exception:  # the package raises half a dozen kinds
            return None

    def content(self, part: Part) -> bytes:
        """A part's octets, decoded as far as that goes."""
        encoded = self.raw[part.start : part.end]
        if part.encoding == "quoted-printable":
            return binascii.a2b_qp(encoded)
        if part.encoding == "base64":
            for padding in (b"", b"==", b"A=="):  # a part that was cut short keeps what it has
                try:
                    return binascii.a2b_base64(encoded + padding)
                except binascii.Error:
                    continue
        return encoded

    def body(self, part: Part | None) -> str:
        """A body as text, each line end made a single newline, cut at `MAX_TEXT_CHARACTERS`."""
        if part is None:
            return ""
        content = self.content(part)
        text = _text(content[: 4 * MAX_TEXT_CHARACTERS], part.charset)
        return text.replace("\r\n", "\n").replace("\r", "\n")[:MAX_TEXT_CHARACTERS]

    def find(self, part_id: str) -> Part | None:
        """The part of that id."""
        return next((part for part in self.parts if part.id == part_id), None)


def read(raw: bytes) -> Mail:
    """Take a mail apart, whatever it is."""
    reader = _Reader(raw)
    headers, start = reader.head(0, len(raw), MAX_HEADER_BLOCK_BYTES)
    parts = list(islice(reader.leaves(headers, start, len(raw)), MAX_PARTS))
    if len(parts) == MAX_PARTS:
        reader.notes.append(f"It has {MAX_PARTS} parts or more; only so many are shown.")
    return Mail(
        raw=raw,
        headers=tuple(headers),
        parts=tuple(parts),
        text=_first(parts, "text/plain"),
        html=_first(parts, "text/html"),
        notes=tuple(dict.fromkeys(reader.notes)),
    )


def decoded(value: str) -> str:
    """A header's text with its encoded words read (RFC 2047); one that is broken stays as it is."""
    return _ENCODED_WORDS.sub(_read_words, value[:MAX_VALUE_CHARACTERS])


def _read_words(words: re.Match[str]) -> str:
    # By themselves: what stands between them may be UTF-8 (RFC 6532), over which the package trips.
    try:
        return _whole(str(make_header(decode_header(words[0])))).replace("\n", " ").replace("\r", " ")
    except Exception:  # an unknown charset, bad base64, and whatever else
        return words[0]


class _Reader:
    """The bytes, and what was noted on the way through them."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.notes: list[str] = []

    def head(self, start: int, end: int, limit: int) -> tuple[list[tuple[str, str]], int]:
        """The headers that begin at `start`, and where the body begins."""
        stop, body = self._blank_line(start, end)
        block = self.raw[start : min(stop, start + limit)]
        if stop - start > limit:
            block = block[: block.rfind(b"\n") + 1 or limit]
            self.notes.append(f"A header block is larger than {limit // 1024} KiB; only its beginning is shown.")
        headers = []
        for line in re.split(r"\r?\n", _FOLD.sub("", block.decode("utf-8", "replace"))):
            name, colon, value = line.partition(":")
            if not colon or not name.strip() or " " in name.strip():
                if line.strip() and not line.startswith("From "):  # mbox puts such a line before the mail
                    self.notes.append("A line of its header is no header.")
                continue
            headers.append((name.strip(), value.strip()))
            if len(headers) == MAX_HEADERS:
                self.notes.append(f"It has {MAX_HEADERS} headers or more; only so many are shown.")
                break
        return headers, body

    def leaves(
        self, headers: list[tuple[str, str]], start: int, end: int, place: str = "", *, default: str = "text/plain"
    ) -> Iterator[Part]:
        """The leaves of the entity with these headers, whose content lies between `start` and `end`."""
        described = _described(headers)
        content_type = _quiet(described.get_content_type, "").lower() if described["Content-Type"] else default
        if not _MEDIA_TYPE.fullmatch(content_type):
            content_type = "application/octet-stream"
        if content_type.startswith("multipart/"):
            ranges = self._ranges(described, start, end, place)
            if ranges:
                inner = "message/rfc822" if content_type == "multipart/digest" else "text/plain"
                for number, (first, last) in enumerate(ranges, start=1):
                    inner_headers, body = self.head(first, last, MAX_PART_HEADER_BLOCK_BYTES)
                    child = f"{place}.{number}" if place else str(number)
                    yield from self.leaves(inner_headers, body, last, child, default=inner)
                return
            content_type = "application/octet-stream" if place else "text/plain"
        yield Part(
            id=place or "1",
            content_type=content_type,
            charset=_quiet(lambda: str(described.get_content_charset() or ""), ""),
            filename=decoded(_quiet(lambda: str(described.get_filename() or ""), "")),
            content_id=decoded(str(described["Content-ID"] or "")).strip().strip("<>")[:990],
            disposition=_quiet(lambda: str(described.get_content_disposition() or ""), "").lower(),
            encoding=str(described["Content-Transfer-Encoding"] or "").strip().lower(),
            start=start,
            end=end,
        )

    def _blank_line(self, start: int, end: int) -> tuple[int, int]:
        """Where the line before the first blank one ends, and where the line after it begins."""
        for blank in (b"\r\n", b"\n"):
            if self.raw.startswith(blank, start, end):
                return start, start + len(blank)
        blanks = (b"\n\r\n", b"\n\n")
        found = [(at, at + len(blank)) for blank in blanks if (at := self.raw.find(blank, start, end)) >= 0]
        return min(found, default=(end, end))

    def _ranges(self, described: Message, start: int, end: int, place: str) -> list[tuple[int, int]]:
        """Where the parts of a multipart begin and end (RFC 2046 section 5.1.1); the last may lack its delimiter."""
        if place.count(".") >= MAX_DEPTH:
            self.notes.append(f"Its parts are nested more than {MAX_DEPTH} deep; the innermost are shown as one.")
            return []
        boundary = _quiet(lambda: str(described.get_boundary() or ""), "")
        delimiter = b"--" + boundary.encode("utf-8", "replace")
        ranges: list[tuple[int, int]] = []
        first, at = None, start - 1
        for _ in range(MAX_DELIMITERS if boundary else 0):
            at = self.raw.find(delimiter, at + 1, end)
            if at < 0 or len(ranges) > MAX_PARTS:
                break
            line_end = _DELIMITER_END.match(self.raw, at + len(delimiter), end)
            if line_end is None or (at > 0 and self.raw[at - 1 : at] != b"\n"):
                continue
            if first is not None:
                last = at - (2 if self.raw[at - 2 : at] == b"\r\n" else 1)
                ranges.append((first, max(first, last)))
            first = None if line_end[1] else line_end.end()
            if first is None:
                break
        if first is not None:
            ranges.append((first, end))
        if not ranges:
            self.notes.append(f"A {described.get_content_type()} has no parts.")
        return ranges


def _described(headers: list[tuple[str, str]]) -> Message:
    """The headers that describe content, for the package to read their parameters; the first of each counts."""
    message = Message()
    for name, value in headers:
        if name.lower().startswith("content-") and name not in message:
            message[name] = value[:MAX_VALUE_CHARACTERS]
    return message


def _first(parts: list[Part], content_type: str) -> Part | None:
    fits = (p for p in parts if p.content_type == content_type and p.disposition != "attachment" and not p.filename)
    return next(fits, None)


def _people(value: str) -> list[Person]:
    value = value[:MAX_VALUE_CHARACTERS]
    nobody: list[tuple[str, str]] = []
    pairs = _quiet(lambda: getaddresses([value]), nobody)
    found = [Person(name=decoded(name), address=address) for name, address in pairs]
    if not any(person.address for person in found):  # the package gives up on a list in which one address is wrong
        return [Person(name="", address=decoded(value).strip())] if value.strip() else []
    return [person for person in found if person.name or person.address]


def _text(content: bytes, charset: str) -> str:
    try:
        codec = codecs.lookup(charset).name.replace("_", "-") if charset else ""
        if codec and codec not in _NO_CHARSETS | {"ascii", "utf-8"}:
            return _whole(content.decode(codec, "replace"))
    except Exception:  # no such charset, or no charset at all (base64)
        codec = ""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        # What was cut in the middle of a character is UTF-8 all the same.
        known = codec == "utf-8" or error.reason == "unexpected end of data"
        return content.decode("utf-8", "replace") if known else content.decode("cp1252", "replace")


def _whole(text: str) -> str:
    """Text without halves of surrogate pairs, which some charsets can spell and nothing can write."""
    return text.encode("utf-8", "replace").decode()


def _quiet(read_one: Callable[[], T], otherwise: T) -> T:
    """What the email package makes of a header, unless it trips over it, which broken ones make it do in many ways."""
    try:
        return read_one()
    except Exception:
        return otherwise
