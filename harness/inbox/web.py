"""The pages: list, mail, SMTP log, dead letters, runs. They can be read without JavaScript, which makes them livelier.

`static/inbox.js` fetches the same addresses with `fragment=list` or `fragment=mail` and puts the answer in its place.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import jinja2
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from harness import runs
from harness.errors import LocalStackError, RunError
from harness.inbox import mime, render, rows, search, story
from harness.inbox.api import dead_letters
from harness.inbox.search import EVERYTHING, NOTHING, SearchError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request

    from harness.inbox.live import Live
    from harness.inbox.store import Store, Summary
    from harness.runs import Run

PAGE_SIZE = 50
LOG_PAGE_SIZE = 100
# A page does not wait longer for a large Maildir to be read; it says how far that is, and comes again.
REFRESH_SECONDS = 0.5
EVENTS_POLL_SECONDS = 0.5
MAX_SOURCE_BYTES = 512 * 1024
BESIDE = ("results.json", "history.jsonl", "logs/function.log", "logs/localstack.log")
FRAGMENTS = {"list": "list.html", "mail": "mail.html"}
TABS = ("html", "text", "headers", "source", "story")
# A report is made by this project, but shows what was in mails: it may run its own script, and reach nothing.
REPORT_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:;"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'none'; sandbox allow-scripts"
)


class Pages:
    """The pages of one run's inbox.

    Attributes:
        store: The mail.
        live: What runs, if this run does.
    """

    def __init__(self, store: Store, live: Live | None, *, home: Run) -> None:
        self.store = store
        self.live = live
        self._home = home  # the run at the address `/`
        self.stopping = False
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(
            clock=clock,
            moment=moment,
            size=human_size,
            people=people,
            pretty=pretty,
            linked=render.linked,
            decoded=mime.decoded,
            here=here,
            pairs=pairs,
        )

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("/", self._page(self.list)),
            Route("/mail/new", self._page(self.by_file)),
            Route("/mail/{id}", self._page(self.mail)),
            Route("/mail/{folder}/{name}", self._page(self.by_file)),
            Route("/view/latest", self._page(self.latest)),
            Route("/view/{id}.html", self._page(self.html)),
            Route("/view/{id}.txt", self._page(self.text)),
            Route("/view/{id}", self._page(self.mail)),
            Route("/smtp", self._page(self.smtp)),
            Route("/dead-letters", self._page(self.letters)),
            Route("/runs", self._page(self.runs)),
            Route("/report", self._page(self.report)),
            *(Route(f"/{name}", self._page(self.beside)) for name in BESIDE),
            Route("/events", self.events),
        ]

    def list(self, request: Request) -> Response:
        """The list of mails, beside an empty place for one."""
        fragment = request.query_params.get("fragment", "")
        template = FRAGMENTS.get(fragment, "inbox.html")
        return self._render(request, template, mail=None, **self._listing(request))

    def mail(self, request: Request) -> Response:
        """One mail, beside the list."""
        mail = self._mail(request)
        remote = request.query_params.get("remote") == "1"
        taken_apart = self.store.read(mail)
        if not mail.seen:
            self.store.mark([mail], seen=True)
        tab = request.query_params.get("tab", "")
        bodies = {"html": taken_apart.html, "text": taken_apart.text}
        if tab not in TABS or (tab == "html" and taken_apart.html is None):  # without a plain body there are its words
            tab = next((name for name, part in bodies.items() if part), "source" if not taken_apart.parts else "text")
        context: dict[str, Any] = {"taken_apart": taken_apart, "tab": tab, "remote": remote}
        if tab == "html":
            page = render.page(taken_apart, remote=remote)
            context |= {"blocked": page.blocked}
        elif tab == "text":
            context |= {"text": taken_apart.body(taken_apart.text) or render.words(taken_apart.body(taken_apart.html))}
        elif tab == "source":
            raw = taken_apart.raw[:MAX_SOURCE_BYTES]
            context |= {"source": raw.decode("utf-8", "replace"), "cut": len(taken_apart.raw) > len(raw)}
        context["story"] = story.tell(self.store, mail, self.live)
        context["files"] = [(part, render.filename(part), len(taken_apart.content(part))) for part in taken_apart.files]
        template = "mail.html" if request.query_params.get("fragment") == "mail" else "inbox.html"
        listing = self._listing(request)
        newer, older = self.store.neighbours(mail, listing["condition"])
        context |= {"newer": newer, "older": older}
        return self._render(request, template, mail=mail, **context, **listing)

    def latest(self, request: Request) -> Response:
        """To the newest mail, as Mailpit has it; to the list where there is none."""
        self.store.refresh()
        newest = self.store.get("latest", search.parse(request.query_params.get("query", "")))
        base = request.scope.get("root_path", "")
        target = link(f"{base}/mail/{newest.id}", tab=request.query_params.get("tab", "")) if newest else f"{base}/"
        return RedirectResponse(target, status_code=302)

    def html(self, request: Request) -> Response:
        """A mail's HTML body alone, made safe, under a policy that lets it run and load nothing."""
        taken_apart = self.store.read(self._mail(request))
        if taken_apart.html is None:
            raise HTTPException(404, "This message does not contain a HTML part")
        page = render.page(taken_apart, remote=request.query_params.get("remote") == "1")
        return HTMLResponse(page.html, headers={"Content-Security-Policy": page.policy})

    def text(self, request: Request) -> Response:
        """A mail's plain body alone."""
        taken_apart = self.store.read(self._mail(request))
        return PlainTextResponse(taken_apart.body(taken_apart.text))

    def smtp(self, request: Request) -> Response:
        """Every transaction with the server, the refused ones too, the newest first."""
        only = request.query_params.get("only", "")
        sql = "name = 'smtp.transaction'" + (" AND key = ''" if only == "refused" else "")
        number = _page_number(request)
        self.store.refresh(seconds=REFRESH_SECONDS)
        total = self.store.count_events(sql)
        events = self.store.events(sql, limit=LOG_PAGE_SIZE, start=(number - 1) * LOG_PAGE_SIZE, newest=True)
        pages = max(1, math.ceil(total / LOG_PAGE_SIZE))
        return self._render(request, "smtp.html", events=events, total=total, page=number, pages=pages, only=only)

    def letters(self, request: Request) -> Response:
        """The dead letters, with their reasons."""
        self.store.refresh(seconds=REFRESH_SECONDS)
        failure, found = "", []
        try:
            found = dead_letters(self.store, self.live)
        except LocalStackError as error:
            failure = str(error)
        return self._render(request, "letters.html", letters=found, failure=failure)

    def runs(self, request: Request) -> Response:
        """The saved runs, the newest first."""
        return self._render(
            request, "runs.html", saved=[(run, verdict(run)) for run in reversed(siblings(self.store.run))]
        )

    def report(self, request: Request) -> Response:
        """The run's report."""
        del request
        try:
            page = (self.store.run.directory / "report.html").read_text()
        except OSError as error:
            raise HTTPException(404, "This run has no report (yet).") from error
        return HTMLResponse(page, headers={"Content-Security-Policy": REPORT_POLICY})

    def by_file(self, request: Request) -> Response:
        """To the mail of a file in the Maildir, as the report names it; to the list for the directory."""
        base, key = request.scope.get("root_path", ""), request.path_params.get("name", "").partition(":2,")[0]
        return RedirectResponse(f"{base}/mail/{rows.mail_id(key)}" if key else f"{base}/", status_code=302)

    def beside(self, request: Request) -> Response:
        """One of the run's other files, to which the report links, as text."""
        name = request.url.path.removeprefix(request.scope.get("root_path", "")).strip("/")
        path = self.store.run.directory / name
        if name not in BESIDE or not path.is_file():
            raise HTTPException(404, "This run has no such file.")
        return FileResponse(path, media_type="text/plain; charset=utf-8")

    async def events(self, request: Request) -> Response:
        """A stream of server-sent events, one whenever something has changed."""

        async def stream() -> AsyncIterator[str]:
            last: dict[str, Any] = {}
            beat = time.monotonic()
            while not self.stopping and not await request.is_disconnected():
                now = await run_in_threadpool(self._state)
                if now != last:
                    last, beat = now, time.monotonic()
                    yield f"event: change\ndata: {json.dumps(now)}\n\n"
                elif time.monotonic() - beat > 15:  # noqa: PLR2004 - seconds, so that a dead connection is noticed
                    beat = time.monotonic()
                    yield ": still here\n\n"
                await asyncio.sleep(EVENTS_POLL_SECONDS)

        return StreamingResponse(stream(), media_type="text/event-stream")

    def _state(self) -> dict[str, Any]:
        complete = self.store.refresh(seconds=REFRESH_SECONDS)
        counts = self.store.counts()
        return {
            "version": self.store.version(),
            "total": counts.total,
            "unread": counts.unread,
            "complete": complete,
        }

    def _listing(self, request: Request) -> dict[str, Any]:
        """What the list shows."""
        query = request.query_params.get("q", "").strip()
        complaint, condition = "", EVERYTHING
        try:
            condition = search.parse(query)
        except SearchError as error:
            complaint, condition = str(error), NOTHING
        complete = self.store.refresh(seconds=REFRESH_SECONDS)
        number = _page_number(request)
        found = self.store.find(condition, start=(number - 1) * PAGE_SIZE, limit=PAGE_SIZE)
        return {
            "q": query,
            "complaint": complaint,
            "condition": condition,
            "found": found,
            "page": number,
            "pages": max(1, math.ceil(found.counts.total / PAGE_SIZE)),
            "complete": complete,
        }

    def _mail(self, request: Request) -> Summary:
        self.store.refresh(seconds=REFRESH_SECONDS)
        mail = self.store.get(request.path_params["id"], search.parse(request.query_params.get("query", "")))
        if mail is None:
            raise HTTPException(404, "There is no such mail here, or it was deleted.")
        return mail

    def _page(self, answer: Callable[[Request], Response]) -> Callable[[Request], Any]:
        """An endpoint that runs in a thread, and says on a page what went wrong."""

        def plainly(request: Request) -> Response:
            try:
                return answer(request)
            except (RunError, SearchError) as error:
                raise HTTPException(404, str(error)) from error

        async def endpoint(request: Request) -> Response:
            try:
                return await run_in_threadpool(plainly, request)
            except HTTPException as error:
                if request.url.path.endswith((".html", ".txt")):
                    raise
                return self._render(request, "failure.html", status=error.status_code, failure=error.detail)

        return endpoint

    def _render(self, request: Request, template: str, *, status: int = 200, **context: Any) -> Response:
        base = request.scope.get("root_path", "")
        run = self.store.run
        context = {
            "base": base,
            "run": run,
            "home": self._home,
            "verdict": verdict(run),
            "has_report": (run.directory / "report.html").is_file(),
            "live": self.live is not None,
            "counts": self.store.counts(),
            "place": request.url.path.removeprefix(base).strip("/").partition("/")[0],
            "link": link,
            "q": "",
            **context,
        }
        return HTMLResponse(self._templates.get_template(template).render(context), status_code=status)


