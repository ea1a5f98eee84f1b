"""The SMTP server of a bench, in a process of its own: the scenarios' sink, as far away as it is told to be.

It reads a round trip time in seconds from each line of its standard input, and answers with a line of JSON: where it is
and what it has counted since the last one. The end of the input is its end.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections import Counter, deque
from pathlib import Path
from typing import Any

from harness.history import History
from harness.session import Session
from harness.sink import HOST, Sink


class Line:
    """A transport whose bytes to the client arrive one round trip later: of all connections at once, in order.

    A client can tell that from a delay of half the time in each direction by nothing. It lies below TLS, whose
    handshake hence takes its round trips too; only TCP's own handshake takes none.
    """

    def __init__(self, transport: asyncio.Transport, round_trip_seconds: float) -> None:
        self._transport = transport
        self._seconds = round_trip_seconds
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[bytes | None] = deque()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send, later."""
        self._later(bytes(data))

    def writelines(self, data: list[bytes]) -> None:
        """Send, later."""
        self._later(b"".join(data))

    def close(self) -> None:
        """Close once all is sent."""
        self._later(None)

    def _later(self, what: bytes | None) -> None:
        self._waiting.append(what)
        self._loop.call_later(self._seconds, self._now)

    def _now(self) -> None:
        what = self._waiting.popleft()
        if what is None:
            self._transport.close()
        elif not self._transport.is_closing():
            self._transport.write(what)


class DistantSession(Session):
    """A session over a line, whose replies are counted."""

    def __init__(self, sink: DistantSink) -> None:
        super().__init__(sink)
        self._distant = sink

    def connection_made(self, transport: Any) -> None:
        """Begin over a line; STARTTLS comes here once more, when its layer is on the line already."""
        if self.transport is None:
            self._distant.counts["connections"] += 1
            if self._distant.round_trip_seconds:
                transport = Line(transport, self._distant.round_trip_seconds)
        super().connection_made(transport)

    async def push(self, status: str | bytes) -> None:
        """Send a line of a reply; the last one has a space after the code (RFC 5321 section 4.2.1)."""
        await super().push(status)
        if self._reply[3:4] != "-":
            self._distant.counts["replies"] += 1


class DistantSink(Sink):
    """A sink at the other end of a line.

    Attributes:
        round_trip_seconds: The round trip time of connections that are made from now on.
        counts: `connections`, `replies` and `mails` (those kept).
    """

    def __init__(self, history: History) -> None:
        super().__init__(history=history, mail=None)
        self.round_trip_seconds = 0.0
        self.counts: Counter[str] = Counter()
        history.subscribe(lambda event: self.counts.update(mails=event.get("result") == "accepted"))

    async def _open(self) -> None:
        self._server = await self._loop.create_server(lambda: DistantSession(self), HOST, self.port, reuse_address=True)


def main() -> None:
    """Serve until standard input ends."""
    with (
        tempfile.TemporaryDirectory(prefix="ion-bench-") as scratch,
        History(Path(scratch) / "history.jsonl") as history,
        DistantSink(history) as sink,
    ):
        for line in sys.stdin:
            counts, sink.counts = sink.counts, Counter()
            sink.round_trip_seconds = float(line)
            where = {"host": HOST, "port": sink.port, "ca": sink.ca_pem}
            login = {"username": sink.username, "password": sink.password}
            print(json.dumps({**where, **login, "counts": counts}), flush=True)


if __name__ == "__main__":
    main()
