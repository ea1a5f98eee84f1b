"""SMTP: one connection with one owner, and one transaction at a time, with an outcome for every recipient.

aiosmtplib makes the connection (TLS, EHLO, AUTH) and carries the commands. The message itself goes out by a data phase
of our own, which hands all of it to the kernel first and writes the final dot only then: what it reports as ambiguous
(RFC 1047) is that and nothing more. (Over TLS some 100 KB may still lie in the transport's own buffer at that time: a
connection lost then is called ambiguous though the message was never complete. It never errs the other way.)
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
from typing import TYPE_CHECKING, cast

from aiosmtplib import SMTP, SMTPAuthenticationError, SMTPException, SMTPResponseException, SMTPServerDisconnected

from ion.errors import ServerUnavailable, SettingsError, TurnedAway
from ion.outcome import Course, Kind, Outcome, Reply, Stage, classify

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiosmtplib import SMTPResponse
    from aiosmtplib.protocol import SMTPProtocol

    from ion.protocols import Envelope
    from ion.settings import SmtpSettings

QUIT_SECONDS = 2
"""How long a connection that is no longer needed may take to say goodbye."""
CHUNK_BYTES = 65_536
"""How much of a message is written at a time."""

_OK, _CLOSING = 250, 421
_TRANSACTION = (Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.FINAL_DOT)

# The server does not do this mechanism, or not here; another one may work (RFC 4954 sections 4 and 6).
_TRY_ANOTHER_MECHANISM = (500, 501, 502, 503, 504, 534, 538)


def courier_factory(settings: SmtpSettings) -> Callable[[], SmtpCourier]:
    """Make a maker of couriers; they share one TLS context.

    Raises:
        SettingsError: `smtp.ca` cannot be used.
    """
    context = None if settings.tls == "none" else _tls_context(settings.ca)
    return lambda: SmtpCourier(settings, context)


def _tls_context(ca: str) -> ssl.SSLContext:
    """Trust the system's authorities or, where `ca` (PEM text or a path) is given, that one and no other."""
    is_text = "-----BEGIN" in ca
    try:
        return ssl.create_default_context(cadata=ca if is_text else None, cafile=None if is_text else ca or None)
    except OSError as error:
        what = "the text given" if is_text else repr(ca)
        raise SettingsError(f"smtp.ca: {what} cannot be used ({error}): give PEM text or a PEM file's path") from error


