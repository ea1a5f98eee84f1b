"""One SMTP session of the sink: aiosmtpd's protocol, which asks for faults at each stage and writes down what comes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import re
import time
from dataclasses import dataclass, field
from email.header import decode_header, make_header
from email.parser import BytesHeaderParser
from typing import TYPE_CHECKING, Any

from aiosmtpd.smtp import SMTP, AuthResult, TLSSetupException

from harness import maildir
from harness.errors import HistoryError
from harness.faults import Stage, Visit

if TYPE_CHECKING:
    from harness.sink import Sink

IDLE_SECONDS = 300.0
HEADER_BYTES = 64 * 1024  # of a hostile mail's headers, this much is looked at for the history
PLAIN_PATH = re.compile(r"<([\w.+=-]+@[\w.-]+)>(.*)", re.ASCII)


@dataclass(kw_only=True, slots=True)
class _Transaction:
    """One mail transaction (RFC 5321 section 3.3) as it goes on."""

    number: str
    began: float
    sender: str = ""
    recipients: list[str] = field(default_factory=list)
    refused: list[dict[str, str]] = field(default_factory=list)
    kept: dict[str, Any] = field(default_factory=dict)


class Session(SMTP):  # type: ignore[misc]  # aiosmtpd has no types
    """One connection, from greeting to end; its own handler in aiosmtpd's sense.

    aiosmtpd calls the `handle_` hooks once a command's syntax and order are right, the `smtp_` methods always.
    """

    def __init__(self, sink: Sink) -> None:
        starttls = sink.tls == "starttls"
        super().__init__(
            self,
            data_size_limit=sink.size_limit,
            enable_SMTPUTF8=sink.smtputf8,
            hostname="localhost",
            ident="ion sink",
            tls_context=sink.context if starttls else None,
            require_starttls=starttls,
            auth_require_tls=starttls,
            authenticator=self._authenticate_login,
            timeout=IDLE_SECONDS,
            loop=asyncio.get_running_loop(),
        )
        # Not by the argument of this name: that one warns where a login is asked for without STARTTLS.
        self._auth_required = bool(sink.username)
        self._sink = sink
        self._number = 0
        self._began = time.time()
        self._tls = ""
        self._user = ""
        self._stage = Stage.GREETING
        self._drip_seconds = 0.0
        self._reply = ""
        self._end = "client left"
        self._transactions = 0
        self._accepted = 0
        self._transaction: _Transaction | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin the session; called once more when STARTTLS has made its layer."""
        if not self._number:
            self._number = self._sink.enter(self)
        layer = transport.get_extra_info("ssl_object")
        if layer is not None:
            self._tls = layer.version()
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Write down the session, and the transaction that it broke off."""
        super().connection_lost(error)
        if self._sink.leave(self):
            self._end_transaction()
            self._sink.history.record(
                "smtp.session",
                session=self._number,
                began=self._began,
                tls=self._tls,
                user=self._user,
                transactions=self._transactions,
                accepted=self._accepted,
                stage=self._stage,
                reply=self._reply,
                end=self._end,
            )

    def cut(self, why: str) -> None:
        """End the connection at once; what was not sent yet is lost."""
        self._end = why
        if self.transport is not None:
            # A TLS transport of Python 3.11.2 (Debian 12's) that has been closed twice has nothing left to abort.
            with contextlib.suppress(AttributeError):
                self.transport.abort()

    async def push(self, status: str | bytes) -> None:
        """Send one line of a reply."""
        line = status.decode(errors="replace") if isinstance(status, bytes) else status
        for character in line if self._drip_seconds else "":
            self._writer.write(character.encode())
            await self._writer.drain()
            await asyncio.sleep(self._drip_seconds)
        await super().push(b"" if self._drip_seconds else status)
        self._reply = line

    async def handle_exception(self, error: Exception) -> str:
        """What nobody foresaw is the sink's own fault: it goes into the history, and the connection ends."""
        if isinstance(error, TLSSetupException):  # a client that leaves in the middle of the handshake is free to
            self.cut("TLS handshake failed")
            raise asyncio.CancelledError
        if not isinstance(error, HistoryError):  # then the history itself knows
            self._sink.history.record("smtp.trouble", session=self._number, text=repr(error))
        self.cut("sink failed")
        raise asyncio.CancelledError

    async def _fault(self, stage: Stage, *, recipient: str = "", size: int = 0) -> str:
        """A fault's reply for this stage, or nothing; does not return if the fault ends the connection."""
        self._stage = stage
        self._drip_seconds = 0.0
        if self._sink.faults is None:
            return ""
        current = self._transaction
        found = await self._sink.faults.at(
            Visit(
                session=self._number,
                stage=stage,
                sender=current.sender if current else "",
                recipient=recipient,
                recipients=tuple(current.recipients) if current else (),
                size=size,
            )
        )
        if found is None:
            return ""
        self._drip_seconds = found.drip_seconds
        if found.drop:
            self.cut("dropped")
            raise asyncio.CancelledError
        if found.reply.startswith("421") or (stage is Stage.GREETING and found.reply):
            self._end = "closed"
            await self.push(found.reply)
            self._end_transaction(found.reply)
            self.transport.close()
            raise asyncio.CancelledError
        return found.reply

    async def _handle_client(self) -> None:
        await self._fault(Stage.GREETING)
        await super()._handle_client()

    async def handle_EHLO(  # noqa: N802 - the names of hooks and commands are aiosmtpd's
        self, _server: Any, session: Any, _envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        """EHLO, or a fault in its place."""
        self._end_transaction()
        reply = await self._fault(Stage.EHLO)
        if reply:
            return [reply]
        session.host_name = hostname
        return responses

    async def smtp_STARTTLS(self, arg: str) -> None:  # noqa: N802
        """STARTTLS, or a fault in its place."""
        reply = await self._fault(Stage.STARTTLS)
        await (self.push(reply) if reply else super().smtp_STARTTLS(arg))

    async def smtp_AUTH(self, arg: str) -> None:  # noqa: N802
        """AUTH, or a fault in its place."""
        reply = await self._fault(Stage.AUTH)
        await (self.push(reply) if reply else super().smtp_AUTH(arg))

    def _authenticate_login(
        self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any
    ) -> AuthResult:
        right = hmac.compare_digest(data.login, self._sink.username.encode())
        right &= hmac.compare_digest(data.password, self._sink.password.encode())
        self._user = self._sink.username if right else ""
        return AuthResult(success=right, handled=False)

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802
        """MAIL: begins a transaction, also one that is refused at once."""
        self._stage = Stage.MAIL
        if self._transaction is None:
            self._transactions += 1
            number = f"{self._number}.{self._transactions}"
            self._transaction = _Transaction(number=number, began=time.time(), sender=_address(arg))
        await super().smtp_MAIL(arg)
        if not self._reply.startswith("2") and not self.envelope.mail_from:
            self._end_transaction(self._reply)

    async def handle_MAIL(  # noqa: N802
        self, _server: Any, _session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        """MAIL in good order."""
        reply = await self._fault(Stage.MAIL)
        if not reply:
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return reply or "250 2.1.0 sender ok"

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802
        """RCPT: one more recipient, accepted or refused."""
        self._stage = Stage.RCPT
        await super().smtp_RCPT(arg)
        if self._transaction and not self._reply.startswith("2"):
            self._transaction.refused.append({"recipient": _address(arg), "reply": self._reply})

    async def handle_RCPT(  # noqa: N802
        self, _server: Any, _session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        """RCPT in good order."""
        reply = await self._fault(Stage.RCPT, recipient=address)
        if not reply and self._transaction:
            envelope.rcpt_tos.append(address)
            envelope.rcpt_options.extend(options)
            self._transaction.recipients.append(address)
        return reply or "250 2.1.5 recipient ok"

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802
        """DATA, the message, and the reply to its final dot: the end of a transaction."""
        reply = await self._fault(Stage.DATA)
        if reply:
            await self.push(reply)
        else:
            await super().smtp_DATA(arg)
        self._end_transaction(self._reply)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        """The message has come: keep it."""
        message: bytes = envelope.original_content
        reply = await self._fault(Stage.DOT, size=len(message))
        if reply or not self._transaction:
            return reply
        try:
            key = maildir.add(self._sink.mail, message) if self._sink.mail else ""
        except OSError as error:
            return f"452 4.3.1 the sink cannot keep the mail: {error.strerror}"
        self._accepted += 1
        self._transaction.kept = {
            "key": key,
            "sha256": hashlib.sha256(message).hexdigest(),
            "size": len(message),
            **_headers(message),
        }
        return await self._fault(Stage.KEPT, size=len(message)) or f"250 2.0.0 kept as {self._transaction.number}"

    async def smtp_RSET(self, arg: str) -> None:  # noqa: N802
        """RSET: the client gives the transaction up."""
        self._end_transaction()
        await super().smtp_RSET(arg)

    async def smtp_QUIT(self, arg: str) -> None:  # noqa: N802
        """QUIT."""
        self._end = "quit"
        await super().smtp_QUIT(arg)

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        """Spare the usual address the whole grammar of RFC 5322, which takes a third of the time of a transaction."""
        plain = PLAIN_PATH.fullmatch(arg)
        address: tuple[str | None, str | None] = plain.groups() if plain else super()._getaddr(arg)  # type: ignore[assignment]
        return address

    def _end_transaction(self, reply: str = "") -> None:
        """Write the transaction down: accepted when the mail was kept, refused when a reply said no, else dropped.

        `reply` is the one that ended it, empty if the client was sent none.
        """
        done, self._transaction = self._transaction, None
        if done is None:
            return
        refused = reply or (done.refused and not done.recipients)
        result = "accepted" if done.kept else "refused" if refused else "dropped"
        self._sink.history.record(
            "smtp.transaction",
            session=self._number,
            transaction=done.number,
            began=done.began,
            result=result,
            stage=self._stage,
            sender=done.sender,
            recipients=done.recipients,
            refused=done.refused,
            reply=reply,
            replied=bool(reply),
            tls=bool(self._tls),
            user=self._user,
            **done.kept,
        )


def _address(arg: str | None) -> str:
    """The address in the argument of MAIL or RCPT, as it was given: also a malformed one has to be written down."""
    path = (arg or "").partition(":")[2].strip()
    return path[1:].partition(">")[0] if path.startswith("<") else path.partition(" ")[0]


def _headers(message: bytes) -> dict[str, str]:
    """What the history says about a mail besides its bytes; a header that is broken is left as it came."""
    head = BytesHeaderParser().parsebytes(message[: max(0, message.find(b"\r\n\r\n", 0, HEADER_BYTES))])
    found = {"workload": "X-Workload-Id", "message_id": "Message-ID", "subject": "Subject"}
    values = {}
    for name, header in found.items():
        raw = str(head[header] or "").replace("\r\n", "").strip()
        try:
            values[name] = str(make_header(decode_header(raw)))
        except (ValueError, LookupError):
            values[name] = raw
    return values
