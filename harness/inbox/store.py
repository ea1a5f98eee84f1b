"""A run's captured mail: what there is, what a search finds, and marking it read or deleted."""

# ruff: noqa: S608 - SQL is put together from this package's own texts; what a user typed goes into its places.

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from harness import maildir
from harness.errors import RunError
from harness.inbox import mime
from harness.inbox.index import MAX_MAIL_BYTES, Index
from harness.inbox.rows import trace
from harness.inbox.search import EVERYTHING, Condition

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from harness.history import Event
    from harness.runs import Run

LATEST = "latest"
_COLUMNS = (
    "number, id, key, name, seen, received, date, size, subject, message_id, trace, workload, people, sender,"
    " recipients, username, tags, attachments, inlines, snippet"
)
_VISIBLE = "trashed = 0"
_ORDER = "ORDER BY received DESC, number DESC"


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """A mail, as a list shows it.

    Attributes:
        number: Its place in the index.
        id: What programs call it by.
        key: Its key in the Maildir.
        name: Its file there, in `new` or `cur`.
        seen: Whether it was read.
        received: When it came, Unix seconds.
        date: The time that its header gives; None without one.
        size: In bytes.
        subject: Decoded.
        message_id: Without angle brackets.
        trace: What ties it to ion's id (`rows.trace`); empty where ion did not write it.
        workload: Its X-Workload-Id.
        people: The addresses in From, To, Cc, Bcc and ReplyTo, as objects with Name and Address. Bcc are the recipients
            that no header names.
        sender: The envelope sender.
        recipients: The envelope recipients.
        username: The login of the SMTP session.
        tags: From its X-Tags header.
        attachments: How many.
        inlines: How many files its body shows.
        snippet: How its text begins.
    """

    number: int
    id: str
    key: str
    name: str
    seen: bool
    received: float
    date: float | None
    size: int
    subject: str
    message_id: str
    trace: str
    workload: str
    people: dict[str, list[dict[str, str]]]
    sender: str
    recipients: list[str]
    username: str
    tags: list[str]
    attachments: int
    inlines: int
    snippet: str

    @classmethod
    def of(cls, row: sqlite3.Row) -> Self:
        """From its row."""
        values = dict(zip(_COLUMNS.split(", "), row, strict=True))
        parsed = {name: json.loads(values[name]) for name in ("people", "recipients", "tags")}
        return cls(**{**values, **parsed, "seen": bool(values["seen"])})


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """How many mails there are."""

    total: int
    unread: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A page of what a search found.

    Attributes:
        mails: The page, the newest first.
        counts: All that it found.
    """

    mails: list[Summary]
    counts: Counts


class Store:
    """One run's mail; any thread may use it."""

    def __init__(self, run: Run) -> None:
        """Open it; the index is brought up to date by `refresh`.

        Raises:
            RunError: The index cannot be written.
        """
        self.run = run
        self._index = Index(run)
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the index."""
        with self._lock:
            self._index.close()

    def refresh(self, *, seconds: float | None = None, progress: Callable[[int], None] | None = None) -> bool:
        """Take in what is new; others may read in between.

        Args:
            seconds: Stop about then, although there is more; None to go on to the end.
            progress: Called now and then with the number of mails so far.

        Returns:
            Whether that was all.
        """
        began = time.monotonic()
        while True:
            with self._lock:
                if not self._index.behind() or not self._index.step():
                    return True
            if progress is not None:
                progress(self.counts().total)
            if seconds is not None and time.monotonic() - began > seconds:
                return False

    def version(self) -> int:
        """A number that is another one after each change, whichever process made it."""
        with self._lock:
            # Changes by this connection and by others: https://www.sqlite.org/pragma.html#pragma_data_version
            others = self._index.db.execute("PRAGMA data_version").fetchone()[0]
            return self._index.changes + int(others) * 2**40

    def counts(self, condition: Condition = EVERYTHING) -> Counts:
        """How many mails fit."""
        row = self._rows(
            f"SELECT count(*), coalesce(sum(NOT seen), 0) FROM mail WHERE {_VISIBLE} AND {condition.sql}",
            condition.values,
        )[0]
        return Counts(total=row[0], unread=row[1])

    def find(
        self, condition: Condition = EVERYTHING, *, start: int = 0, limit: int = 50, before: float | None = None
    ) -> Found:
        """A page of the mails that fit, the newest first; with `before`, only those that came before that time."""
        if before is not None:
            condition = Condition(sql=f"{condition.sql} AND received < ?", values=(*condition.values, before))
        rows = self._rows(
            f"SELECT {_COLUMNS} FROM mail WHERE {_VISIBLE} AND {condition.sql} {_ORDER} LIMIT ? OFFSET ?",
            (*condition.values, limit, start),
        )
        return Found(mails=[Summary.of(row) for row in rows], counts=self.counts(condition))

    def get(self, mail_id: str, condition: Condition = EVERYTHING) -> Summary | None:
        """The mail of that id, or of that id in ion; `latest` is the newest that fits the condition."""
        if mail_id == LATEST:
            return next(iter(self.find(condition, limit=1).mails), None)
        for column, value in (("id", mail_id), ("trace", trace(mail_id))):
            # The plus keeps SQLite from going through all mails in their order (https://www.sqlite.org/optoverview.html).
            sql = f"SELECT {_COLUMNS} FROM mail WHERE {column} = ? AND +{_VISIBLE} {_ORDER} LIMIT 1"
            if rows := self._rows(sql, (value,)):
                return Summary.of(rows[0])
        return None

    def get_by_beginning(self, beginning: str) -> Summary | None:
        """The mail whose id begins so; None where there is none, or more than one."""
        sql = f"SELECT {_COLUMNS} FROM mail WHERE {_VISIBLE} AND substr(id, 1, ?) = ? LIMIT 2"
        rows = self._rows(sql, (len(beginning), beginning)) if beginning else []
        return Summary.of(rows[0]) if len(rows) == 1 else None

    def neighbours(self, mail: Summary, condition: Condition = EVERYTHING) -> tuple[str, str]:
        """The ids of the next newer and the next older mail that fit; empty where there is none."""
        found = []
        for sign, order in ((">", "ASC"), ("<", "DESC")):
            rows = self._rows(
                f"SELECT id FROM mail WHERE {_VISIBLE} AND {condition.sql} AND (received, number) {sign} (?, ?)"
                f" ORDER BY received {order}, number {order} LIMIT 1",
                (*condition.values, mail.received, mail.number),
            )
            found.append(rows[0][0] if rows else "")
        return found[0], found[1]

    def path(self, mail: Summary) -> Path:
        """Its file, wherever a mail reader has moved it.

        Raises:
            RunError: It is gone.
        """
        path = self.run.mail / mail.name
        return path if path.is_file() else maildir.find(self.run.mail, mail.key)

    def raw(self, mail: Summary) -> bytes:
        """Its bytes.

        Raises:
            RunError: It is gone, or cannot be read.
        """
        path = self.path(mail)
        try:
            with path.open("rb") as file:
                return file.read(MAX_MAIL_BYTES)
        except OSError as error:
            raise RunError(f"cannot read {path}: {error.strerror}") from error

    def read(self, mail: Summary) -> mime.Mail:
        """The mail, taken apart.

        Raises:
            RunError: It is gone, or cannot be read.
        """
        return mime.read(self.raw(mail))

    def mark(self, mails: Iterable[Summary], *, seen: bool | None = None, trashed: bool | None = None) -> None:
        """Set or clear the marks `seen` and `trashed`, as flags in the Maildir; None leaves one as it is.

        A trashed mail is found no more; its file stays, as evidence, until the run's directory is removed.
        """
        with self._lock, self._index.transaction():
            for mail in mails:
                with contextlib.suppress(RunError):  # gone meanwhile
                    self._index.moved(mail.number, maildir.flag(self.run.mail, mail.key, S=seen, T=trashed))

    def all(self, condition: Condition = EVERYTHING) -> list[Summary]:
        """All mails that fit, the newest first."""
        return self.find(condition, limit=-1).mails

    def several(self, ids: Sequence[str]) -> list[Summary]:
        """The mails of those ids, in that order; ids that there are not are left out."""
        return [mail for each in dict.fromkeys(ids) if (mail := self.get(each)) is not None]

    def tags(self) -> list[str]:
        """All tags that a mail has."""
        rows = self._rows(f"SELECT DISTINCT tags FROM mail WHERE {_VISIBLE} AND tag_words <> ''", ())
        return sorted({tag for (tags,) in rows for tag in json.loads(tags)})

    def events(
        self, sql: str, values: Sequence[object] = (), *, limit: int = 1_000, start: int = 0, newest: bool = False
    ) -> list[Event]:
        """The events for which an expression over the table `event` holds, in order of time."""
        rows = self._rows(
            f"SELECT source, start, size, name, t FROM event WHERE {sql}"
            f" ORDER BY t {'DESC' if newest else 'ASC'}, number {'DESC' if newest else 'ASC'} LIMIT ? OFFSET ?",
            (*values, limit, start),
        )
        said = [(self._index.said(*row[:3]), row[3], row[4]) for row in rows]
        return [{**event, "event": name, "t": t} for event, name, t in said if event]

    def count_events(self, sql: str, values: Sequence[object] = ()) -> int:
        """How many events there are for which an expression holds."""
        return int(self._rows(f"SELECT count(*) FROM event WHERE {sql}", values)[0][0])

    def ion_id(self, trace_: str) -> str:
        """The id that ion has for the mails with that trace; empty where no event gives it."""
        rows = self._rows(
            "SELECT ion_id FROM event WHERE trace = ? AND trace <> '' AND ion_id <> '' LIMIT 1", (trace_,)
        )
        return str(rows[0][0]) if rows else ""

    def _rows(self, sql: str, values: Sequence[object]) -> list[Any]:
        with self._lock:
            return self._index.db.execute(sql, tuple(values)).fetchall()
