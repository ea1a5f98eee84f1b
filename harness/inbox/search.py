"""Mailpit's search: words and `field:value` terms, all of which must hold; quotes hold words together, - or ! negates.

https://mailpit.axllent.org/docs/usage/search-filters/ describes it. Two fields are ours: `sender:` and `rcpt:` look at
the envelope. A term that is wrong is an error here, and not ignored: a search may be what is to be deleted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from harness.inbox.rows import folded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

FIELDS = {
    "to": ("to_words",),
    "from": ("from_words",),
    "cc": ("cc_words",),
    "bcc": ("bcc_words",),
    "reply-to": ("reply_to_words",),
    "addressed": ("from_words", "to_words", "cc_words", "bcc_words", "reply_to_words"),
    "subject": ("subject_words",),
    "message-id": ("message_id_words",),
    "sender": ("envelope_words",),
    "rcpt": ("envelope_words",),
}
STATES = {
    "is:read": "seen = 1",
    "is:unread": "seen = 0",
    "is:tagged": "tag_words <> ''",
    "has:attachment": "attachments > 0",
    "has:attachments": "attachments > 0",
    "has:inline": "inlines > 0",
    "has:inlines": "inlines > 0",
}
INDEXED_FROM = 3  # characters; a shorter word is in no trigram
MAX_TERMS = 50
MAX_QUERY_CHARACTERS = 2_000
_UNITS = {"": 1, "k": 1024, "kb": 1024, "m": 1024**2, "mb": 1024**2}
_SIZE = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s?([a-z]{0,2})")


class SearchError(ValueError):
    """A search that cannot be understood; the message names the term."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """What a search comes to in SQL.

    Attributes:
        sql: An expression over the table `mail`.
        values: What goes into its places.
    """

    sql: str
    values: tuple[object, ...] = ()


EVERYTHING = Condition(sql="1")
NOTHING = Condition(sql="0")


def parse(query: str, *, timezone: str = "") -> Condition:
    """Read a search; an empty one finds everything.

    Args:
        query: As it was typed.
        timezone: What times without an offset are in, as an IANA name; empty for this machine's.

    Raises:
        SearchError: It cannot be understood.
    """
    if len(query) > MAX_QUERY_CHARACTERS:
        raise SearchError(f"a search may have {MAX_QUERY_CHARACTERS:,} characters; this one has {len(query):,}")
    words = list(_words(query))
    if len(words) > MAX_TERMS:
        raise SearchError(f"a search may have {MAX_TERMS} terms; this one has {len(words)}")
    zone = _zone(timezone)
    found = [_term(word, zone) for word in words]
    conditions = [condition for condition in found if condition is not None]
    if not conditions:
        return EVERYTHING
    return Condition(
        sql=" AND ".join(condition.sql for condition in conditions),
        values=tuple(value for condition in conditions for value in condition.values),
    )


def _words(query: str) -> Iterator[str]:
    """The terms: apart by spaces, but not within quotes, which then are left out."""
    for word in re.findall(r'(?:"[^"]*(?:"|$)|[^\s"])+', query):
        bare = word.replace('"', "").strip()
        if bare:
            yield bare


def _term(word: str, zone: tzinfo | None) -> Condition | None:
    """One term; None where it says nothing, as `to:` does while it is being typed."""
    negated = len(word) > 1 and word[0] in "-!"
    found = _plain(word[1:] if negated else word, zone)
    if found is None or not negated:
        return found
    return Condition(sql=f"NOT ({found.sql})", values=found.values)


def _plain(word: str, zone: tzinfo | None) -> Condition | None:
    name, colon, value = word.partition(":")
    name, value = name.lower(), value.strip()
    if word.lower() in STATES:
        return Condition(sql=STATES[word.lower()])
    if not colon or name not in {*FIELDS, "tag", "before", "after", "larger", "smaller"}:
        return _anywhere(folded(word))
    if not value:
        return None
    values: tuple[object, ...]
    match name:
        case "tag":
            sql, values = "instr(tag_words, ?) > 0", (f"\n{folded(value)}\n",)
        case "before" | "after":
            sql, values = f"received {'<=' if name == 'before' else '>='} ?", (_time(value, zone, word),)
        case "larger" | "smaller":
            sql, values = f"size {'>' if name == 'larger' else '<'} ?", (_size(value, word),)
        case _:
            sql = " OR ".join(f"instr({column}, ?) > 0" for column in FIELDS[name])
            values = (folded(value),) * len(FIELDS[name])
    return Condition(sql=f"({sql})", values=values)


def _anywhere(needle: str) -> Condition:
    if len(needle) < INDEXED_FROM:
        return Condition(sql="number IN (SELECT rowid FROM words WHERE instr(text, ?) > 0)", values=(needle,))
    # LIKE is what the trigrams serve; it takes % and _ for more than they are, and instr sets that right.
    return Condition(
        sql="number IN (SELECT rowid FROM words WHERE text LIKE ? AND instr(text, ?) > 0)",
        values=(f"%{needle}%", needle),
    )


def _zone(name: str) -> tzinfo | None:
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:  # not found; a path; a directory
        raise SearchError(f"{name[:80]!r} is no time zone; one such as Europe/Berlin is needed") from error


def _time(value: str, zone: tzinfo | None, word: str) -> float:
    """Unix seconds of a date or time; one without an offset is in the zone, else in this machine's."""
    try:
        time = datetime.fromisoformat(value.upper())
        return (time if time.tzinfo else time.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError, OSError):
        raise SearchError(f"{word!r}: a date such as 2026-01-31 or 2026-01-31T12:00+01:00 is needed") from None


def _size(value: str, word: str) -> float:
    match = _SIZE.fullmatch(value.lower())
    if match is None or match[2] not in _UNITS:
        raise SearchError(f"{word!r}: a size in bytes such as 2000, 20k or 1.5M is needed")
    return float(match[1]) * _UNITS[match[2]]
