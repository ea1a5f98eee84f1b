"""What the courier says and does on the wire, against servers on loopback."""

from __future__ import annotations

import asyncio
import inspect
import socket
from typing import TYPE_CHECKING, Any

import aiosmtplib
import pytest
from aiosmtplib.protocol import SMTPProtocol

from ion.errors import ServerUnavailable
from ion.outcome import Kind
from ion.smtp import courier_factory
from tests.support.courier_contract import ANN, BOB, CAT, LARGE, MESSAGE, envelope, kinds
from tests.support.smtp_server import (
    AGES,
    DROP,
    HANG,
    Script,
    ScriptedServer,
    ThenDrop,
    aiosmtpd_server,
    served,
    smtp_settings,
)

if TYPE_CHECKING:
    from collections.abc import Callable

DELIVERED, DEFERRED, REJECTED, AMBIGUOUS = Kind.DELIVERED, Kind.DEFERRED, Kind.REJECTED, Kind.AMBIGUOUS


# The dialogue.


async def test_says_no_more_than_it_must() -> None:
    """A mail takes MAIL, RCPT for each recipient and DATA; the connection takes one EHLO and ends by QUIT."""
    async with served(Script(extensions=("SIZE 0",))) as (server, courier):
        await courier.send(envelope(ANN, BOB))
        await courier.send(envelope(CAT))
        await courier.close()
        assert server.sessions[0].commands == [
            "EHLO client.example",
            f"MAIL FROM:<ion@example.com> SIZE={len(MESSAGE)}",
            "RCPT TO:<ann@example.com>",
            "RCPT TO:<bob@example.com>",
            "DATA",
            f"MAIL FROM:<ion@example.com> SIZE={len(MESSAGE)}",
            "RCPT TO:<cat@example.com>",
            "DATA",
            "QUIT",
        ]
        assert courier.connections == 1
        assert courier.round_trips == len(["greeting", *server.sessions[0].commands, "final dot", "final dot"])


async def test_parameters_follow_the_servers_extensions() -> None:
    """SIZE is given only to a server that announces it, SMTPUTF8 only with a mail that needs it."""
    async with served(Script(extensions=("SMTPUTF8",))) as (server, courier):
        await courier.send(envelope(ANN))
        await courier.send(envelope("jürgen@example.com", smtputf8=True))
        assert server.sessions[0].commands[1] == "MAIL FROM:<ion@example.com>"
        assert server.sessions[0].commands[4:6] == [
            "MAIL FROM:<ion@example.com> SMTPUTF8",
            "RCPT TO:<jürgen@example.com>",
        ]


async def test_resets_what_came_to_nothing() -> None:
    """A transaction in which nobody was accepted ends in RSET, without DATA, and the connection serves on."""
    async with served(Script(rcpt={ANN: "550 5.1.1 unknown"})) as (server, courier):
        await courier.send(envelope(ANN))
        await courier.send(envelope(BOB))
        assert server.sessions[0].verbs == ["EHLO", "MAIL", "RCPT", "RSET", "MAIL", "RCPT", "DATA"]


@pytest.mark.parametrize("rset", ["451 4.3.0 no", DROP, "250", AGES], ids=str)
async def test_failed_reset_spoils_no_outcome(rset: Any) -> None:
    """Whatever becomes of RSET, the outcomes stand and the next mail goes."""
    refuse = Script(rcpt={ANN: "550 5.1.1 unknown"}, rset=rset)
    async with served(refuse, Script()) as (_, courier):
        assert kinds(await courier.send(envelope(ANN))) == {ANN: REJECTED}
        assert kinds(await courier.send(envelope(BOB))) == {BOB: DELIVERED}


async def test_connection_is_replaced_after_its_share() -> None:
    """After max_messages_per_connection mails the connection ends by QUIT and a new one takes over."""
    async with served(max_messages_per_connection=2) as (server, courier):
        for _ in range(5):
            assert kinds(await courier.send(envelope())) == {ANN: DELIVERED}
        assert [session.verbs.count("MAIL") for session in server.sessions] == [2, 2, 1]
        assert [session.verbs[-1] for session in server.sessions] == ["QUIT", "QUIT", "DATA"]
        assert courier.connections == 3