class SmtpCourier:
    """A `Courier` over SMTP.

    `connect` takes at most `connect_timeout_seconds`, and `send` at most `transaction_timeout_seconds` more; where the
    connection has done its `max_messages_per_connection` and is replaced, either takes up to `QUIT_SECONDS` on top.

    Attributes:
        connections: Connections begun so far.
        round_trips: Replies waited for so far, greetings included.
    """

    def __init__(self, settings: SmtpSettings, context: ssl.SSLContext | None) -> None:
        self._settings = settings
        self._context = context
        self._smtp: SMTP | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._transactions = 0
        self._deadline = 0.0
        self.connections = 0
        self.round_trips = 0

    # The connection.

    async def connect(self) -> None:
        """Make the connection stand, login included; at once if it stands already and may be used again."""
        if self._stands() and self._transactions < self._settings.max_messages_per_connection:
            return
        await self.close()
        await self._connect(self._settings.connect_timeout_seconds)

    async def close(self) -> None:
        """Say QUIT if the connection stands; takes at most `QUIT_SECONDS` and never raises."""
        try:
            if self._stands():
                with contextlib.suppress(Exception):
                    await self._say(QUIT_SECONDS, b"QUIT")
        finally:
            self._drop()

    def _stands(self) -> bool:
        return self._smtp is not None and self._smtp.is_connected

    def _connection(self) -> SMTP:
        if self._smtp is None:
            raise SMTPServerDisconnected("not connected")
        return self._smtp

    def _drop(self) -> None:
        """Let go of the connection at once, and of what is not sent yet."""
        transport, self._transport = self._transport, None
        smtp, self._smtp = self._smtp, None
        if transport is not None:
            transport.abort()
        if smtp is not None:
            smtp.close()

    async def _connect(self, seconds: float) -> None:
        settings = self._settings
        self._smtp = smtp = SMTP(
            hostname=settings.server,
            port=settings.port,
            local_hostname=settings.hostname or "localhost",
            timeout=None,
            use_tls=settings.tls == "implicit",
            start_tls=False,
            tls_context=self._context,
        )
        self._transactions = 0
        self.connections += 1
        stage = Stage.CONNECT
        try:
            async with asyncio.timeout(seconds):
                self.round_trips += 1
                await smtp.connect()
                self._transport = cast("asyncio.WriteTransport", smtp.transport)
                name = settings.hostname or _own_name(self._transport)
                stage = Stage.EHLO
                self.round_trips += 1
                await smtp.ehlo(hostname=name)
                if settings.tls == "starttls":
                    stage = Stage.STARTTLS
                    self.round_trips += 2
                    await smtp.starttls()
                    self._transport = cast("asyncio.WriteTransport", smtp.transport)
                    stage = Stage.EHLO
                    await smtp.ehlo(hostname=name)
                if settings.username:
                    stage = Stage.AUTH
                    await self._login(smtp)
            # So that the protocol pauses until all that was written is with the kernel. (0 would say it, but asyncio's
            # TLS transport then takes an empty buffer for a full one.)
            self._transport.set_write_buffer_limits(high=1, low=0)
        except (SMTPException, OSError, ValueError) as error:
            self._drop()
            raise self._unavailable(stage, _failure(stage, error)) from error
        except BaseException:
            self._drop()
            raise

    async def _login(self, smtp: SMTP) -> None:
        """Log in by the first mechanism that both sides know: the cheapest over TLS, the most discreet without."""
        mechanisms = [("plain", smtp.auth_plain, 1), ("login", smtp.auth_login, 2), ("cram-md5", smtp.auth_crammd5, 2)]
        if self._settings.tls == "none":
            mechanisms.insert(0, mechanisms.pop())
        refusal = SMTPException("smtp.username is set, and the server offers none of AUTH PLAIN, LOGIN and CRAM-MD5")
        for name, authenticate, round_trips in mechanisms:
            if name in smtp.server_auth_methods:
                self.round_trips += round_trips
                try:
                    await authenticate(self._settings.username, self._settings.password)
                except SMTPAuthenticationError as error:
                    if error.code not in _TRY_ANOTHER_MECHANISM:
                        raise
                    refusal = error
                else:
                    return
        raise refusal

    def _unavailable(self, stage: Stage, reply: Reply) -> ServerUnavailable:
        what = f"{reply}, at {stage}" if reply.code else str(reply)
        kind = TurnedAway if stage in _TRANSACTION else ServerUnavailable
        return kind(f"{self._settings.server}:{self._settings.port}: {what}")

    # The transaction.

    async def send(self, envelope: Envelope) -> dict[str, Outcome]:
        """Run one transaction, connecting first where needed.

        The server may have given up a connection that served before: where such a one fails before the server has
        asked for the message, the transaction begins once more on a fresh one.
        """
        try:
            return await self._send(envelope)
        except BaseException:  # broken off in the middle: nobody knows what of it the server holds
            self._drop()
            raise

    async def _send(self, envelope: Envelope) -> dict[str, Outcome]:
        message = _with_crlf(envelope.message)
        await self.connect()
        obstacle = self._obstacle(envelope, len(message))
        if obstacle is not None:
            return dict.fromkeys(envelope.recipients, obstacle)
        self._deadline = asyncio.get_running_loop().time() + self._settings.transaction_timeout_seconds
        reused = self._transactions > 0
        try:
            outcomes = await self._invite(envelope, len(message))
            stale = reused and not self._stands() and not all(outcome.code for outcome in outcomes.values())
        except ServerUnavailable:
            if not reused:
                raise
            stale = True
        if stale:
            self._drop()
            await self._connect(self._remaining(self._settings.connect_timeout_seconds))
            outcomes = await self._invite(envelope, len(message))
        accepted = [recipient for recipient in envelope.recipients if recipient not in outcomes]
        if accepted:
            outcomes |= dict.fromkeys(accepted, await self._hand_over(message))
        if self._stands() and not any(outcome.kind is Kind.DELIVERED for outcome in outcomes.values()):
            await self._reset()
        return {recipient: outcomes[recipient] for recipient in envelope.recipients}

    async def _invite(self, envelope: Envelope, size: int) -> dict[str, Outcome]:
        """Say MAIL, RCPT for each, and DATA.

        Returns:
            An outcome for everyone that is settled by now; if anyone is not, the server awaits the message.
        """
        parameters = [b"SIZE=%d" % size] if self._connection().supports_extension("size") else []
        parameters += [b"SMTPUTF8"] if envelope.smtputf8 else []
        self._transactions += 1
        kind, reply = await self._ask(Stage.MAIL, b"MAIL", b"FROM:<%s>" % envelope.sender.encode(), *parameters)
        if kind is not None:
            return dict.fromkeys(envelope.recipients, reply.outcome(kind))
        outcomes: dict[str, Outcome] = {}
        for recipient in envelope.recipients:
            kind, reply = await self._ask(Stage.RCPT, b"RCPT", b"TO:<%s>" % recipient.encode())
            if kind is not None:
                outcomes[recipient] = reply.outcome(kind)
                if not reply.code:  # the connection is gone, and the others' chance with it
                    return dict.fromkeys(envelope.recipients, outcomes[recipient]) | outcomes
        if len(outcomes) < len(envelope.recipients):
            kind, reply = await self._ask(Stage.DATA, b"DATA")
            if kind is not None:
                return dict.fromkeys(envelope.recipients, reply.outcome(kind)) | outcomes
        return outcomes

    def _obstacle(self, envelope: Envelope, size: int) -> Outcome | None:
        """What the server's EHLO says against this mail."""
        smtp = self._connection()
        if envelope.smtputf8 and not smtp.supports_extension("smtputf8"):
            text = "an address needs SMTPUTF8 (RFC 6531), which the server does not offer"
            return Outcome(kind=Kind.REJECTED, enhanced="5.6.7", text=text)
        limit = smtp.esmtp_extensions.get("size", "")
        if re.fullmatch("[0-9]+", limit) and 0 < int(limit) < size:  # 0: no fixed limit (RFC 1870 section 4)
            text = f"the message has {size} octets, and the server takes {limit} at most (RFC 1870)"
            return Outcome(kind=Kind.REJECTED, enhanced="5.3.4", text=text)
        return None

    async def _ask(self, stage: Stage, *command: bytes) -> tuple[Kind | None, Reply]:
        """Say a command and judge its reply; the kind is None where the dialogue goes on.

        Raises:
            ServerUnavailable: The reply says so.
        """
        seconds = self._remaining(self._settings.command_timeout_seconds)
        try:
            reply = _read(stage, *await self._say(seconds, *command))
        except (SMTPException, OSError) as error:
            self._drop()
            reply = _failure(stage, error)
        verdict = classify(stage, reply)
        if verdict is Course.UNAVAILABLE:
            raise self._unavailable(stage, reply)
        return verdict if isinstance(verdict, Kind) else None, reply

    async def _say(self, seconds: float, *command: bytes) -> SMTPResponse:
        """Say a command and wait for its reply; by our own time-out, as the library's can swallow a cancellation."""
        smtp = self._connection()
        _expect_silence(smtp)
        self.round_trips += 1
        async with asyncio.timeout(seconds):
            return await smtp.execute_command(*command, timeout=None)

    async def _hand_over(self, message: bytes) -> Outcome:
        """Send the message that the server awaits; the outcome holds for everyone it accepted.

        Raises:
            ServerUnavailable: It gave up (421) before the final dot.
        """
        smtp, limit, stage = self._connection(), self._settings.data_timeout_seconds, Stage.DATA
        protocol = smtp.protocol
        if protocol is None:
            return _failure(stage, SMTPServerDisconnected("")).outcome(Kind.DEFERRED)
        self.round_trips += 1
        answer = asyncio.create_task(protocol.read_response())  # before the dot too: a server that gives up may say so
        body = asyncio.create_task(_write(protocol, _dot_stuffed(message)))
        try:
            _expect_silence(smtp)
            await asyncio.wait({answer, body}, timeout=self._remaining(limit), return_when=asyncio.FIRST_COMPLETED)
            if body.done() and not answer.done():
                body.result()
                protocol.write(b".\r\n")
                stage = Stage.FINAL_DOT
                await asyncio.wait({answer}, timeout=self._remaining(limit))
            if not answer.done():
                raise TimeoutError
            reply = _read(stage, *answer.result())
        except (SMTPException, OSError) as error:
            reply = _failure(stage, error)
        finally:
            answer.cancel()
            body.cancel()
            await asyncio.gather(answer, body, return_exceptions=True)
        if stage is Stage.DATA or reply.code in (0, _CLOSING):
            self._drop()
        verdict = classify(stage, reply)
        if verdict is Course.UNAVAILABLE:
            raise self._unavailable(stage, reply)
        return reply.outcome(verdict if isinstance(verdict, Kind) else Kind.DEFERRED)

    async def _reset(self) -> None:
        """Have the server forget a transaction that came to nothing (RFC 5321 section 4.1.1.5)."""
        try:
            code, _ = await self._say(self._remaining(self._settings.command_timeout_seconds), b"RSET")
        except (SMTPException, OSError):
            code = 0
        if code != _OK:
            self._drop()

    def _remaining(self, limit: float) -> float:
        """Seconds for the next step: the limit, or what is left of the transaction's time."""
        return max(0.0, min(limit, self._deadline - asyncio.get_running_loop().time()))