def siblings(run: Run) -> list[Run]:
    """The saved runs beside this one, the oldest first."""
    return runs.saved(root=run.directory.parent.parent)


def verdict(run: Run) -> str:
    """What the checker says of a run; empty while it has not been checked."""
    try:
        return str(run.results().get("verdict", ""))
    except RunError:
        return ""


def link(path: str, **arguments: object) -> str:
    """An address with those of its arguments that say something."""
    said = {name: value for name, value in arguments.items() if value not in {"", None, 1}}
    return f"{path}?{urlencode(said)}" if said else path


def clock(t: float) -> str:
    """A time as a list shows it: of the last day the time, else the day."""
    then = datetime.fromtimestamp(t).astimezone()
    now = datetime.now().astimezone()
    if abs(now - then) < timedelta(days=1):
        return then.strftime("%H:%M:%S")
    return then.strftime("%d %b" if then.year == now.year else "%d %b %Y").lstrip("0")


def moment(t: float) -> str:
    """A time in full, to the millisecond."""
    return datetime.fromtimestamp(t).astimezone().isoformat(sep=" ", timespec="milliseconds")


def here(timestamp: str) -> str:
    """A timestamp (ISO 8601) as this machine's clock has it, to the second; text that is none stays as it is."""
    try:
        return moment(datetime.fromisoformat(timestamp).timestamp())[:19]
    except (ValueError, OverflowError, OSError):
        return timestamp


def pairs(them: dict[str, object]) -> str:
    """Names and values in a line, such as an entry's tags."""
    return ", ".join(f"{name}={value}" if value else name for name, value in them.items())


def human_size(octets: int) -> str:
    """A size for people."""
    if octets < 1_000:  # noqa: PLR2004
        return f"{octets} B"
    power = min(3, int(math.log10(octets) / 3))
    return f"{octets / 1000**power:.1f} {' kMG'[power]}B"


def people(them: list[dict[str, str]]) -> str:
    """Names, or addresses where there are no names."""
    return ", ".join(person["Name"] or person["Address"] for person in them)


def pretty(document: Any) -> str:
    """JSON with its lines; text that is none stays as it is."""
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except (ValueError, RecursionError):
            return str(document)
    return json.dumps(document, indent=2, ensure_ascii=False)


def _page_number(request: Request) -> int:
    text = request.query_params.get("page", "1")
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < len("1000000") else 1
