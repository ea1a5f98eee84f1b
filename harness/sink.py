"""The SMTP server that the function sends to: it keeps every mail's exact bytes and writes down every transaction.

It speaks STARTTLS, AUTH PLAIN and LOGIN, SIZE, 8BITMIME and SMTPUTF8. At each stage of a session it asks its faults,
where it has any, whether to behave; without them it is a server that works.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any, Literal, Self

from harness import certificate, maildir
from harness.errors import HistoryError
from harness.session import Session

if TYPE_CHECKING:
    import ssl
    from collections.abc import Coroutine
    from pathlib import Path

    from harness.faults import Faults
    from harness.history import History

HOST = "127.0.0.1"
SIZE_LIMIT_BYTES = 35 * 1024 * 1024

# aiosmtpd logs each command; the history says the same in a form that can be read back.
logging.getLogger("mail.log").setLevel(logging.CRITICAL)
# Replies to a client that has been cut off or has gone: the history has the end of its session.
logging.getLogger("asyncio").addFilter(lambda line: line.getMessage() != "socket.send() raised exception.")


class Sink:
    """The server, in a thread of its own, on a free port; of loopback, unless told otherwise.

    Attributes:
        name: What clients reach it by.
        port: Its port, the same from beginning to end, also while it refuses connections.
        ca_pem: The authority that a client must trust; empty without TLS.
        username: The login it asks for; empty when it asks for none.
        password: Its password.
        faults: How it misbehaves; may be exchanged while it runs.
    """

    def __init__(
        self,
        *,
        history: History,
        mail: Path | None,
        address: str = HOST,
        name: str = HOST,
        tls: Literal["starttls", "implicit", "none"] = "starttls",
        username: str = "ion@example.com",
        password: str = "not a secret",  # noqa: S107 - of a server on loopback that lives for one run
        size_limit: int = SIZE_LIMIT_BYTES,
        smtputf8: bool = True,
        faults: Faults | None = None,
    ) -> None:
        made = certificate.make() if tls != "none" else None
        self.history = history
        self.mail = mail
        self.name = name
        self._address = address
        self.tls = tls
        self.username = username
        self.password = password
        self.size_limit = size_limit
        self.smtputf8 = smtputf8
        self.faults = faults
        self.ca_pem = made.ca_pem if made else ""
        self.context: ssl.SSLContext | None = made.context if made else None
        # Bound for good and never listening: it keeps the port while the server is closed, and whoever connects then is
        # refused, as by a machine on which no server runs.
        self._claim = _bound(address, 0)
        self.port: int = self._claim.getsockname()[1]
        self._numbers = itertools.count(1)
        self._sessions: set[Session] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="smtp sink", daemon=True)
        if mail is not None:
            maildir.create(mail)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()
        self.open()

    def stop(self) -> None:
        """Cut every connection and end; what was kept stays. A second call does nothing."""
        if self._thread.is_alive():
            self._call(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        if not self._loop.is_running():
            self._loop.close()
        self._claim.close()

    def open(self) -> None:
        """Accept connections (again)."""
        self._call(self._open())

    def close(self) -> None:
        """Refuse new connections; those that stand go on."""
        self._call(self._close())

    def drop_all(self) -> None:
        """Cut every connection that stands, as a server does that dies."""
        self._call(self._drop_all())

    def enter(self, session: Session) -> int:
        """Called by a session when it begins; returns its number."""
        self._sessions.add(session)
        return next(self._numbers)

    def leave(self, session: Session) -> bool:
        """Called by a session when it ends; says whether it is the first time."""
        known = session in self._sessions
        self._sessions.discard(session)
        return known

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(self._on_trouble)
        self._loop.run_forever()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _open(self) -> None:
        if self._server is None:
            layer = self.context if self.tls == "implicit" else None
            self._server = await self._loop.create_server(
                lambda: Session(self), sock=_bound(self._address, self.port), ssl=layer
            )

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _drop_all(self) -> None:
        for session in list(self._sessions):
            session.cut("dropped")

    async def _end(self) -> None:
        await self._close()
        for session in list(self._sessions):
            session.cut("sink stopped")
        await asyncio.sleep(0)  # connection_lost, which writes a session down, comes one turn of the loop after abort
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _on_trouble(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # A client that resets its connection is nothing; a history that cannot be written knows it already.
        error = context.get("exception")
        if not isinstance(error, ConnectionError | HistoryError):
            with contextlib.suppress(HistoryError):
                self.history.record("smtp.trouble", text=f"{context.get('message')}: {error!r}")


def _bound(address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sys.platform == "darwin":  # there, two sockets may share an address only with this
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((address, port))
    return sock
