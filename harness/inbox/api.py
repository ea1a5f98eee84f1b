"""The REST API under /api/v1: Mailpit's for messages, so that its clients work unchanged, and a little of our own.

https://mailpit.axllent.org/docs/api-v1/ describes Mailpit's; `openapi.py` describes what is here. Where Mailpit shrugs
off a wrong argument, this answers 400: a program had better know.
"""

from __future__ import annotations

import json
import re
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from harness.errors import HarnessError, RunError
from harness.inbox import openapi, outgoing, render, search, shapes, story
from harness.inbox.chaos import Chaos, ChaosError
from harness.inbox.live import Letter, Live
from harness.inbox.search import EVERYTHING, Condition, SearchError
from ion import __version__
from ion.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.datastructures import QueryParams
    from starlette.requests import Request

    from harness.inbox.mime import Part
    from harness.inbox.store import Found, Store, Summary

MAX_BODY_BYTES = 5 * 1024 * 1024
MAX_SEND_BYTES = 50 * 1024 * 1024
MAX_LIMIT = 100_000
MAX_IDS = 100_000
# A Mailpit client expects what it sent to be there at once; here it goes through SNS, SQS and the function first.
SEND_WAIT_SECONDS = 5.0
POLL_SECONDS = 0.1
OK = "ok"
NOT_FOUND = "404 page not found"
# A part is somebody else's file: whatever opens it may run nothing of it.
PART_HEADERS = {"Content-Security-Policy": "default-src 'none'; sandbox", "X-Content-Type-Options": "nosniff"}


