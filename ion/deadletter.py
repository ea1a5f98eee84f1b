"""The two forms a mail takes outside the input queue's own: a dead letter, and the message that a redrive makes of it.

Neither changes the body. What ion needs to know travels in message attributes, of which SQS allows ten:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ion.ledger import RESERVED_PREFIX, Entry
from ion.outcome import Kind
from ion.protocols import Message, Outgoing
from ion.queue import MAX_BATCH_BYTES, size

if TYPE_CHECKING:
    from collections.abc import Mapping

ID = "ion-id"
REDRIVES = "ion-redrives"
REASON = "failure-reason"
DETAIL = "failure-detail"
FAILED_RECIPIENTS = "failed-recipients"
ATTEMPTS = "attempts"
FIRST_SEEN = "first-seen"
FAILED_AT = "failed-at"

MAX_ID_LENGTH = 256
MAX_DETAIL_BYTES = 1024
MAX_RECIPIENTS_BYTES = 8192  # the ledger names them all


def identity(message: Message, published_id: str | None) -> str:
    """A mail's id: the one ion gave it when it re-queued it, else the publisher's, else SQS's MessageId."""
    given = message.attributes.get(ID, "")
    if given and len(given) <= MAX_ID_LENGTH and not given.startswith(RESERVED_PREFIX):
        return given
    return published_id or message.message_id


def redrives(attributes: Mapping[str, str]) -> int:
    """How many redrives a message or dead letter comes from; 0 where it does not say so in digits."""
    told = attributes.get(REDRIVES, "0")
    return int(told) if told.isascii() and told.isdigit() and len(told) < len("1000000") else 0


def dead_letter(message: Message, entry: Entry) -> Outgoing:
    """The dead letter of a mail that has failed; it says why."""
    failed = ", ".join(a for a, o in entry.recipients.items() if o.kind is not Kind.DELIVERED)
    attributes = {
        ID: entry.id,
        REASON: entry.reason,
        REDRIVES: str(entry.generation),
        ATTEMPTS: str(entry.attempts),
        FIRST_SEEN: iso(entry.created),
        FAILED_AT: iso(entry.updated),
        DETAIL: _cut(entry.detail, MAX_DETAIL_BYTES),
        FAILED_RECIPIENTS: _cut(failed, MAX_RECIPIENTS_BYTES),
    }
    attributes = {name: value for name, value in attributes.items() if value}
    # A body that fills SQS's limit leaves no room for all of them: the ledger keeps what is dropped here.
    for name in (FAILED_RECIPIENTS, DETAIL, FIRST_SEEN, ATTEMPTS, FAILED_AT):
        if size(letter := Outgoing(body=message.body, attributes=attributes)) <= MAX_BATCH_BYTES:
            return letter
        attributes.pop(name, None)
    return Outgoing(body=message.body, attributes=attributes)


def brief(letter: Outgoing) -> Outgoing:
    """A dead letter with no more than its id, its reason and its redrives, for a queue that takes no larger one."""
    kept = {name: letter.attributes[name] for name in (ID, REASON, REDRIVES) if name in letter.attributes}
    return Outgoing(body=letter.body, attributes=kept)


def revived(letter: Message, id_: str) -> Outgoing:
    """The message that brings a dead letter back to the input queue."""
    return Outgoing(body=letter.body, attributes={ID: id_, REDRIVES: str(redrives(letter.attributes) + 1)})


def failed_at(letter: Message) -> float:
    """When a mail was dead-lettered, in Unix seconds; of a letter that ion did not write, when it was published."""
    try:
        return datetime.fromisoformat(letter.attributes[FAILED_AT]).timestamp()
    except (KeyError, ValueError):
        return letter.sent_at


def iso(time: float) -> str:
    """A Unix time as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds")


def _cut(text: str, limit: int) -> str:
    """Text that SQS takes as an attribute: of its characters, and of at most `limit` bytes of UTF-8."""
    allowed = "".join(
        c if c in "\t\n\r" or (c >= " " and not "\ud800" <= c <= "\udfff" and c < "\ufffe") else "?" for c in text
    )
    raw = allowed.encode()
    return allowed if len(raw) <= limit else raw[: limit - 3].decode(errors="ignore") + "..."
