"""The index beside a run's Maildir: an SQLite file that is made again from Maildir and history whenever it is missing.

The Maildir is the truth, read and deleted marks (its flags S and T) included: here is nothing that cannot be read
from there, from the history and from the function's log. Events are kept as places in those files, not as copies.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from typing import TYPE_CHECKING, Any

from harness.errors import RunError
from harness.inbox import mime, rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.runs import Run

VERSION = 2  # of the tables below; an index of another is thrown away
MAILS_A_STEP = 100
EVENTS_A_STEP = 2_000
# A directory that changed so short a time ago may change again within the same tick of its clock.
SETTLED_SECONDS = 2.0
MAX_MAIL_BYTES = 64 * 1024 * 1024  # of a larger file, this much is read

_TABLES = """
CREATE TABLE mail (
    number INTEGER PRIMARY KEY, id TEXT UNIQUE, key TEXT UNIQUE, name TEXT, seen INTEGER, trashed INTEGER,
    received REAL, date REAL, size INTEGER, subject TEXT, message_id TEXT, trace TEXT, workload TEXT,
    people TEXT, sender TEXT, recipients TEXT, username TEXT, tags TEXT, attachments INTEGER, inlines INTEGER,
    snippet TEXT, from_words TEXT, to_words TEXT, cc_words TEXT, bcc_words TEXT, reply_to_words TEXT,
    subject_words TEXT, message_id_words TEXT, envelope_words TEXT, tag_words TEXT
);
CREATE INDEX mail_order ON mail (trashed, received DESC, number DESC);
CREATE INDEX mail_tags ON mail (trashed, tags) WHERE tag_words <> '';
CREATE INDEX mail_state ON mail (trashed, seen);
CREATE INDEX mail_trace ON mail (trace);
CREATE INDEX mail_message_id ON mail (message_id);
CREATE INDEX mail_workload ON mail (workload);
CREATE VIRTUAL TABLE words USING fts5 (text, tokenize = 'trigram', detail = none, columnsize = 0);
CREATE TABLE event (
    number INTEGER PRIMARY KEY, source TEXT, start INTEGER, size INTEGER, t REAL, name TEXT,
    workload TEXT, trace TEXT, ion_id TEXT, message_id TEXT, key TEXT, attached INTEGER
);
CREATE INDEX event_workload ON event (workload) WHERE workload <> '';
CREATE INDEX event_trace ON event (trace) WHERE trace <> '';
CREATE INDEX event_message_id ON event (message_id) WHERE message_id <> '';
CREATE INDEX event_name ON event (name, t);
CREATE INDEX event_key ON event (key) WHERE key <> '';
CREATE INDEX event_loose ON event (attached) WHERE attached = 0;
CREATE TABLE read_to (source TEXT PRIMARY KEY, offset INTEGER);
"""


class Index:
    """One run's index, for one thread at a time.

    Attributes:
        db: The database; its tables are above.
        changes: How often this object has changed what it says of mails and events.
    """

    def __init__(self, run: Run) -> None:
        """Open it, or begin a new one.

        Raises:
            RunError: It cannot be written there.
        """
        self._run = run
        self._sources = {"history": run.history, "function": run.function_log}
        self._seen: tuple[int, ...] | None = None
        self._listed: tuple[int, ...] = (0, 0)  # the directories' times when they were listed
        self.changes = 0
        self._waiting: list[str] = []  # names of mails that are not taken in yet
        path = run.directory / "inbox.sqlite"
        try:
            self.db = _opened(path)
        except sqlite3.OperationalError as error:
            raise RunError(f"cannot keep an index of the mail in {path}: {error}") from error
        except sqlite3.DatabaseError:  # not a database, or one that broke
            _discard(path)
            self.db = _opened(path)

    def close(self) -> None:
        """Let go of the file."""
        self.db.close()

    def behind(self) -> bool:
        """Whether Maildir, history or log have changed since they were last read to their end."""
        return self._seen is None or self._stamp() != self._seen

    def step(self) -> bool:
        """Take in some of what is new, in one transaction; says whether there is more."""
        stamp = self._stamp()
        with self.transaction():
            if not self._waiting:
                self._list()
                self._listed = stamp[:2]
            more = self._take_events()
            batch, self._waiting = self._waiting[:MAILS_A_STEP], self._waiting[MAILS_A_STEP:]
            for name in batch:
                self._take_mail(_key(name), name)
            self._attach()
        if more or self._waiting:
            return True
        settled = time.time() - max(self._listed) / 1e9 > SETTLED_SECONDS
        self._seen = (*self._listed, *stamp[2:]) if settled else None
        return False

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Do what follows as a whole, or not at all."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    def _stamp(self) -> tuple[int, ...]:
        directories = [_mtime(self._run.mail / folder) for folder in ("new", "cur")]
        return (*directories, *(_size(path) for path in self._sources.values()))

    def _take_events(self) -> bool:
        more = False
        for source, path in self._sources.items():
            row = self.db.execute("SELECT offset FROM read_to WHERE source = ?", (source,)).fetchone()
            offset = row[0] if row else 0
            if _size(path) < offset:  # another file than it was
                self.db.execute("DELETE FROM event WHERE source = ?", (source,))
                offset = 0
            if _size(path) > offset:
                offset, full = self._take_lines(source, path, offset)
                more |= full
                self.db.execute("REPLACE INTO read_to VALUES (?, ?)", (source, offset))
        return more

    def _take_lines(self, source: str, path: Path, offset: int) -> tuple[int, bool]:
        """Take in events from a place in a file; returns the place reached, and whether more follow."""
        found = []
        count = 0
        with path.open("rb") as file:
            file.seek(offset)
            for line in file:
                if not line.endswith(b"\n") or count == EVENTS_A_STEP:
                    break  # without its end, a line is still being written, or torn for good
                count += 1
                if row := rows.event(source, offset, line):
                    found.append(row)
                offset += len(line)
        self.changes += len(found)
        self.db.executemany(f"INSERT INTO event VALUES (NULL{', ?' * 11})", found)  # noqa: S608 - places only
        return offset, count == EVENTS_A_STEP

    def _list(self) -> None:
        """Compare the directory with the index: forget what is gone, note new flags, queue what is new."""
        listed = set(_listing(self._run.mail))
        known = {name for (name,) in self.db.execute("SELECT name FROM mail")}
        moved = {_key(name): name for name in listed - known}
        for name in known - listed:
            (number,) = self.db.execute("SELECT number FROM mail WHERE name = ?", (name,)).fetchone()
            if new := moved.pop(_key(name), None):
                self.moved(number, new)
            else:
                self.changes += 1
                self.db.execute("DELETE FROM mail WHERE number = ?", (number,))
                self.db.execute("DELETE FROM words WHERE rowid = ?", (number,))
                self.db.execute("UPDATE event SET attached = 0 WHERE key = ?", (_key(name),))
        self._waiting = [moved[key] for key in sorted(moved)]

    def moved(self, number: int, name: str) -> None:
        """Note a mail's new name in the Maildir, and so its marks."""
        self.changes += 1
        values = (name, *rows.marks(name), number)
        self.db.execute("UPDATE mail SET name = ?, seen = ?, trashed = ? WHERE number = ?", values)

    def _take_mail(self, key: str, name: str) -> None:
        path = self._run.mail / name
        try:
            with path.open("rb") as file:
                raw = file.read(MAX_MAIL_BYTES)
            status = path.stat()
        except OSError:  # moved meanwhile: the next listing has it under its new name
            return
        seen, trashed = rows.marks(name)
        row, words = rows.mail(mime.read(raw))
        row |= {"id": rows.mail_id(key), "key": key, "name": name, "seen": seen, "trashed": trashed}
        row |= {"received": rows.received(key, status.st_mtime), "size": status.st_size}
        columns, places = ", ".join(row), ", ".join("?" * len(row))
        # Another process may have taken it in since the directory was listed.
        done = self.db.execute(f"INSERT OR IGNORE INTO mail ({columns}) VALUES ({places})", tuple(row.values()))  # noqa: S608 - names of ours
        if done.rowcount:
            self.changes += 1
            self.db.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (done.lastrowid, words))

    def _attach(self) -> None:
        """Give the mails their envelopes, once both the mail and its transaction are known."""
        found = self.db.execute(
            "SELECT event.number, source, start, event.size, mail.number, people FROM event"
            " JOIN mail ON mail.key = event.key WHERE attached = 0"
        ).fetchall()
        for event, source, start, size, number, people in found:
            said = self.said(source, start, size)
            recipients = said.get("recipients", [])
            named = json.loads(people)
            visible = {each["Address"].lower() for header in ("To", "Cc") for each in named[header]}
            # A recipient that no header names got a blind copy.
            named["Bcc"] = [rows.person("", each) for each in recipients if each.lower() not in visible]
            bcc = rows.folded(" ".join(each["Address"] for each in named["Bcc"]))
            self.db.execute(
                "UPDATE mail SET people = ?, sender = ?, recipients = ?, username = ?, bcc_words = ?,"
                " envelope_words = ? WHERE number = ?",
                (
                    json.dumps(named),
                    said.get("sender", ""),
                    json.dumps(recipients),
                    said.get("user", ""),
                    bcc,
                    rows.folded("\n".join([said.get("sender", ""), *recipients])),
                    number,
                ),
            )
            if bcc:
                self.db.execute("UPDATE words SET text = text || ? WHERE rowid = ?", (f"\n{bcc}", number))
            self.db.execute("UPDATE event SET attached = 1 WHERE number = ?", (event,))

    def said(self, source: str, start: int, size: int) -> dict[str, Any]:
        """An event as it stands in its file; empty if it stands there no more."""
        try:
            with self._sources[source].open("rb") as file:
                file.seek(start)
                found = json.loads(file.read(size))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def _opened(path: Path) -> sqlite3.Connection:
    # Threads take turns at it, under the store's lock.
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = OFF")  # it can be made again
        db.execute("BEGIN IMMEDIATE")  # another process may be opening it, too
        if db.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            for (table,) in db.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ('mail', 'words', 'event', 'read_to')"
            ).fetchall():
                db.execute(f"DROP TABLE {table}")
            for statement in _TABLES.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
    except BaseException:
        db.close()
        raise
    return db


def _discard(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _mtime(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _listing(mail: Path) -> Iterator[str]:
    for folder in ("new", "cur"):
        with contextlib.suppress(OSError):
            for entry in os.scandir(mail / folder):
                # What is no UTF-8 was put there by nobody who keeps to the custom.
                if not entry.name.startswith(".") and rows.storable(entry.name) == entry.name:
                    yield f"{folder}/{entry.name}"


def _key(name: str) -> str:
    return name.partition("/")[2].partition(":2,")[0]