class Json(JSONResponse):
    """JSON in ASCII: what a mail or a history says may hold characters that have no UTF-8."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return json.dumps(content, separators=(",", ":")).encode()


class Api:
    """The API of one run's inbox.

    Attributes:
        store: The mail.
        live: What runs, if this run does.
        chaos: The sink's faults, if the sink is in this process.
    """

    def __init__(self, store: Store, live: Live | None, chaos: Chaos | None) -> None:
        self.store = store
        self.live = live
        self.chaos = chaos
        self._began = time.time()

    def routes(self) -> list[Route]:
        """The routes, without their common beginning `/api/v1`."""
        return [
            Route("/messages", _asked(self.messages)),
            Route("/messages", _told(self.set_read), methods=["PUT"]),
            Route("/messages", _told(self.delete), methods=["DELETE"]),
            Route("/search", _asked(self.search)),
            Route("/search", _asked(self.delete_search), methods=["DELETE"]),
            Route("/message/{id}", _asked(self.message)),
            Route("/message/{id}/headers", _asked(self.headers)),
            Route("/message/{id}/raw", _asked(self.raw)),
            Route("/message/{id}/part/{part}", _asked(self.part)),
            Route("/message/{id}/story", _asked(self.story)),
            Route("/tags", _asked(self.tags)),
            Route("/info", _asked(self.info)),
            Route("/send", _told(self.send, limit=MAX_SEND_BYTES), methods=["POST"]),
            Route("/chaos", _asked(self.get_chaos)),
            Route("/chaos", _told(self.set_chaos), methods=["PUT"]),
            Route("/dead-letters", _asked(self.letters)),
            Route("/dead-letters/redrive", _told(self.redrive), methods=["POST"]),
            Route("/openapi.json", _asked(self.openapi)),
        ]

    def messages(self, request: Request) -> Response:
        """A page of all mails."""
        start, limit, before = _page(request)
        self.store.refresh()
        return Json(self._list(self.store.find(start=start, limit=limit, before=before), start))

    def search(self, request: Request) -> Response:
        """A page of the mails that a search finds."""
        condition = _condition(request, needed=True)
        start, limit, before = _page(request)
        self.store.refresh()
        return Json(self._list(self.store.find(condition, start=start, limit=limit, before=before), start))

    def _list(self, found: Found, start: int) -> dict[str, Any]:
        counts = self.store.counts()
        return {
            "total": counts.total,
            "unread": counts.unread,
            "count": len(found.mails),
            "messages_count": found.counts.total,
            "messages_unread": found.counts.unread,
            "start": start,
            "tags": self.store.tags(),
            "messages": [shapes.summary(mail) for mail in found.mails],
        }

    def set_read(self, request: Request, body: Any) -> Response:
        """Mark mails read or unread: those with these ids, those that a search finds, or all."""
        read, wanted = _field(body, "Read", bool, False), _field(body, "Search", str, "")
        ids = _ids(body)
        if ids and wanted:
            raise HTTPException(400, "IDs or Search: one of both may be given, not both")
        self.store.refresh()
        mails = self.store.several(ids) if ids else self.store.all(_parsed(wanted, request.query_params.get("tz", "")))
        self.store.mark((mail for mail in mails if mail.seen != read), seen=read)
        return PlainTextResponse(OK)

    def delete(self, request: Request, body: Any) -> Response:
        """Delete mails: those with these ids, or all. Their files stay in the Maildir, flagged as trashed."""
        del request
        ids = _ids(body)
        self.store.refresh()
        self.store.mark(self.store.several(ids) if ids else self.store.all(), trashed=True)
        return PlainTextResponse(OK)

    def delete_search(self, request: Request) -> Response:
        """Delete the mails that a search finds."""
        condition = _condition(request, needed=True)
        if condition == EVERYTHING:
            raise HTTPException(400, "this search says nothing; to delete all, DELETE /api/v1/messages")
        self.store.refresh()
        self.store.mark(self.store.all(condition), trashed=True)
        return PlainTextResponse(OK)

    def message(self, request: Request) -> Response:
        """A mail with its bodies; it counts as read from now on."""
        mail = self._mail(request)
        taken_apart = self.store.read(mail)
        self.store.mark([] if mail.seen else [mail], seen=True)
        return Json(shapes.message(mail, taken_apart))

    def headers(self, request: Request) -> Response:
        """A mail's headers: a list of values for each name, the name spelled `Message-Id`."""
        values: dict[str, list[str]] = {}
        for name, value in self.store.read(self._mail(request)).headers:
            values.setdefault(shapes.canonical(name), []).append(value)
        return Json(dict(sorted(values.items())))

    def raw(self, request: Request) -> Response:
        """A mail's exact bytes."""
        mail = self._mail(request)
        headers = {"Content-Disposition": render.disposition(f"{mail.id}.eml")} if "dl" in request.query_params else {}
        return FileResponse(self.store.path(mail), media_type="text/plain; charset=utf-8", headers=headers)

    def part(self, request: Request) -> Response:
        """A part's octets: an image of a harmless kind as such, everything else as a file to be saved."""
        mail = self.store.read(self._mail(request))
        part = mail.find(request.path_params["part"])
        if part is None:
            raise HTTPException(404, NOT_FOUND)
        content = mail.content(part)
        kind = render.raster(content)
        headers = {
            **PART_HEADERS,
            "Content-Disposition": render.disposition(render.filename(part), inline=bool(kind)),
            "Content-Type": kind or _declared(part),  # set here: Starlette would add a charset
        }
        return Response(content, headers=headers)

    def story(self, request: Request) -> Response:
        """What is known of a mail besides itself."""
        return Json(shapes.story(story.tell(self.store, self._mail(request), self.live)))

    def tags(self, request: Request) -> Response:
        """All tags."""
        del request
        self.store.refresh()
        return Json(self.store.tags())

    def info(self, request: Request) -> Response:
        """What this is."""
        del request
        self.store.refresh()
        counts = self.store.counts()
        accepted = self.store.count_events("name = 'smtp.transaction' AND key <> ''")
        database = self.store.run.directory / "inbox.sqlite"
        return Json(
            {
                "Version": f"ion {__version__}",
                "LatestVersion": f"ion {__version__}",
                "Database": str(database),
                "DatabaseSize": database.stat().st_size,
                "Messages": counts.total,
                "Unread": counts.unread,
                "Tags": {tag: self.store.counts(search.parse(f'"tag:{tag}"')).total for tag in self.store.tags()},
                "RuntimeStats": {
                    "Uptime": int(time.time() - self._began),
                    "SMTPAccepted": accepted,
                    "SMTPRejected": self.store.count_events("name = 'smtp.transaction'") - accepted,
                },
                "Run": f"{self.store.run.scenario}/{self.store.run.name}",
                "Live": self.live is not None,
            }
        )

    def send(self, request: Request, body: Any) -> Response:
        """Publish a mail to ion's topic, and wait a little for its arrival."""
        del request
        try:
            document = outgoing.document(body)
            if self.live is None:
                raise RunError("nothing runs here to send with: start it with `make up`")
            self.live.publish(document)
        except (RequestError, HarnessError) as error:
            return Json({"Error": str(error)}, status_code=400)
        deadline = time.monotonic() + SEND_WAIT_SECONDS
        while time.monotonic() < deadline:
            self.store.refresh()
            if mail := self.store.get(document["id"]):
                return Json({"ID": mail.id})
            time.sleep(POLL_SECONDS)
        # It will be known by this id, too, once it is here.
        return Json({"ID": document["id"]})

    def get_chaos(self, request: Request) -> Response:
        """The faults that are set."""
        del request
        return Json(self._chaos().get())

    def set_chaos(self, request: Request, body: Any) -> Response:
        """Set the faults; what is not given is turned off."""
        del request
        try:
            return Json(self._chaos().set(body))
        except ChaosError as error:
            raise HTTPException(400, str(error)) from error

    def _chaos(self) -> Chaos:
        if self.chaos is None:
            raise HTTPException(400, "Chaos is not enabled: it needs the sink, which runs with `make up`")
        return self.chaos

    def letters(self, request: Request) -> Response:
        """The dead letters: now, while ion runs here, else those at the run's end."""
        del request
        self.store.refresh()
        return Json([shapes.letter(letter) for letter in dead_letters(self.store, self.live)])

    def redrive(self, request: Request, body: Any) -> Response:
        """Ask ion to send dead letters once more: those of these ids, or all."""
        del request
        if self.live is None:
            raise HTTPException(400, "nothing runs here to redrive with: start it with `make up`")
        self.live.redrive(_ids(body))
        return PlainTextResponse(OK)

    def openapi(self, request: Request) -> Response:
        """The description of all this."""
        del request
        return Json(openapi.document())

    def _mail(self, request: Request) -> Summary:
        """The mail that the path names: by its id, by ion's id, or as the latest (that a `query` finds)."""
        self.store.refresh()
        mail = self.store.get(request.path_params["id"], _condition(request))
        if mail is None:
            raise HTTPException(404, NOT_FOUND)
        return mail


