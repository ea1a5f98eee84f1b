"""The inbox in the terminal, as `python -m harness inbox` prints it. No mail can speak to the terminal itself."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
import unicodedata
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size

from harness import content
from harness.errors import UsageError
from harness.inbox import render, search, shapes, story
from harness.inbox.web import clock, human_size, moment, people

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from io import BufferedWriter

    from harness.inbox.store import Store, Summary

DONE, NOT_SO = 0, 1
SHORT_ID = 8  # characters of an id in a list; any beginning that only one mail has will do
POLL_SECONDS = 0.2
PROGRESS_SECONDS = 1.0
# They turn text around (Unicode Standard Annex 9), so that it reads as what it is not.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")


def actions() -> dict[str, Callable[[Store, argparse.Namespace], int]]:
    """What there is to do, by name."""
    return {
        "list": listing,
        "search": listing,
        "show": show,
        "raw": raw,
        "attachments": attachments,
        "diff": diff,
        "duplicates": duplicates,
        "wait": wait,
    }


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("--run", default="latest", metavar="RUN", help="directory, scenario, scenario/time or latest")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs; may follow the action, too")
    does = parser.add_subparsers(dest="action", metavar="action", parser_class=type(parser))
    one = does.add_parser("list", help="list the mails, the newest first (what it does without an action)")
    _limit(one)
    one = does.add_parser("search", help="list what a search finds, in Mailpit's syntax; quote it")
    one.add_argument("query", nargs="+", help="words, to: from: subject: rcpt: has:attachment is:unread before: ...")
    _limit(one)
    for name, text in (
        ("show", "a mail: envelope, headers, text, attachments, and its story"),
        ("raw", "a mail's exact bytes"),
        ("attachments", "list a mail's attachments; save them with --save"),
    ):
        one = does.add_parser(name, help=text)
        one.add_argument("id", nargs="?", default="latest", help="the beginning of its id, or latest (the default)")
        if name == "attachments":
            one.add_argument("--save", type=Path, metavar="DIRECTORY", help="save them there; nothing is overwritten")
    one = does.add_parser("diff", help="compare what arrived with what was published; exit code 1 if it differs")
    one.add_argument("id", nargs="?", default="", help="one mail; without it, all")
    does.add_parser("duplicates", help="mails that reached a recipient twice; exit code 1 if there are any")
    one = does.add_parser("wait", help="wait for mails; exit code 1 if they do not come in time")
    one.add_argument("--count", type=_whole, default=1, metavar="N", help="how many (default: 1)")
    one.add_argument("--to", default="", metavar="ADDRESS", help="an envelope recipient")
    one.add_argument("--search", default="", metavar="QUERY", help="what the mails must fit besides")
    one.add_argument("--timeout", type=float, default=30.0, metavar="S", help="seconds to wait (default: 30)")
    for one in does.choices.values():
        one.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def _limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=_whole, default=50, metavar="N", help="show at most so many (default: 50)")


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(text[:9])


def run(store: Store, args: argparse.Namespace) -> int:
    """Do what the arguments say; returns the exit code.

    Raises:
        UsageError: They name a mail that there is not, or a search that makes no sense.
    """
    _take_in(store)
    args = _with_defaults(args)
    try:
        return actions()[args.action](store, args)
    except search.SearchError as error:
        raise UsageError(str(error)) from error


def _with_defaults(args: argparse.Namespace) -> argparse.Namespace:
    if args.action is None:
        args.action, args.limit = "list", 50
    return args


def listing(store: Store, args: argparse.Namespace) -> int:
    """A line a mail."""
    found = store.find(search.parse(" ".join(getattr(args, "query", []))), limit=args.limit)
    if args.json:
        _print_json({"total": found.counts.total, "messages": [shapes.summary(mail) for mail in found.mails]})
        return DONE
    _lines(found.mails)
    more = found.counts.total - len(found.mails)
    if more > 0:
        print(f"and {more:,} more; --limit shows them")
    if not found.counts.total:
        print("no mail" if args.action == "list" else "nothing fits")
    return DONE


def show(store: Store, args: argparse.Namespace) -> int:
    """One mail for people."""
    mail = _mail(store, args.id)
    taken_apart, told = store.read(mail), story.tell(store, mail, None)
    if args.json:
        _print_json({**shapes.message(mail, taken_apart), "Story": shapes.story(told)})
        return DONE
    head = [
        *(("Id", mail.id), ("Arrived", f"{moment(mail.received)}, {human_size(mail.size)}")),
        ("Envelope", f"{mail.sender or 'unknown'} -> {', '.join(mail.recipients) or 'unknown'}"),
        *(
            (name, ", ".join(map(_person, mail.people[name.replace("-", "")])))
            for name in ("From", "To", "Cc", "Bcc", "Reply-To")
        ),
        *(("Subject", mail.subject), ("Message-ID", taken_apart.header("Message-ID"))),
        ("ion id", told.ion_id),
        ("Files", ", ".join(f"{render.filename(part)} ({part.id})" for part in taken_apart.files)),
        *(("Note", note) for note in taken_apart.notes),
    ]
    for name, value in head:
        if value:
            print(f"{name + ':':12} {printable(value)}")
    print()
    text = taken_apart.body(taken_apart.text) or render.words(taken_apart.body(taken_apart.html))
    print(printable(text, lines=True).rstrip("\n"))
    print()
    for step in told.steps:
        print(f"{moment(step.at)[11:23]}  {printable(step.what)}{': ' if step.detail else ''}{printable(step.detail)}")
    return DONE


def raw(store: Store, args: argparse.Namespace) -> int:
    """A mail's bytes as they are; for a terminal, without what would steer it."""
    octets = store.raw(_mail(store, args.id))
    if args.json:
        _print_json({"Raw": octets.decode("utf-8", "surrogateescape")})
    elif sys.stdout.isatty():
        print(printable(octets.decode("utf-8", "replace").replace("\r\n", "\n"), lines=True))
    else:
        sys.stdout.buffer.write(octets)
        sys.stdout.buffer.flush()
    return DONE


