"""Whether a mail that arrived is the one that was published, part by part.

The document is read here anew, not with ion's own code: a reader that shares its mistakes would not see them.
"""

from __future__ import annotations

import base64
import email.policy
import hashlib
import re
from dataclasses import dataclass, field, fields
from email.header import decode_header, make_header
from email.parser import BytesParser, HeaderParser
from email.utils import getaddresses
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import idna

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from email.message import Message

# What a mail has besides the headers that its publisher asked for.
OWN_HEADERS = frozenset(
    {"from", "to", "cc", "reply-to", "subject", "date", "message-id", "mime-version"}
    | {"content-type", "content-transfer-encoding"}
)
DEFAULT_TYPE = "application/octet-stream"

Person = tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """One attachment or inline image."""

    filename: str
    content_type: str
    sha256: str
    content_id: str = ""
    inline: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """What a mail says; two that are equal are the same mail to their reader."""

    sender: Person
    to: tuple[Person, ...]
    cc: tuple[Person, ...] = ()
    reply_to: tuple[Person, ...] = ()
    subject: str
    text: str | None
    html: str | None
    files: tuple[File, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


@lru_cache(maxsize=4096)  # a checker asks for the same ones again and again
def mailbox(address: str) -> str:
    """The mailbox of an address in its one spelling: the local part as it is, the domain in lower-case ASCII."""
    local, _, domain = _named(address)[1].rpartition("@")
    if not domain.isascii():
        domain = idna.encode(domain, uts46=True).decode()
    return f"{local}@{domain.lower()}"


def recipients(document: Mapping[str, Any]) -> frozenset[str]:
    """All mailboxes that a document is to reach."""
    return frozenset(mailbox(each) for name in ("recipient", "cc", "bcc") for each in _listed(document.get(name)))


def expected(document: Mapping[str, Any], *, default_sender: str) -> Content:
    """What the mail of a document has to say."""
    html = document.get("body_html")
    return Content(
        sender=_person(document.get("sender", default_sender)),
        to=_people(document.get("recipient")),
        cc=_people(document.get("cc")),
        reply_to=_people(document.get("reply_to")),
        subject=document["subject"],
        text=_lines(document.get("body_text")),
        html=_lines(html),
        files=tuple(
            sorted(
                (
                    File(
                        filename=each["filename"],
                        content_type=_media_type(each.get("content_type", DEFAULT_TYPE)),
                        sha256=hashlib.sha256(base64.b64decode(each["content_base64"])).hexdigest(),
                        content_id=each.get("content_id", ""),
                        inline="content_id" in each and html is not None,
                    )
                    for each in document.get("attachments", ())
                ),
                key=repr,
            )
        ),
        headers={name.lower(): value.strip(" ") for name, value in document.get("headers", {}).items()},
    )


def found(message: bytes) -> Content:
    """What the mail says that arrived."""
    head = _head(message)
    texts: dict[str, str] = {}
    files = []
    for part in _leaves(BytesParser().parsebytes(message)):
        kind, disposition = part.get_content_type(), part.get_content_disposition()
        payload = part.get_payload(decode=True)
        content = payload if isinstance(payload, bytes) else b""
        if kind in {"text/plain", "text/html"} and not disposition and kind not in texts:
            texts[kind] = content.decode(part.get_content_charset("ascii"), "replace")
        else:
            files.append(
                File(
                    filename=_filename(str(part["Content-Disposition"] or "")),
                    content_type=_media_type(str(part["Content-Type"] or "")),
                    sha256=hashlib.sha256(content).hexdigest(),
                    content_id=str(part["Content-ID"] or "").strip("<> "),
                    inline=disposition == "inline",
                )
            )
    return Content(
        sender=(_addresses(head, "From") or (("", ""),))[0],
        to=_addresses(head, "To"),
        cc=_addresses(head, "Cc"),
        reply_to=_addresses(head, "Reply-To"),
        subject=_decoded(head["Subject"] or ""),
        text=_lines(texts.get("text/plain")),
        html=_lines(texts.get("text/html")),
        files=tuple(sorted(files, key=repr)),
        headers={name.lower(): _decoded(value) for name, value in head.items() if name.lower() not in OWN_HEADERS},
    )


def differences(document: Mapping[str, Any], message: bytes, *, default_sender: str) -> list[str]:
    """In what the mail differs from the document, a line each; empty when it is the same."""
    wanted, got = expected(document, default_sender=default_sender), found(message)
    lines = [
        f"{one.name}: expected {_short(getattr(wanted, one.name))}, found {_short(getattr(got, one.name))}"
        for one in fields(Content)
        if getattr(wanted, one.name) != getattr(got, one.name)
    ]
    head = _head(message)
    lines += [f"{name}: the mail has none" for name in ("Date", "Message-ID") if not head[name]]
    return lines


def leaks(document: Mapping[str, Any], message: bytes) -> list[str]:
    """The bcc addresses that can be read in the mail's head."""
    seen = {mailbox(each) for name in ("recipient", "cc", "reply_to", "sender") for each in _listed(document.get(name))}
    hidden = {mailbox(each) for each in _listed(document.get("bcc"))} - seen
    text = " ".join(f"{_unfolded(value)} {_decoded(value)}" for value in _head(message).values()).lower()
    return sorted(each for each in hidden if re.search(rf"(?<![\w.+-]){re.escape(each.lower())}(?![\w.-])", text))


def _head(message: bytes) -> Message:
    """The mail's header, as UTF-8, which RFC 6532 allows; read as bytes, the email package would spoil an address."""
    return HeaderParser().parsestr(message.partition(b"\r\n\r\n")[0].decode("utf-8", "replace") + "\r\n\r\n")


def _unfolded(value: str) -> str:
    return re.sub(r"\r?\n", "", value).strip()


def _decoded(value: str) -> str:
    """A header's text: unfolded, encoded words read (RFC 2047)."""
    try:
        return str(make_header(decode_header(_unfolded(value))))
    except (ValueError, LookupError):
        return _unfolded(value)


def _leaves(message: Message) -> Iterable[Message]:
    return (part for part in message.walk() if not part.is_multipart())


def _listed(value: Any) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def _named(address: str) -> tuple[str, str]:
    """Name and address of `Name <address>`, as the contract has it: `parseaddr` stumbles over a name such as `)`."""
    name, bracket, bare = address.rpartition("<")
    if not bracket:
        return "", address.strip()
    name = name.strip()
    if re.fullmatch(r'"(?:[^"\\]|\\.)*"', name):
        name = re.sub(r"\\(.)", r"\1", name[1:-1]).strip()
    return re.sub("  +", " ", name), bare.strip().removesuffix(">")


def _person(address: str) -> Person:
    return _named(address)[0], mailbox(address)


def _people(value: Any) -> tuple[Person, ...]:
    firsts: dict[str, Person] = {}
    for person in map(_person, _listed(value)):
        firsts.setdefault(person[1], person)
    return tuple(firsts.values())


def _addresses(head: Message, name: str) -> tuple[Person, ...]:
    return tuple(
        (_decoded(display), mailbox(address))
        for display, address in getaddresses([_unfolded(value) for value in head.get_all(name, [])])
    )


def _lines(text: str | None) -> str | None:
    """A body with its line ends made one kind; ion ends the last line, as SMTP needs it."""
    if text is None:
        return None
    text = re.sub("\r\n?", "\n", text)
    return text if text.endswith("\n") else text + "\n"


def _filename(disposition: str) -> str:
    """The file name in a Content-Disposition; `get_filename` would take the brackets from one like `<a>`."""
    header = email.policy.default.header_factory("Content-Disposition", disposition.replace("\r\n", ""))
    return str(header.params.get("filename", ""))


def _media_type(value: str) -> str:
    return re.sub(r'[\s"]', "", value).lower()


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:200]} ... {text[-90:]} ({len(text)} characters)"  # noqa: PLR2004