def dead_letters(store: Store, live: Live | None) -> list[Letter]:
    """The dead letters: now, while ion runs here, else those at the run's end."""
    if live is not None:
        return live.letters()
    events = store.events("name = 'deadletter'", newest=True)
    return [Letter.of(event["body"], event["attributes"]) for event in events]


def _declared(part: Part) -> str:
    charset = part.charset if re.fullmatch(r"[A-Za-z0-9._:-]{1,40}", part.charset) else ""
    return f"{part.content_type}; charset={charset}" if charset else part.content_type


def _asked(answer: Callable[[Request], Response]) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint for a request without a body; it runs in a thread, and what goes wrong in the harness is said."""

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(_plainly, answer, request)

    return endpoint


def _told(
    answer: Callable[[Request, Any], Response], *, limit: int = MAX_BODY_BYTES
) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint for a request with a JSON object in its body."""

    async def endpoint(request: Request) -> Response:
        octets = bytearray()
        async for chunk in request.stream():
            octets += chunk
            if len(octets) > limit:
                raise HTTPException(413, f"the body is larger than {limit:,} bytes")
        body = _object(bytes(octets), request.headers.get("content-type", ""))
        return await run_in_threadpool(_plainly, answer, request, body)

    return endpoint


def _object(octets: bytes, content_type: str) -> dict[str, Any]:
    """The JSON object in a body, whatever its type; a form's ids count too, since a much used client sends them so."""
    try:
        body = json.loads(octets) if octets.strip() else {}
    except (ValueError, RecursionError) as error:
        if not content_type.startswith("application/x-www-form-urlencoded"):
            raise HTTPException(400, f"the body is no JSON: {error}") from error
        fields = {name.lower(): values for name, values in parse_qs(octets.decode("utf-8", "replace")).items()}
        if not fields.get("ids"):
            raise HTTPException(400, "the body is neither JSON nor a form with ids") from error
        return {"IDs": fields["ids"], "Read": fields.get("read", [""])[-1].lower() == "true"}
    if not isinstance(body, dict):
        raise HTTPException(400, "the body has to be a JSON object")
    return body


def _plainly(answer: Callable[..., Response], *arguments: Any) -> Response:
    try:
        return answer(*arguments)
    except SearchError as error:
        raise HTTPException(400, str(error)) from error
    except HarnessError as error:
        raise HTTPException(404 if isinstance(error, RunError) else 502, str(error)) from error


def _page(request: Request) -> tuple[int, int, float | None]:
    """The arguments start, limit and before."""
    start, limit = (_number(request.query_params, *of) for of in (("start", 0, 2**53), ("limit", 50, MAX_LIMIT)))
    before = request.query_params.get("before", "")
    try:
        return start, limit, datetime.fromisoformat(before).timestamp() if before else None
    except (ValueError, OverflowError, OSError) as error:
        raise HTTPException(400, f"before: {before!r} is no ISO 8601 time") from error


def _number(arguments: QueryParams, name: str, default: int, most: int) -> int:
    values = arguments.getlist(name) or [str(default)]
    text = values[0]
    if len(values) > 1 or not text.isascii() or not text.isdigit() or len(text) > len(str(most)) or int(text) > most:
        raise HTTPException(400, f"{name}: a whole number from 0 to {most} is needed, not {text[:40]!r}")
    return int(text)


def _condition(request: Request, *, needed: bool = False) -> Condition:
    query = request.query_params.get("query", "").strip()
    if needed and not query:
        raise HTTPException(400, "Error: no search query")
    return _parsed(query, request.query_params.get("tz", ""))


def _parsed(query: str, timezone: str) -> Condition:
    return search.parse(query, timezone=timezone)


def _field(body: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    # Without regard to case, as Go, and so Mailpit, reads the names of fields.
    value = next((each for key, each in body.items() if key.lower() == name.lower()), None)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise HTTPException(400, f"{name}: {kind.__name__} is needed")
    return value


def _ids(body: Mapping[str, Any]) -> list[str]:
    ids = _field(body, "IDs", list, [])
    if len(ids) > MAX_IDS or not all(isinstance(each, str) for each in ids):
        raise HTTPException(400, f"IDs: a list of at most {MAX_IDS} strings is needed")
    return list(ids)