def attachments(store: Store, args: argparse.Namespace) -> int:
    """A mail's files: a line each, or saved."""
    mail = store.read(_mail(store, args.id))
    found = []
    for part in mail.files:
        octets = mail.content(part)
        name = render.filename(part)
        entry: dict[str, Any] = {"PartID": part.id, "FileName": name, "ContentType": part.content_type}
        entry |= {"Size": len(octets), "ContentID": part.content_id, "Inline": part.inline}
        if args.save is not None:
            entry["Saved"] = str(_save(args.save, name, octets))
        found.append(entry)
    if args.json:
        _print_json(found)
        return DONE
    for entry in found:
        saved = f" -> {entry['Saved']}" if "Saved" in entry else ""
        print(
            f"{entry['PartID']:8} {human_size(entry['Size']):>9}  {entry['ContentType']:28} {entry['FileName']}{saved}"
        )
    if not found:
        print("no attachments")
    return DONE


def _save(directory: Path, name: str, octets: bytes) -> Path:
    """Write a file under its name, or a number more where that is taken."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _new(directory, name) as file:
            file.write(octets)
    except OSError as error:
        raise UsageError(f"cannot save {directory / name}: {error.strerror}") from error
    return Path(file.name)


def _new(directory: Path, name: str) -> BufferedWriter:
    """A file that was not there: what another program makes in the same moment is not overwritten."""
    stem, dot, suffix = name.rpartition(".")
    path, number = directory / name, 1
    while True:
        try:
            return path.open("xb")
        except FileExistsError:
            number += 1
            path = directory / (f"{stem}-{number}.{suffix}" if dot else f"{name}-{number}")


def diff(store: Store, args: argparse.Namespace) -> int:
    """What arrived against what was published."""
    mails = [_mail(store, args.id)] if args.id else store.all()
    started = store.events("name = 'run.started'")
    default_sender = str(started[0].get("default_sender", "")) if started else ""
    compared, found = 0, []
    for mail in mails:
        body = story.tell(store, mail, None).document
        try:
            document = json.loads(body)
            lines = content.differences(document, store.raw(mail), default_sender=default_sender or mail.sender)
            leaked = content.leaks(document, store.raw(mail))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            continue  # nobody knows what was published
        compared += 1
        lines += [f"bcc: {address} can be read in the header" for address in leaked]
        if lines:
            found.append((mail, lines))
    if args.json:
        _print_json({"Compared": compared, "Mails": len(mails), "Differing": {mail.id: lines for mail, lines in found}})
    else:
        for mail, lines in found:
            _lines([mail])
            for line in lines:
                print(f"    {printable(line)}")
        unknown = f"; what the other {len(mails) - compared} were published as is not known" * (compared < len(mails))
        print(f"{compared} of {len(mails)} compared, {len(found)} differ{unknown}")
    return NOT_SO if found else DONE


def duplicates(store: Store, args: argparse.Namespace) -> int:
    """Mails of one Message-ID that one recipient got twice."""
    groups: dict[tuple[str, str], list[Summary]] = defaultdict(list)
    for mail in store.all():
        for recipient in mail.recipients:
            groups[mail.message_id, recipient].append(mail)
    twice = {key: mails for key, mails in groups.items() if key[0] and len(mails) > 1}
    if args.json:
        _print_json(
            [
                {"MessageID": message_id, "Recipient": recipient, "IDs": [mail.id for mail in mails]}
                for (message_id, recipient), mails in twice.items()
            ]
        )
    else:
        for (message_id, recipient), mails in twice.items():
            print(f"{printable(recipient)} got {len(mails)} of <{printable(message_id)}>:")
            _lines(mails)
        print(f"{len(twice)} duplicates" if twice else "no duplicates")
    return NOT_SO if twice else DONE


def wait(store: Store, args: argparse.Namespace) -> int:
    """Until so many mails are there."""
    condition = search.parse(args.search)
    deadline = time.monotonic() + args.timeout
    while True:
        store.refresh()
        mails = [mail for mail in store.all(condition) if not args.to or args.to in mail.recipients]
        enough = len(mails) >= args.count
        if enough or time.monotonic() >= deadline:
            break
        time.sleep(POLL_SECONDS)
    if args.json:
        _print_json({"Enough": enough, "messages": [shapes.summary(mail) for mail in mails]})
    else:
        _lines(mails)
        if not enough:
            print(f"{len(mails)} of {args.count} came within {args.timeout:g} s", file=sys.stderr)
    return DONE if enough else NOT_SO


def printable(text: str, *, lines: bool = False) -> str:
    """Text that a terminal shows and does not obey."""
    kept = "\n\t" if lines else ""

    def harmless(character: str) -> bool:
        return character in kept or (unicodedata.category(character) not in {"Cc", "Cs"} and character not in _TURNING)

    return "".join(character if harmless(character) else "\ufffd" for character in text)


def _take_in(store: Store) -> None:
    """Bring the index up to date; where that takes long, say how far it is."""
    told = time.monotonic()

    def progress(count: int) -> None:
        nonlocal told
        if time.monotonic() - told > PROGRESS_SECONDS:
            told = time.monotonic()
            print(f"reading the mail: {count:,} so far", file=sys.stderr)

    store.refresh(progress=progress)


def _mail(store: Store, wanted: str) -> Summary:
    found = store.get(wanted) or store.get_by_beginning(wanted)
    if found is None and not store.counts().total:
        raise UsageError(f"{store.run.directory} has no mail")
    if found is None:
        raise UsageError(f"no mail {wanted!r} in {store.run.directory}, or several; `inbox list` has the ids")
    return found


def _person(person: Mapping[str, str]) -> str:
    return f"{person['Name']} <{person['Address']}>" if person["Name"] else person["Address"]


def _lines(mails: Iterable[Summary]) -> None:
    width = max(60, shutil.get_terminal_size((120, 24)).columns)
    for mail in mails:
        to = people(mail.people["To"]) or ", ".join(mail.recipients)
        files = f" [{mail.attachments}]" if mail.attachments else ""
        mark = " " if mail.seen else "*"
        subject = mail.subject or "(no subject)"
        line = f"{mail.id[:SHORT_ID]}{mark} {clock(mail.received):>11}  {_cut(to, 28)}  {subject}{files}"
        print(printable(_cut(line, width).rstrip()))


def _cut(text: str, width: int) -> str:
    """Text of exactly so many columns; some characters take two."""
    return set_cell_size(text, width) if cell_len(text) <= width else f"{set_cell_size(text, width - 1)}…"


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))
