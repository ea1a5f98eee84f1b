"""Mails to publish: documents of mixed shape that keep the contract, the same ones for the same seed.

Each carries a header X-Workload-Id, by which an arrived mail is known again whatever ion does to it.
"""

from __future__ import annotations

import base64
import itertools
import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKLOAD_HEADER = "X-Workload-Id"

_PEOPLE = (
    "",
    "Ann Archer",
    "Zoë Ångström",
    "李小龍",
    "Παναγιώτης Παπαδόπουλος",
    "محمد علي",
    '"O\'Neil, Peg (Sales)"',
    "Jean-François de la Très-Longue-Particule et de Saint-Exupéry",
)
_DOMAINS = ("example.com", "example.org", "mail.example.net", "bücher.example")
_SUBJECTS = (
    "Your order {n}",
    "Grüße aus Köln, Nr. {n}",
    "Счёт № {n} готов",
    "ご注文 {n} の確認",
    "🚀 Launch {n} 🎉",
    "Re: [ticket-{n}] =?not an encoded word?=",
    "A subject that is a good deal longer than the seventy-eight characters of one line, as number {n} of its kind is",
    "",
)
_SENTENCES = (
    "The quick brown fox jumps over the lazy dog.",
    ".a line that begins with a dot",
    "From the beginning of a line, which some mailboxes quote.",
    "Käse, Œuvre, smørrebrød, żółć.",
    "日本語の本文です。",
    "🧀" * 12,
    "a line without a single space " * 40,
    "trailing blanks  ",
    "",
    "\ttab and = equals and %s percent and {braces}",
)
_FILES = (
    ("invoice.pdf", "application/pdf"),
    ("Übersicht 2026.csv", "text/csv; charset=utf-8"),
    ("写真.png", "image/png"),
    ("archive.tar.gz", "application/gzip"),
    ("a name that goes on and on until no single line of a header can hold it any more, at all.bin", None),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mail:
    """One document to publish.

    Attributes:
        workload: Its X-Workload-Id.
        body: The document, as it is published.
    """

    workload: str
    body: str


def generate(count: int, *, seed: int, run: str, largest_file: int = 20_000) -> Iterator[Mail]:
    """The first `count` mails of a seed.

    Args:
        count: How many.
        seed: The same one gives the same mails.
        run: What the ids begin with; one run's mails and ids must not meet another's in a ledger that outlives both.
        largest_file: The size in bytes that no attachment exceeds.
    """
    for number in itertools.count():
        if number >= count:
            return
        # A generator of its own for each: the mails of a seed do not depend on how many there are.
        dice = random.Random(f"{seed}/{number}")  # noqa: S311 - repeatable is what it must be
        workload = f"{run}-{number:06d}"
        yield Mail(workload=workload, body=json.dumps(_document(dice, workload, number, largest_file)))


def _document(dice: random.Random, workload: str, number: int, largest_file: int) -> dict[str, Any]:
    def now_and_then(share: float) -> bool:
        return dice.random() < share

    to = _people(dice, dice.choice((1, 1, 1, 1, 2, 3, 8)))
    document: dict[str, Any] = {
        "action": "send",
        "recipient": to[0] if len(to) == 1 and now_and_then(0.8) else to,
        "subject": dice.choice(_SUBJECTS).format(n=number),
        "headers": {WORKLOAD_HEADER: workload},
    }
    shape = dice.choice(("text", "html", "both", "both"))
    if shape != "html":
        document["body_text"] = _text(dice)
    if shape != "text":
        document["body_html"] = f"<!doctype html>\n<p>{_text(dice)}</p>\n"
    for field, share in (("cc", 0.15), ("bcc", 0.15), ("reply_to", 0.1)):
        if now_and_then(share):
            document[field] = _people(dice, dice.randint(1, 2))
    if now_and_then(0.1):
        document["sender"] = _person(dice)
    if now_and_then(0.2):
        document["headers"] |= {"X-Campaign": dice.choice(("spring", "Frühling", "w" * 120)), "List-Id": "<a.example>"}
    if now_and_then(1 / 3):
        document["id"] = f"order/{workload}"
    if now_and_then(0.3):
        document["tags"] = {"kind": dice.choice(("receipt", "newsletter", "alert"))}
    return document | _attachments(dice, document, largest_file)


def _attachments(dice: random.Random, document: dict[str, Any], largest_file: int) -> dict[str, Any]:
    """The files of a document; one that has an HTML body may show one of them in it."""
    files = [_file(dice, largest_file) for _ in range(dice.choice((0, 0, 0, 0, 0, 0, 1, 1, 3)))]
    if files and "body_html" in document:
        files[0] |= {"content_id": "logo.1@example.com", "content_type": "image/png"}
        document["body_html"] += '<img src="cid:logo.1@example.com">'
    return {"attachments": files} if files else {}


def _people(dice: random.Random, count: int) -> list[str]:
    return [_person(dice) for _ in range(count)]


def _person(dice: random.Random) -> str:
    """An address that no other person has: one mailbox twice in a mail would be one recipient."""
    local = f"{dice.choice(('ann', 'ann', 'ann', 'bob+news', 'bob', 'c.d', 'c.d', 'jörg'))}.{dice.getrandbits(40):x}"
    address = f"{local}@{dice.choice(_DOMAINS)}"
    name = dice.choice(_PEOPLE)
    return f"{name} <{address}>" if name else address


def _text(dice: random.Random) -> str:
    end = dice.choice(("\n", "\n", "\r\n"))
    return end.join(dice.choice(_SENTENCES) for _ in range(dice.randint(1, 12))) + dice.choice(("", end))


def _file(dice: random.Random, largest: int) -> dict[str, str]:
    name, content_type = dice.choice(_FILES)
    # Mostly small: what a run spends its time on should be mails, not base64.
    size = dice.choice((0, 1, 100, 1_000, 1_000, 4_000, largest))
    if content_type and content_type.startswith("text/"):
        content = "".join(f"{line};Zeile {line};é\r\n" for line in range(min(size, largest) // 20)).encode()
    else:
        content = dice.randbytes(min(size, largest))
    file = {"filename": name, "content_base64": base64.b64encode(content).decode()}
    return file | ({"content_type": content_type} if content_type else {})
