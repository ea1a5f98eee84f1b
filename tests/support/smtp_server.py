"""An SMTP server that does exactly what a script says, wrong or right, and remembers what it was told."""

from __future__ import annotations

import asyncio
import enum
from collections import Counter
from collections.abc import Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

import aiosmtpd.smtp

from ion.settings import SmtpSettings, Tls
from ion.smtp import SmtpCourier, courier_factory

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator


class Act(enum.Enum):
    """What a server may do instead of answering."""

    DROP = "close the connection"
    HANG = "say nothing, ever"
    AGES = "say nothing, and let a minute pass in no time"


DROP, HANG, AGES = Act.DROP, Act.HANG, Act.AGES


@dataclass(frozen=True)
class ThenDrop:
    """Answer, and close the connection."""

    reply: str


@dataclass(frozen=True)
class Packets:
    """Send these octets, a packet each."""

    parts: tuple[bytes, ...]


Step = str | bytes | Act | ThenDrop | Packets
"""A reply (lines apart by LF, without the final line end), bytes to send just as they are, or something worse."""
Steps = Step | tuple[Step, ...]
"""One step for every occurrence on a connection, or one after the other, the last of them again and again."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """What the server does on one connection; as it stands it takes every mail.

    Attributes:
        extensions: What EHLO offers.
        rcpt: Steps for every recipient, or by address.
        body: What happens after the first octet of a message; None: it is read to its end.
        message: The answer to the final dot.
    """

    greeting: Steps = "220 mail.example ESMTP"
    extensions: tuple[str, ...] = ("SIZE 50000000", "SMTPUTF8", "ENHANCEDSTATUSCODES")
    ehlo: Steps | None = None
    starttls: Steps = "220 go ahead"
    auth: Steps = "235 2.7.0 welcome"
    mail: Steps = "250 2.1.0 ok"
    rcpt: Steps | Mapping[str, Steps] = "250 2.1.5 ok"
    data: Steps = "354 go ahead"
    body: Act | ThenDrop | None = None
    message: Steps = "250 2.0.0 queued"
    rset: Steps = "250 2.0.0 ok"
    quit: Steps = "221 2.0.0 bye"

    def __str__(self) -> str:
        """What is out of the ordinary, to name a test by."""
        given = {
            item.name: getattr(self, item.name) for item in fields(self) if getattr(self, item.name) != item.default
        }
        return " ".join(f"{name}={value}" for name, value in given.items())


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A mail that the server took responsibility for; the message is free of dot-stuffing."""

    sender: str
    recipients: tuple[str, ...]
    message: bytes


@dataclass
class Session:
    """What the server was told on one connection.

    Attributes:
        commands: Each as it came, without its line end.
        silent: Set once the server does not answer what it was asked.
        ended: Set once the connection has ended.
    """

    commands: list[str] = field(default_factory=list)
    silent: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def verbs(self) -> list[str]:
        """The commands' first words."""
        return [command.split()[0] for command in self.commands]


class ScriptedServer:
    """Listens on a loopback port inside the test's own event loop.

    Args:
        scripts: One for each connection in turn; the last one serves all that follow.
        tls: Makes it TLS from the first octet.
    """

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self._scripts = scripts or (Script(),)
        self._tls = tls
        self.host = host
        self.port = 0
        self.sessions: list[Session] = []
        self.accepted: list[Accepted] = []
        self.met = asyncio.Event()
        """Set once a client has connected."""
        self._over = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host, 0, ssl=self._tls)
        self.sockets = self._server.sockets
        self.port = self.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over.set()
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        script = self._scripts[min(len(self.sessions), len(self._scripts) - 1)]
        session = Session()
        self.sessions.append(session)
        self.met.set()
        try:
            await _Connection(self, script, session, reader, writer).run()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            session.ended.set()
            writer.transport.abort()
            self._tasks.discard(task)


class _GoneError(ConnectionError):
    pass


