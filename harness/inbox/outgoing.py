"""What a Mailpit client sends, as a document of ion's publish contract."""

from __future__ import annotations

import json
import mimetypes
import secrets
from typing import TYPE_CHECKING, Any

from ion.errors import RequestError
from ion.request import parse

if TYPE_CHECKING:
    from collections.abc import Mapping

_KNOWN = frozenset(
    {"From", "To", "Cc", "Bcc", "ReplyTo", "Subject", "Text", "HTML", "Headers", "Tags", "Attachments"}  # Mailpit's
)


def document(body: Mapping[str, Any]) -> dict[str, Any]:
    """The document of a body as Mailpit's `POST /api/v1/send` takes it, with an id of its own.

    Raises:
        RequestError: It cannot be published; the message names the field.
    """
    if unknown := sorted(set(body) - _KNOWN):
        raise RequestError("no such field", field=unknown[0])
    tags = [_text(tag, "Tags") for tag in _list(body, "Tags")]
    headers = {str(name): _text(value, f"Headers.{name}") for name, value in _object(body.get("Headers"), "Headers")}
    if tags:
        headers["X-Tags"] = ", ".join(tags)
    made: dict[str, Any] = {
        "action": "send",
        "id": f"sent-{secrets.token_hex(12)}",
        "sender": _person(body.get("From"), "From"),
        "recipient": [_person(each, "To") for each in _list(body, "To")],
        "cc": [_person(each, "Cc") for each in _list(body, "Cc")],
        "bcc": [_text(each, "Bcc") for each in _list(body, "Bcc")],
        "reply_to": [_person(each, "ReplyTo") for each in _list(body, "ReplyTo")],
        "subject": _text(body.get("Subject", ""), "Subject"),
        "body_text": _text(body.get("Text", ""), "Text"),
        "body_html": _text(body.get("HTML", ""), "HTML"),
        "headers": headers,
        "tags": dict.fromkeys(tags, ""),
        "attachments": [_attachment(each) for each in _list(body, "Attachments")],
    }
    needed = {"action", "id", "sender", "recipient", "subject", "" if made["body_html"] else "body_text"}
    made = {name: value for name, value in made.items() if value or name in needed}
    parse(json.dumps(made))
    return made


def _person(value: Any, field: str) -> str:
    """An address with its name, as the contract takes it."""
    found = dict(_object(value, field))
    address, name = _text(found.get("Email"), f"{field}.Email"), _text(found.get("Name", ""), f"{field}.Name")
    if not name:
        return address
    quoted = name.replace("\\", r"\\").replace('"', r"\"")
    return f'"{quoted}" <{address}>'


def _attachment(value: Any) -> dict[str, str]:
    found = dict(_object(value, "Attachments"))
    name = _text(found.get("Filename"), "Attachments.Filename")
    content = _text(found.get("Content"), "Attachments.Content")
    made = {
        "filename": name,
        # A browser's FileReader puts `data:...;base64,` before it, and Mailpit takes that.
        "content_base64": content.rpartition(",")[2],
        "content_type": _text(found.get("ContentType") or "", "Attachments.ContentType")
        or mimetypes.guess_type(name)[0]
        or "application/octet-stream",
    }
    content_id = _text(found.get("ContentID") or "", "Attachments.ContentID")
    return made | ({"content_id": content_id} if content_id else {})


def _list(body: Mapping[str, Any], field: str) -> list[Any]:
    value = body.get(field)
    if value is None:
        return []
    if not isinstance(value, list):
        raise RequestError("a list is needed", field=field)
    return value


def _object(value: Any, field: str) -> list[tuple[str, Any]]:
    if value is None and field == "Headers":
        return []
    if not isinstance(value, dict):
        raise RequestError("an object is needed", field=field)
    return list(value.items())


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise RequestError("a string is needed", field=field)
    return value
