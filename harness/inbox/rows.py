"""The rows of the index: what it keeps of a mail, and of an event of the history or of the function's log."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from harness.inbox import mime, render

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_INDEXED_CHARACTERS = 64 * 1024  # of a mail's words
SNIPPET_CHARACTERS = 250
_NO_EVENTS = frozenset({"depth", "phase"})
_NANOSECONDS_FROM = 10**15
_PEOPLE = {"From": "From", "To": "To", "Cc": "Cc", "Bcc": "Bcc", "ReplyTo": "Reply-To"}
_COLUMNS = {"From": "from_words", "To": "to_words", "Cc": "cc_words", "Bcc": "bcc_words", "ReplyTo": "reply_to_words"}


def mail_id(key: str) -> str:
    """The id that programs call a mail by: of letters and digits only, whatever its key in the Maildir is."""
    return hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=11).hexdigest()


def trace(ion_id: str) -> str:
    """What ties a Message-ID to ion's id of the mail: the former's local part (ion.message.build)."""
    return hashlib.sha256(ion_id.encode("utf-8", "surrogatepass")).hexdigest()[:40]


def storable(text: str) -> str:
    """Text as SQLite takes it: without halves of surrogate pairs, and without NUL."""
    clean = text if text.isascii() else text.encode("utf-8", "replace").decode()
    return clean.replace("\0", "\ufffd")


def folded(text: str) -> str:
    """Text as it is compared: without regard to case."""
    return storable(text).casefold()


def marks(name: str) -> tuple[bool, bool]:
    """Whether a mail's file name says that it was read, and that it was deleted."""
    flags = name.partition(":2,")[2]
    return "S" in flags, "T" in flags


def received(key: str, mtime: float) -> float:
    """When a mail came: a key begins with the time by custom, in seconds, or in nanoseconds if the sink made it."""
    began = key.partition(".")[0]
    if not began.isascii() or not began.isdigit() or len(began) > len("1700000000000000000"):
        return mtime
    return int(began) / 1e9 if int(began) > _NANOSECONDS_FROM else float(began)


def event(source: str, start: int, line: bytes) -> tuple[Any, ...] | None:
    """The row of an event; None of what is none, or of none that a mail's story needs."""
    try:
        said = json.loads(line)
        if source == "history":
            if said["event"] in _NO_EVENTS:
                return None
            t, name, ion_id = float(said["t"]), str(said["event"]), _ion_id(said)
        else:
            t, name = datetime.fromisoformat(said["timestamp"]).timestamp(), f"function.{said['stage']}"
            ion_id = str(said["id"])  # a line without one is about no mail
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    transaction = name == "smtp.transaction"
    message_id = str(said.get("message_id", "")).strip("<>") if transaction else ""
    key = str(said.get("key", "")) if transaction else ""
    return (
        *(source, start, len(line), t, storable(name), storable(str(said.get("workload", "")))),
        trace(ion_id) if ion_id else _trace_in(message_id),
        *(storable(ion_id), storable(message_id), storable(key), 0 if key else 1),
    )


def _ion_id(said: Mapping[str, Any]) -> str:
    """Which mail of ion's an event of the history is about; empty if it does not say so."""
    match said["event"]:
        case "publish.attempted" if "body" in said:
            document = json.loads(said["body"]) if str(said["body"]).startswith("{") else {}
            return str(document.get("id", "")) if isinstance(document, dict) else ""
        case "ledger":
            return str(said["item"]["id"])
        case "deadletter":
            return str(said["attributes"].get("ion-id", ""))
    return ""


def _trace_in(message_id: str) -> str:
    local = message_id.partition("@")[0]
    return local if re.fullmatch("[0-9a-f]{40}", local) else ""


def mail(it: mime.Mail) -> tuple[dict[str, Any], str]:
    """A mail's row, but for what its file and its envelope know, and its words."""
    people = {name: [person(each.name, each.address) for each in it.people(h)] for name, h in _PEOPLE.items()}
    words = {name: folded(" ".join(f"{p['Name']} {p['Address']}" for p in them)) for name, them in people.items()}
    text, html = it.body(it.text)[:MAX_INDEXED_CHARACTERS], render.words(it.body(it.html))
    body = text or html
    subject, message_id = storable(it.header("Subject")), storable(it.message_id())
    tags = sorted({storable(tag.strip()) for tag in it.header("X-Tags").split(",") if tag.strip()})
    everything = [subject, *words.values(), message_id, *(part.filename for part in it.files), *tags, text, html]
    row = {
        "date": it.date(),
        "subject": subject,
        "message_id": message_id,
        "trace": _trace_in(message_id),
        "workload": storable(it.header("X-Workload-Id")[:200]),
        "people": json.dumps(people),
        "sender": "",
        "recipients": "[]",
        "username": "",
        "tags": json.dumps(tags),
        "attachments": sum(not part.inline for part in it.files),
        "inlines": sum(part.inline for part in it.files),
        "snippet": storable(" ".join(body[: 4 * SNIPPET_CHARACTERS].split())[:SNIPPET_CHARACTERS]),
        **{_COLUMNS[name]: text for name, text in words.items()},
        "subject_words": folded(subject),
        "message_id_words": folded(message_id),
        "envelope_words": "",
        "tag_words": "\n".join(["", *map(folded, tags), ""]) if tags else "",
    }
    return row, folded("\n".join(everything)[:MAX_INDEXED_CHARACTERS])


def person(name: str, address: str) -> dict[str, str]:
    """An address as programs get it."""
    return {"Name": storable(name), "Address": storable(address)}