class _Connection:
    def __init__(
        self,
        server: ScriptedServer,
        script: Script,
        session: Session,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._server, self._script, self._session = server, script, session
        self._reader, self._writer = reader, writer
        self._seen: Counter[object] = Counter()
        self._sender, self._recipients = "", []

    async def run(self) -> None:
        await self._do(self._script.greeting, "greeting")
        while True:
            command = await self._line()
            self._session.commands.append(command)
            verb = command.split()[0]
            if verb == "EHLO":
                await self._do(self._script.ehlo or self._offer(), verb)
            elif verb == "AUTH":
                while (await self._do(self._script.auth, verb)).startswith("334"):
                    self._session.commands.append(await self._line())
            elif verb == "MAIL":
                self._sender, self._recipients = _path(command), []
                await self._do(self._script.mail, verb)
            elif verb == "RCPT":
                await self._recipient(_path(command))
            elif verb == "DATA":
                if (await self._do(self._script.data, verb)).startswith("354"):
                    await self._message()
            else:  # STARTTLS, RSET, QUIT
                await self._do(getattr(self._script, verb.lower()), verb)
                if verb == "QUIT":
                    return

    def _offer(self) -> str:
        lines = ["mail.example", *self._script.extensions]
        return "\n".join([*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}"])

    async def _recipient(self, recipient: str) -> None:
        steps = self._script.rcpt
        if isinstance(steps, Mapping):
            steps = steps.get(recipient, "250 2.1.5 ok")
        if (await self._do(steps, ("RCPT", recipient))).startswith("2"):
            self._recipients.append(recipient)

    async def _message(self) -> None:
        if self._script.body is HANG:
            self._session.silent.set()
            await self._server._over.wait()
        if self._script.body is not None:
            await self._reader.readexactly(1)
            await self._do(self._script.body, "body")
        lines: list[bytes] = []
        while (line := await self._reader.readuntil(b"\r\n")) != b".\r\n":
            lines.append(line.removeprefix(b"."))
        step = self._script.message
        reply = (step[min(self._seen["message"], len(step) - 1)]) if isinstance(step, tuple) else step
        reply = reply.reply if isinstance(reply, ThenDrop) else reply
        if isinstance(reply, str) and reply.startswith("2"):
            self._server.accepted.append(
                Accepted(sender=self._sender, recipients=tuple(self._recipients), message=b"".join(lines))
            )
        await self._do(step, "message")

    async def _line(self) -> str:
        line = await self._reader.readline()
        if not line:
            raise _GoneError
        return line.decode().removesuffix("\r\n")

    async def _do(self, steps: Steps, key: object) -> str:
        """Take the step whose turn it is; returns the reply's text."""
        step = steps[min(self._seen[key], len(steps) - 1)] if isinstance(steps, tuple) else steps
        self._seen[key] += 1
        match step:
            case Act.DROP:
                raise _GoneError
            case Act.HANG | Act.AGES:
                self._session.silent.set()
                if step is AGES:
                    _pass_a_minute()
                while await self._reader.read(65_536):
                    pass
                raise _GoneError
            case ThenDrop(reply):
                self._writer.write(_wire(reply))
                await self._writer.drain()
                self._writer.close()
                await self._writer.wait_closed()
                raise _GoneError
            case Packets(parts):
                for part in parts:
                    self._writer.write(part)
                    await asyncio.sleep(0.01)  # long enough to be packets of their own
                return ""
        self._writer.write(step if isinstance(step, bytes) else _wire(step))
        await self._writer.drain()
        return step if isinstance(step, str) else ""


def _pass_a_minute() -> None:
    """Put the loop's clock forward: what is to end within a minute from now ends, however fast the machine is."""
    loop = asyncio.get_running_loop()
    now = loop.time
    loop.time = lambda: now() + 60  # type: ignore[method-assign]


def _wire(reply: str) -> bytes:
    return reply.replace("\n", "\r\n").encode() + b"\r\n"


def _path(command: str) -> str:
    return command[command.index("<") + 1 : command.index(">")]


def smtp_settings(port: int, **changes: Any) -> SmtpSettings:
    """Settings for a server on loopback, in clear and without login; time-outs that only a hang can reach."""
    defaults: dict[str, Any] = {
        "server": "127.0.0.1",
        "port": port,
        "username": "",
        "password": "",
        "sender": "ion@example.com",
        "tls": Tls.NONE,
        "ca": "",
        "hostname": "client.example",
        "secret_id": "",
        "max_connections": 8,
        "max_messages_per_connection": 100,
        "connect_timeout_seconds": 20,
        "command_timeout_seconds": 20,
        "data_timeout_seconds": 20,
        "transaction_timeout_seconds": 30,
    }
    return SmtpSettings(**{**defaults, **changes})


@asynccontextmanager
async def served(*scripts: Script, **settings: Any) -> AsyncIterator[tuple[ScriptedServer, SmtpCourier]]:
    """A scripted server, and a courier to it."""
    async with ScriptedServer(*scripts) as server:
        courier = courier_factory(smtp_settings(server.port, **settings))()
        yield server, courier
        await courier.close()


@asynccontextmanager
async def aiosmtpd_server(handler: object, **options: Any) -> AsyncIterator[int]:
    """A well-behaved server of a stranger's making, in the test's own event loop; gives its port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: aiosmtpd.smtp.SMTP(handler, loop=loop, **options), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