async def _write(protocol: SMTPProtocol, data: bytes) -> None:
    """Write, and wait until it has been handed to the kernel."""
    for start in range(0, len(data), CHUNK_BYTES):
        protocol.write(data[start : start + CHUNK_BYTES])
        await protocol._drain_helper()  # noqa: SLF001 - there is no public way; a test guards it


def _expect_silence(smtp: SMTP) -> None:
    """Refuse to go on where the server said more than it was asked: that would be taken for the next reply."""
    if smtp.protocol is not None and smtp.protocol._buffer:  # noqa: SLF001 - there is no public way; a test guards it
        raise SMTPException("the server sent a reply that nothing had asked for")


def _read(stage: Stage, code: int, text: str) -> Reply:
    """Read a reply; one that has no meaning here fails the exchange."""
    reply = Reply.of(code, text)
    if classify(stage, reply) not in (Course.PROCEED, Kind.DELIVERED) and code // 100 not in (4, 5):
        raise SMTPException(f"a reply out of place ({reply})")
    return reply


def _failure(stage: Stage, error: Exception) -> Reply:
    """What stands in place of a reply when an exchange has failed."""
    match error:
        case SMTPResponseException(code=code) if code > 0:
            return Reply.of(code, error.message)
        case TimeoutError():
            text = "no answer in time"
        case SMTPServerDisconnected():
            text = "the connection was lost"
        case _:
            text = getattr(error, "message", "") or str(error) or type(error).__name__
    return Reply.of(0, f"{text.strip()}, at {stage}")


def _own_name(transport: asyncio.BaseTransport) -> str:
    """The machine's name if it is a full one, else its address on this connection (RFC 5321 section 4.1.4)."""
    name = socket.gethostname()
    if re.fullmatch(r"(?:[A-Za-z0-9-]+\.)+[A-Za-z][A-Za-z0-9-]*", name):
        return name
    address = transport.get_extra_info("sockname")[0].partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def _with_crlf(message: bytes) -> bytes:
    """No bare CR or LF may go out (RFC 5321 section 2.3.8), and the last line has its end."""
    if not message.count(b"\r\n") == message.count(b"\n") == message.count(b"\r"):
        message = re.sub(rb"\r\n|\r|\n", b"\r\n", message)
    return message if message.endswith(b"\r\n") else message + b"\r\n"


def _dot_stuffed(message: bytes) -> bytes:
    """A dot before each that begins a line (RFC 5321 section 4.5.2)."""
    message = message.replace(b"\r\n.", b"\r\n..")
    return b"." + message if message.startswith(b".") else message
