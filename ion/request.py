"""The publish contract: a JSON document becomes a request, or a `RequestError` that names the field.

docs/contract.md says it in words and docs/contract.schema.json for machines; a test keeps all three in agreement.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

from ion.address import Address, AddressError, shown, unique
from ion.document import known, line, listed, load, mapped, text
from ion.errors import RequestError

RECIPIENTS_MAX = 50
SUBJECT_MAX_CHARACTERS = 998
ID_MAX_CHARACTERS = 256
ID_RESERVED_PREFIX = "ion:"  # ids of ion's own items in the ledger
HEADERS_MAX = 50
HEADER_NAME_MAX_CHARACTERS = 76
HEADER_VALUE_MAX_CHARACTERS = 2_000
ATTACHMENTS_MAX = 50
FILENAME_MAX_CHARACTERS = 255
CONTENT_TYPE_MAX_CHARACTERS = 255
CONTENT_ID_MAX_CHARACTERS = 255
TAGS_MAX = 20
TAG_NAME_MAX_CHARACTERS = 64
TAG_VALUE_MAX_CHARACTERS = 256
REASON_MAX_CHARACTERS = 64
REDRIVE_IDS_MAX = 1_000
REDRIVE_MAX = 1_000_000

# Headers that ion writes itself, that belong to whoever carries the mail (RFC 5321 section 4.4, RFC 5322 section 3.6),
# or that would speak for a resend, a signature or a filter.
HEADERS_REFUSED = frozenset(
    {"from", "sender", "reply-to", "to", "cc", "bcc", "apparently-to", "errors-to", "subject", "date", "message-id"}
    | {"mime-version", "received", "received-spf", "return-path", "delivered-to", "x-original-to", "envelope-to"}
    | {"x-envelope-to", "authentication-results", "dkim-signature", "domainkey-signature", "status", "x-status"}
)
HEADER_PREFIXES_REFUSED = ("arc-", "content-", "resent-")

_FIELD_NAME = re.compile(r"[!-9;-~]+")  # ftext, RFC 5322 section 3.6.8
_WORD = r"[A-Za-z0-9!#$&^_.+-]+"  # restricted-name characters, RFC 6838 section 4.2
_CONTENT_TYPE = re.compile(rf'{_WORD}/{_WORD}(?: *; *{_WORD}=(?:{_WORD}|"[ !#-\[\]-~]*"))*')
_CONTENT_ID = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.@-]+")
_EXPIRES = re.compile(  # RFC 3339 section 5.6, seconds optional
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Attachment:
    """A file that goes with a mail.

    Attributes:
        filename: Its name, without a path.
        content_type: Its media type with parameters.
        content: Its octets.
        content_id: What an HTML body calls it by (`cid:`), without angle brackets; empty where it is not inline.
    """

    filename: str
    content_type: str = "application/octet-stream"
    content: bytes = field(repr=False)
    content_id: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class SendRequest:
    """A mail to be sent.

    Attributes:
        recipients: Whom it is to (`recipient` in the document).
        cc: Whom it is to as well, visibly.
        bcc: Whom it is to as well, in no header.
        reply_to: Where answers go.
        sender: Whom it is from; None for the settings' default.
        subject: The subject.
        body_text: The plain body; None if there is none.
        body_html: The HTML body; None if there is none. One of both is there.
        headers: More headers, name and value.
        attachments: The files.
        id: The publisher's idempotency key; empty if it gave none.
        expires_at: Unix seconds after which the mail is not sent; None for no such time.
        tags: Words for the ledger and the logs.
    """

    recipients: tuple[Address, ...]
    cc: tuple[Address, ...] = ()
    bcc: tuple[Address, ...] = ()
    reply_to: tuple[Address, ...] = ()
    sender: Address | None = None
    subject: str
    body_text: str | None = field(default=None, repr=False)
    body_html: str | None = field(default=None, repr=False)
    headers: tuple[tuple[str, str], ...] = ()
    attachments: tuple[Attachment, ...] = ()
    id: str = ""
    expires_at: float | None = None
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def envelope_recipients(self) -> tuple[str, ...]:
        """Every mailbox the mail goes to, once, in order."""
        return tuple(address.mailbox for address in unique((*self.recipients, *self.cc, *self.bcc)))


@dataclass(frozen=True, kw_only=True, slots=True)
class RedriveRequest:
    """Dead letters are to go back to the input queue.

    Attributes:
        reason: Only those with this `failure-reason`; None for all.
        ids: Only those with these ids; None for all.
        max: At most so many; None for all.
    """

    reason: str | None = None
    ids: tuple[str, ...] | None = None
    max: int | None = None


def parse(body: str) -> SendRequest | RedriveRequest:
    """Read a queue message's body: the document itself, or an SNS envelope around it.

    Raises:
        RequestError: It breaks the contract. Nothing else is raised, whatever the body.
    """
    document = load(published(body))
    if "action" not in document:
        raise RequestError('is missing; "send" or "redrive" is needed', field="action")
    action = text(document.pop("action"), "action")
    if action == "send":
        return _send(document)
    if action == "redrive":
        return _redrive(document)
    raise RequestError(f'{shown(action)} is neither "send" nor "redrive"', field="action", reason="unknown-action")


def published(body: str) -> str:
    """The document as it was published: the body itself, or what an SNS envelope around it carries.

    Raises:
        RequestError: The envelope is no JSON, or carries no string.
    """
    if '"Notification"' not in body:  # most bodies are raw, and need not be read twice
        return body
    envelope = load(body)
    if "action" in envelope or envelope.get("Type") != "Notification":
        return body
    message = envelope.get("Message")
    if not isinstance(message, str):
        raise RequestError("an SNS notification carries a string", field="Message")
    return message


def _send(document: dict[str, Any]) -> SendRequest:
    known(document, _SEND_FIELDS, "")
    for name in ("recipient", "subject"):
        if name not in document:
            raise RequestError("is missing", field=name)
    if "body_text" not in document and "body_html" not in document:
        raise RequestError("is missing, and so is body_html; one of both is needed", field="body_text")
    request = SendRequest(
        **{
            name: parse_field(document[key], key)
            for key, (name, parse_field) in _SEND_FIELDS.items()
            if key in document
        }
    )
    if len(request.envelope_recipients) > RECIPIENTS_MAX:
        raise RequestError(
            f"{len(request.envelope_recipients)} recipients, cc and bcc included, are more than {RECIPIENTS_MAX}",
            field="recipient",
        )
    return request


def _redrive(document: dict[str, Any]) -> RedriveRequest:
    known(document, _REDRIVE_FIELDS, "")
    return RedriveRequest(
        **{key: parse_field(document[key], key) for key, (_, parse_field) in _REDRIVE_FIELDS.items() if key in document}
    )


def _address(value: Any, path: str) -> Address:
    try:
        return Address.parse(text(value, path))
    except AddressError as error:
        raise RequestError(str(error), field=path) from None


def _addresses(value: Any, path: str) -> tuple[Address, ...]:
    if not isinstance(value, list):
        return (_address(value, path),)
    return tuple(_address(one, f"{path}[{index}]") for index, one in enumerate(value))


def _recipients(value: Any, path: str) -> tuple[Address, ...]:
    addresses = _addresses(value, path)
    if not addresses:
        raise RequestError("at least one address is needed", field=path)
    return addresses


def _subject(value: Any, path: str) -> str:
    return line(value, path, SUBJECT_MAX_CHARACTERS)


def _headers(value: Any, path: str) -> tuple[tuple[str, str], ...]:
    headers: dict[str, tuple[str, str]] = {}
    for name, content in mapped(value, path, HEADERS_MAX).items():
        where = f"{path}.{name}" if _FIELD_NAME.fullmatch(name) and len(name) <= HEADER_NAME_MAX_CHARACTERS else path
        if where == path:
            raise RequestError(
                f"{shown(name)} is not a header name: 1 to {HEADER_NAME_MAX_CHARACTERS} printable ASCII characters "
                "without space and colon",
                field=path,
            )
        if name.lower() in HEADERS_REFUSED or name.lower().startswith(HEADER_PREFIXES_REFUSED):
            raise RequestError("this header is ion's or the mail system's own to write", field=where)
        if name.lower() in headers:
            raise RequestError("this header stands twice, in different case", field=where)
        headers[name.lower()] = (name, line(content, where, HEADER_VALUE_MAX_CHARACTERS).strip(" "))
    return tuple(headers.values())


def _attachments(value: Any, path: str) -> tuple[Attachment, ...]:
    attachments = []
    for index, one in enumerate(listed(value, path, ATTACHMENTS_MAX, "attachments")):
        where = f"{path}[{index}]"
        entry = mapped(one, where)
        known(entry, _ATTACHMENT_FIELDS, where)
        for name in ("filename", "content_base64"):
            if name not in entry:
                raise RequestError("is missing", field=f"{where}.{name}")
        attachments.append(
            Attachment(
                **{
                    name: parse_field(entry[key], f"{where}.{key}")
                    for key, (name, parse_field) in _ATTACHMENT_FIELDS.items()
                    if key in entry
                }
            )
        )
        ids = [other.content_id for other in attachments if other.content_id]
        if len(ids) > len(set(ids)):
            raise RequestError("another attachment has this id already", field=f"{where}.content_id")
    return tuple(attachments)


def _filename(value: Any, path: str) -> str:
    name = line(value, path, FILENAME_MAX_CHARACTERS, 1)
    if re.search(r"[/\\]", name) or name in {".", ".."} or name != name.strip(" "):
        raise RequestError("the bare name is needed, without a path and without spaces around it", field=path)
    return name


def _content_type(value: Any, path: str) -> str:
    content_type = line(value, path, CONTENT_TYPE_MAX_CHARACTERS)
    if not _CONTENT_TYPE.fullmatch(content_type):
        raise RequestError("a media type such as application/pdf or text/csv; charset=utf-8 is needed", field=path)
    if content_type.lower().startswith(("multipart/", "message/")):
        raise RequestError(
            "multipart and message types are mails within a mail and may not be base64 (RFC 2046); send such a file "
            "as application/octet-stream",
            field=path,
        )
    return content_type


def _content(value: Any, path: str) -> bytes:
    try:
        return base64.b64decode(text(value, path), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(f"base64 without line breaks (RFC 4648 section 4) is needed: {error}", field=path) from None


def _content_id(value: Any, path: str) -> str:
    content_id = line(value, path, CONTENT_ID_MAX_CHARACTERS, 1)
    if not _CONTENT_ID.fullmatch(content_id):
        raise RequestError("letters, digits and signs as in logo@example.com, without angle brackets", field=path)
    return content_id


def _id(value: Any, path: str) -> str:
    key = line(value, path, ID_MAX_CHARACTERS, 1)
    if not key.isprintable():
        raise RequestError("only printable characters may stand in an id", field=path)
    if key.startswith(ID_RESERVED_PREFIX):
        raise RequestError(f"ids that start with {ID_RESERVED_PREFIX} are ion's own", field=path)
    return key


def _expires_at(value: Any, path: str) -> float:
    match = _EXPIRES.fullmatch(text(value, path))
    try:
        return datetime.fromisoformat(match[0] if match else "").timestamp()
    except (ValueError, OverflowError):
        raise RequestError(
            "an ISO 8601 time with offset such as 2030-01-31T12:00:00+01:00 is needed", field=path
        ) from None


def _tags(value: Any, path: str) -> Mapping[str, str]:
    tags = {}
    for name, content in mapped(value, path, TAGS_MAX).items():
        line(name, f"{path}, name {shown(name)}", TAG_NAME_MAX_CHARACTERS, 1)
        tags[name] = line(content, f"{path}.{name}", TAG_VALUE_MAX_CHARACTERS)
    return MappingProxyType(tags)


def _reason(value: Any, path: str) -> str:
    return line(value, path, REASON_MAX_CHARACTERS, 1)


def _max(value: Any, path: str) -> int:
    if type(value) is not int or not 1 <= value <= REDRIVE_MAX:
        raise RequestError(f"a whole number from 1 to {REDRIVE_MAX} is needed", field=path)
    return value


def _ids(value: Any, path: str) -> tuple[str, ...]:
    ids = listed(value, path, REDRIVE_IDS_MAX, "ids")
    if not ids:
        raise RequestError("at least one id is needed; leave the field out for all", field=path)
    return tuple(dict.fromkeys(_id(one, f"{path}[{index}]") for index, one in enumerate(ids)))


_Fields = Mapping[str, tuple[str, Callable[[Any, str], Any]]]  # field of the document: (attribute, its parser)

_SEND_FIELDS: _Fields = {
    "recipient": ("recipients", _recipients),
    "cc": ("cc", _addresses),
    "bcc": ("bcc", _addresses),
    "reply_to": ("reply_to", _addresses),
    "sender": ("sender", _address),
    "subject": ("subject", _subject),
    "body_text": ("body_text", text),
    "body_html": ("body_html", text),
    "headers": ("headers", _headers),
    "attachments": ("attachments", _attachments),
    "id": ("id", _id),
    "expires_at": ("expires_at", _expires_at),
    "tags": ("tags", _tags),
}
_REDRIVE_FIELDS: _Fields = {
    "reason": ("reason", _reason),
    "ids": ("ids", _ids),
    "max": ("max", _max),
}
_ATTACHMENT_FIELDS: _Fields = {
    "filename": ("filename", _filename),
    "content_type": ("content_type", _content_type),
    "content_base64": ("content", _content),
    "content_id": ("content_id", _content_id),
}
