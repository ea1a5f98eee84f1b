"""The way back: from the dead-letter queue to the input queue.

A letter is sent to the input queue first and deleted after. A crash in between leaves both, and the next redrive makes
a second message of the same letter: the ledger tells by the number of redrives that the two are one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ion.deadletter import REASON, failed_at, identity, revived
from ion.errors import RequestError
from ion.queue import MAX_BATCH
from ion.request import RedriveRequest, SendRequest, parse

if TYPE_CHECKING:
    from ion.ledger import Entry
    from ion.protocols import Clock, Message, Queue

Keep = Callable[["Entry"], Awaitable["Entry | None"]]


async def redrive(
    request: RedriveRequest,
    entry: Entry,
    *,
    letters: Queue,
    queue: Queue,
    keep: Keep,
    clock: Clock,
    deadline: float,
    hide_seconds: int,
) -> tuple[Entry, bool] | None:
    """Move what the request asks for back to the input queue.

    Only letters that were dead before the request was first seen are moved, so that a mail which fails again at once
    does not go round for ever. A letter that is no valid mail is moved only if its id is named.

    Args:
        request: Which letters.
        entry: The request's own record; its `moved` counts across wake-ups.
        letters: The dead-letter queue.
        queue: The input queue.
        keep: Writes the record and extends its lease; None where the lease is lost.
        clock: The time of day.
        deadline: Unix time at which to stop.
        hide_seconds: How long a letter is hidden while it is looked at: as long as the request's own lease, so that
            when a redrive has been killed, whoever takes the request over finds the letters that it held.

    Returns:
        The record as last written, and whether the request is done (it is not when the deadline came first); None where
        the lease was lost.
    """
    left: list[Message] = []  # hidden until the end, so that the next receive brings others
    seen: set[str] = set()
    try:
        while clock.now() < deadline:
            room = MAX_BATCH if request.max is None else min(MAX_BATCH, request.max - entry.moved)
            if room <= 0:
                return entry, True
            batch = await letters.receive(limit=room, wait_seconds=1, visibility_seconds=hide_seconds)
            if all(letter.message_id in seen for letter in batch):  # none, or those that stay come round again
                left += batch
                return entry, True
            seen.update(letter.message_id for letter in batch)
            moving = {letter: revived(letter, id_) for letter in batch if (id_ := _wanted(letter, request, entry))}
            left += [letter for letter in batch if letter not in moving]
            if not moving and clock.now() < entry.lease_until - hide_seconds / 2:
                continue
            # Counted before they are moved: a crash in between moves fewer than `max`, never more.
            kept = await keep(replace(entry, moved=entry.moved + len(moving)))
            if kept is None:
                left += moving
                return None
            entry = kept
            refused = await queue.send(list(moving.values()))
            left += [letter for letter, message in moving.items() if message in refused]
            await letters.delete([letter for letter, message in moving.items() if message not in refused])
        return entry, False
    finally:
        await letters.hide([(letter, 0) for letter in left])


def _wanted(letter: Message, request: RedriveRequest, entry: Entry) -> str | None:
    """The id of a letter that the request asks for; None of one that stays where it is."""
    try:
        parsed = parse(letter.body)
        published = parsed.id if isinstance(parsed, SendRequest) else None
        readable = isinstance(parsed, SendRequest)
    except RequestError:
        published, readable = None, False
    id_ = identity(letter, published)
    if failed_at(letter) >= entry.created:
        return None
    if request.reason is not None and letter.attributes.get(REASON) != request.reason:
        return None
    named = request.ids is not None and id_ in request.ids
    return id_ if named or (request.ids is None and readable) else None