async def test_two_couriers_do_not_meet() -> None:
    """Couriers of one factory send at the same time, each over its own connection."""
    async with ScriptedServer() as server:
        make = courier_factory(smtp_settings(server.port))
        one, other = make(), make()
        outcomes = await asyncio.gather(*(c.send(envelope(a)) for c, a in ((one, ANN), (other, BOB))))
        assert [kinds(outcome) for outcome in outcomes] == [{ANN: DELIVERED}, {BOB: DELIVERED}]
        assert len(server.sessions) == 2
        await asyncio.gather(one.close(), other.close())


@pytest.mark.parametrize(
    ("host_name", "said"),
    [("mail.example.org", "mail.example.org"), ("laptop", "[127.0.0.1]"), ("169.254.10.1", "[127.0.0.1]")],
)
async def test_gives_a_name_that_servers_take(monkeypatch: pytest.MonkeyPatch, host_name: str, said: str) -> None:
    """Without smtp.hostname EHLO gives the machine's full name, or else its address as a literal."""
    monkeypatch.setattr("socket.gethostname", lambda: host_name)
    async with served(hostname="") as (server, courier):
        await courier.connect()
        assert server.sessions[0].commands == [f"EHLO {said}"]


# The message.


class Recorder:
    def __init__(self) -> None:
        self.contents: list[bytes] = []
        self.recipients: list[str] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802, ARG002 - aiosmtpd's hook
        self.contents.append(envelope.original_content)
        self.recipients += envelope.rcpt_tos
        return "250 2.0.0 kept"


@pytest.mark.parametrize(
    ("message", "arrives"),
    [
        (MESSAGE, MESSAGE),
        (b".\r\n..\r\n...\r\n.x\r\n", b".\r\n..\r\n...\r\n.x\r\n"),
        (b"a\r\n\r\n.\r\nMAIL FROM:<x@example.com>\r\n", b"a\r\n\r\n.\r\nMAIL FROM:<x@example.com>\r\n"),
        (b"a\n.\nb\r.\rc\r\n", b"a\r\n.\r\nb\r\n.\r\nc\r\n"),
        (b"no line end", b"no line end\r\n"),
        ("ü\r\n\x00".encode() + bytes(range(14, 256)), "ü\r\n\x00".encode() + bytes(range(14, 256)) + b"\r\n"),
        (MESSAGE * 20_000, MESSAGE * 20_000),
    ],
    ids=["usual", "dots", "smuggled command", "bare CR and LF", "no line end", "any octet", "large"],
)
async def test_message_arrives_octet_for_octet(message: bytes, arrives: bytes) -> None:
    """What arrives is what was handed over; bare CR and LF, which SMTP forbids, have become line ends."""
    recorder = Recorder()
    async with aiosmtpd_server(recorder, data_size_limit=None) as port:
        courier = courier_factory(smtp_settings(port))()
        assert kinds(await courier.send(envelope(message=message))) == {ANN: DELIVERED}
        await courier.close()
    assert recorder.contents == [arrives]


async def test_international_address_arrives() -> None:
    """SMTPUTF8 carries a local part that is not ASCII."""
    recorder = Recorder()
    async with aiosmtpd_server(recorder, enable_SMTPUTF8=True) as port:
        courier = courier_factory(smtp_settings(port))()
        await courier.send(envelope("δοκιμή@example.com", smtputf8=True))
        await courier.close()
    assert recorder.recipients == ["δοκιμή@example.com"]


async def test_final_dot_waits_for_the_message() -> None:
    """A server that stops reading gets no final dot: the mail is deferred, never ambiguous."""
    async with served(Script(body=HANG), data_timeout_seconds=0.5) as (_, courier):
        assert kinds(await courier.send(envelope(message=LARGE))) == {ANN: DEFERRED}


async def test_final_dot_is_written_to_an_empty_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything before the final dot is with the kernel when it is written."""
    waiting: list[int] = []
    write = SMTPProtocol.write

    def watch(protocol: SMTPProtocol, data: bytes) -> None:
        if data == b".\r\n":
            waiting.append(protocol.transport.get_write_buffer_size())  # type: ignore[union-attr]
        write(protocol, data)

    monkeypatch.setattr(SMTPProtocol, "write", watch)
    async with served() as (server, courier):
        server.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await courier.connect()
        courier._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        for size in (50_000, 100_000, 1_000_000):  # more than the kernel takes before the server reads on
            assert kinds(await courier.send(envelope(message=(b"x" * 77 + b"\r\n") * (size // 79)))) == {ANN: DELIVERED}
        assert waiting == [0, 0, 0]


async def test_transaction_has_an_end_of_its_own() -> None:
    """transaction_timeout_seconds ends a transaction whose steps would all be in time."""
    async with served(Script(rcpt={BOB: AGES}), command_timeout_seconds=600) as (_, courier), asyncio.timeout(120):
        assert kinds(await courier.send(envelope(ANN, BOB))) == {ANN: DEFERRED, BOB: DEFERRED}


async def test_transaction_has_an_end_while_connecting_anew() -> None:
    """The connection that replaces a stale one is made in the transaction's time."""
    stale = Script(mail=("250 ok", DROP))
    async with served(stale, Script(greeting=AGES), connect_timeout_seconds=600) as (_, courier):
        await courier.send(envelope())
        async with asyncio.timeout(120):
            with pytest.raises(ServerUnavailable, match="no answer in time"):
                await courier.send(envelope())


