"""The inbox as a web server: pages and API of one run, and under /runs/ those of the others."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from harness.errors import RunError
from harness.inbox.api import Api
from harness.inbox.guard import Guard
from harness.inbox.store import Store
from harness.inbox.web import Pages, siblings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from harness.inbox.chaos import Chaos
    from harness.inbox.live import Live
    from harness.runs import Run

HOST = "127.0.0.1"
PORT = 8025  # Mailpit's, which its clients try first
STOP_SECONDS = 5.0


class Inbox:
    """The application: an ASGI app for as long as it is open.

    Attributes:
        store: The mail of the run that it shows first.
    """

    def __init__(self, run: Run, *, live: Live | None = None, chaos: Chaos | None = None) -> None:
        """Open it.

        Raises:
            RunError: The run's index cannot be written.
        """
        self.store = Store(run)
        self._pages = [Pages(self.store, live, home=run)]
        self._others: dict[str, Starlette] = {}
        self._lock = threading.Lock()
        static = Mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
        own = _routes(Api(self.store, live, chaos), self._pages[0])
        health = [Route(path, _healthy) for path in ("/livez", "/readyz")]
        self._app = Guard(Starlette(routes=[static, *health, Mount("/runs/{scenario}/{name}", self._other), *own]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self._app(scope, receive, send)

    def stop(self) -> None:
        """Let the streams of events end."""
        for pages in self._pages:
            pages.stopping = True

    def close(self) -> None:
        """Let go of the files."""
        self.stop()
        for pages in self._pages:
            pages.store.close()

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Another run's pages and API, as they were when it ended."""
        path = scope["path_params"]
        app: ASGIApp
        try:
            app = self._opened(f"{path['scenario']}/{path['name']}")
        except RunError as error:
            app = PlainTextResponse(str(error), status_code=404)
        await app(scope, receive, send)

    def _opened(self, name: str) -> Starlette:
        with self._lock:
            if name not in self._others:
                # Looked for among those that there are: what comes in an address is never a path.
                run = next((each for each in siblings(self.store.run) if f"{each.scenario}/{each.name}" == name), None)
                if run is None:
                    raise RunError(f"there is no run {name}")
                store = Store(run)
                self._pages.append(Pages(store, None, home=self.store.run))
                self._others[name] = Starlette(routes=_routes(Api(store, None, None), self._pages[-1]))
            return self._others[name]


def _routes(api: Api, pages: Pages) -> list[Route | Mount]:
    return [Mount("/api/v1", routes=api.routes()), *pages.routes()]


async def _healthy(request: Request) -> Response:
    del request
    return PlainTextResponse("ok")


@contextlib.contextmanager
def serving(inbox: Inbox, *, port: int | None = None) -> Iterator[str]:
    """Serve it in a thread of its own, on loopback only; yields its address.

    Args:
        inbox: What to serve; closed at the end.
        port: Where; None for Mailpit's, or if that is taken, for any that is free.

    Raises:
        RunError: The port is taken.
    """
    with _listening(port) as listening:
        config = uvicorn.Config(
            inbox, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1, server_header=False
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="inbox", daemon=True)
        thread.start()
        try:
            yield f"http://{HOST}:{listening.getsockname()[1]}"
        finally:
            inbox.stop()
            server.should_exit = True
            thread.join(STOP_SECONDS)
            inbox.close()


def _listening(port: int | None) -> socket.socket:
    for each in (PORT, 0) if port is None else (port,):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((HOST, each))
            sock.listen()
        except OSError as error:
            sock.close()
            trouble = error
        else:
            return sock
    raise RunError(f"the inbox cannot listen on port {port}: {trouble.strerror}; give another one with --port")
