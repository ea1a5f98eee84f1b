"""What programs are told of a mail, as JSON: Mailpit's shapes, and two of our own."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from harness.inbox import render

if TYPE_CHECKING:
    from harness.inbox.live import Letter
    from harness.inbox.mime import Mail, Part
    from harness.inbox.store import Summary
    from harness.inbox.story import Story

_HEADER_NAME = re.compile(r"[!-9;-~]+")


def summary(mail: Summary) -> dict[str, Any]:
    """Mailpit's MessageSummary."""
    return {
        "ID": mail.id,
        "MessageID": mail.message_id,
        "Read": mail.seen,
        **_people(mail),
        "Subject": mail.subject,
        "Created": _iso(mail.received),
        "Username": mail.username,
        "Tags": mail.tags,
        "Size": mail.size,
        "Attachments": mail.attachments,
        "Snippet": mail.snippet,
    }


def message(mail: Summary, taken_apart: Mail) -> dict[str, Any]:
    """Mailpit's Message, and the envelope besides."""
    return {
        "ID": mail.id,
        "MessageID": mail.message_id,
        "Read": True,  # which Mailpit has given up, and clients of its early versions wait for
        **_people(mail),
        "ReturnPath": mail.sender,
        "Subject": mail.subject,
        "ListUnsubscribe": {
            "Header": taken_apart.header("List-Unsubscribe"),
            "Links": [],
            "Errors": "",
            "HeaderPost": "",
        },
        "Date": _iso(mail.date if mail.date is not None else mail.received),
        "Tags": mail.tags,
        "Username": mail.username,
        "Text": taken_apart.body(taken_apart.text),
        "HTML": taken_apart.body(taken_apart.html),
        "Size": mail.size,
        "Inline": [_part(taken_apart, part) for part in taken_apart.files if part.inline],
        "Attachments": [_part(taken_apart, part) for part in taken_apart.files if not part.inline],
        "Envelope": {"From": mail.sender, "To": mail.recipients},
        "Notes": list(taken_apart.notes),
    }


def _people(mail: Summary) -> dict[str, Any]:
    nobody = {"Name": "", "Address": ""}
    return {**mail.people, "From": (mail.people["From"] or [nobody])[0]}


def _part(mail: Mail, part: Part) -> dict[str, Any]:
    content = mail.content(part)
    return {
        "PartID": part.id,
        "FileName": render.filename(part),
        "ContentType": part.content_type,
        "ContentID": part.content_id,
        "Size": len(content),
        "Checksums": {
            "MD5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
            "SHA1": hashlib.sha1(content, usedforsecurity=False).hexdigest(),
            "SHA256": hashlib.sha256(content).hexdigest(),
        },
    }


def _iso(t: float) -> str:
    """A time as RFC 3339 has it."""
    with contextlib.suppress(ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(t, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return "1970-01-01T00:00:00.000Z"  # a year that no calendar has


def canonical(name: str) -> str:
    """A header's name as Go, and so Mailpit, spells it."""
    return "-".join(word.capitalize() for word in name.split("-")) if _HEADER_NAME.fullmatch(name) else name


def story(told: Story) -> dict[str, Any]:
    """The story for programs."""
    return {
        "IonID": told.ion_id,
        "Document": _document(told.document),
        "Attempts": told.attempts,
        "Copies": told.copies,
        "Steps": [{"At": s.at, "What": s.what, "Detail": s.detail, "Tone": s.tone} for s in told.steps],
        "Ledger": told.ledger,
        "DeadLetters": [letter(each) for each in told.letters],
    }


def letter(it: Letter) -> dict[str, Any]:
    """A dead letter for programs."""
    return {
        "IonID": it.id,
        "Reason": it.reason,
        "Detail": it.detail,
        "FailedAt": it.failed_at,
        "Attributes": dict(it.attributes),
        "Body": it.body,
    }


def _document(body: str) -> Any:
    try:
        return json.loads(body) if body else None
    except (ValueError, RecursionError):
        return body