async def test_server_that_gives_up_within_the_message_is_unavailable() -> None:
    """A 421 in the middle of a message is heard: nothing was sent, nobody's attempt is spent."""
    async with served(Script(body=ThenDrop("421 4.3.2 going down")), Script()) as (server, courier):
        with pytest.raises(ServerUnavailable, match=r"421 4\.3\.2 going down"):
            await courier.send(envelope(message=LARGE))
        assert server.accepted == []


# Breaking off.


async def silence(server: ScriptedServer) -> None:
    await server.met.wait()
    await server.sessions[0].silent.wait()


@pytest.mark.parametrize(
    "script",
    [Script(greeting=HANG), Script(mail=HANG), Script(rcpt=HANG), Script(data=HANG), Script(message=HANG)],
    ids=str,
)
async def test_cancellation_closes_the_connection(script: Script) -> None:
    """A send that is cancelled lets go of its connection at once, without QUIT, and the courier can send again."""
    async with served(script, Script()) as (server, courier):
        sending = asyncio.create_task(courier.send(envelope()))
        async with asyncio.timeout(60):
            await silence(server)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        async with asyncio.timeout(60):
            await server.sessions[0].ended.wait()
        assert "QUIT" not in server.sessions[0].verbs
        assert kinds(await courier.send(envelope())) == {ANN: DELIVERED}


async def test_cancellation_within_the_message_sends_no_more_of_it() -> None:
    """A message broken off in the middle is not completed behind the caller's back."""
    async with served(Script(body=HANG)) as (server, courier):
        sending = asyncio.create_task(courier.send(envelope(message=LARGE)))
        async with asyncio.timeout(60):
            await silence(server)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert courier._transport is None


async def test_cancellation_is_never_lost() -> None:
    """At whatever turn of the event loop a send is cancelled, it ends there and then, and the courier sends again."""
    async with ScriptedServer() as server:
        make = courier_factory(smtp_settings(server.port))
        for turns in range(1000):
            courier = make()
            sending = asyncio.create_task(courier.send(envelope()))
            for _ in range(turns):
                await asyncio.sleep(0)
            if sending.done():
                break
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
        else:
            pytest.fail("a send takes fewer turns than that")
        assert turns > 10
        assert kinds(await courier.send(envelope())) == {ANN: DELIVERED}
        await courier.close()


@pytest.mark.parametrize("step", [HANG, DROP, "500 what?", b"\xff\r\n"], ids=str)
async def test_close_never_raises(step: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the server makes of QUIT, close returns in time."""
    monkeypatch.setattr("ion.smtp.QUIT_SECONDS", 0.5)
    async with served(Script(quit=step)) as (server, courier):
        await courier.connect()
        await courier.close()
        async with asyncio.timeout(60):
            await server.sessions[0].ended.wait()


# aiosmtplib.


def test_aiosmtplib_is_what_the_courier_builds_on() -> None:
    """The parts of aiosmtplib that are not its public interface are still what the data phase takes them for."""
    assert aiosmtplib.__version__.startswith("5.1."), "read ion/smtp.py against this version of aiosmtplib"
    members: dict[str, Callable[..., Any]] = {
        name: getattr(SMTPProtocol, name) for name in ("_drain_helper", "read_response", "write", "pause_writing")
    }
    assert inspect.iscoroutinefunction(members["_drain_helper"])
    assert "self._paused" in inspect.getsource(members["_drain_helper"])
    assert "self._response_pending = True" in inspect.getsource(members["read_response"])
    assert "self._buffer = bytearray()" in inspect.getsource(SMTPProtocol.__init__)
