"""What the courier makes of a server's replies, read from real sockets."""

from __future__ import annotations

import re
import socket
from typing import Any

import pytest

from ion.errors import ServerUnavailable
from ion.outcome import Kind, Outcome
from ion.smtp import courier_factory
from tests.support.courier_contract import ANN, BOB, envelope, kinds
from tests.support.smtp_server import AGES, DROP, Packets, Script, served, smtp_settings

DELIVERED, DEFERRED, REJECTED = Kind.DELIVERED, Kind.DEFERRED, Kind.REJECTED


@pytest.mark.parametrize(
    ("step", "outcome"),
    [
        (
            Packets((b"55", b"0 5.1.1 no ", b"such\r", b"\n")),
            Outcome(kind=REJECTED, code=550, enhanced="5.1.1", text="no such"),
        ),
        (
            Packets((b"550-5.1.1 no\r\n", b"550-5.1.1 such", b"\r\n550 ", b"5.1.1 user\r\n")),
            Outcome(kind=REJECTED, code=550, enhanced="5.1.1", text="no such user"),
        ),
        (b"450-busy\r\n450 try later\r\n", Outcome(kind=DEFERRED, code=450, text="busy try later")),
        (b"550\r\n", Outcome(kind=REJECTED, code=550)),
        (b"550 5.1.1\r\n", Outcome(kind=REJECTED, code=550, enhanced="5.1.1")),
        (b"550 4.1.1 x\r\n", Outcome(kind=REJECTED, code=550, text="4.1.1 x")),
        (b"550 5.1.1.1 x\r\n", Outcome(kind=REJECTED, code=550, text="5.1.1.1 x")),
        (b"550 bo\xeete \xc3\xa0 lettres\r\n", Outcome(kind=REJECTED, code=550, text="bo\ufffdte à lettres")),
        (b"550 \x1b[31mred\x00\x07\ttab\x7f\r\n", Outcome(kind=REJECTED, code=550, text="[31mred tab")),
        (b"550 " + b"x" * 600 + b"\r\n", Outcome(kind=REJECTED, code=550, text="x" * 500)),
    ],
    ids=lambda value: "" if isinstance(value, Outcome) else None,
)
async def test_reply_is_read(step: Any, outcome: Outcome) -> None:
    """Replies are read however they come: in pieces, in lines, with or without enhanced code, in any encoding."""
    async with served(Script(rcpt={BOB: step})) as (_, courier):
        outcomes = await courier.send(envelope(ANN, BOB))
        assert outcomes[BOB] == outcome
        assert outcomes[ANN].kind is DELIVERED


@pytest.mark.parametrize(
    "script",
    [
        Script(mail=b"250 ok\r\n250 ok\r\n", rcpt="550 5.1.1 unknown"),
        Script(rcpt=b"250 ok\r\n354 go\r\n", data="451 4.3.0 no"),
        Script(data=b"354 go\r\n250 ok\r\n", message="554 5.6.0 spam"),
    ],
    ids=str,
)
async def test_reply_too_many_is_not_taken_for_the_next(script: Script) -> None:
    """A reply that nothing asked for ends the connection; it never makes a mail delivered."""
    async with served(script) as (_, courier):
        outcomes = await courier.send(envelope())
        assert kinds(outcomes) == {ANN: DEFERRED}
        assert "nothing had asked for" in outcomes[ANN].text


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (b"no code\r\n", "Malformed SMTP response line: no code, at RCPT"),
        (b"042 is no code\r\n", "a reply out of place (42 is no code), at RCPT"),
        (b"354 not yet\r\n", "a reply out of place (354 not yet), at RCPT"),
        (b"250 " + b"x" * 40_000 + b"\r\n", "Response too long, at RCPT"),
        (DROP, "the connection was lost, at RCPT"),
        (AGES, "no answer in time, at RCPT"),
    ],
    ids=str,
)
async def test_outcome_says_what_was_wrong(step: Any, text: str) -> None:
    """Where no reply could be had the outcome's text says so, and at which stage."""
    async with served(Script(rcpt={ANN: step})) as (_, courier):
        assert await courier.send(envelope()) == {ANN: Outcome(kind=DEFERRED, text=text)}


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (Script(greeting="554 5.3.2 go away"), "127.0.0.1:PORT: 554 5.3.2 go away, at connect"),
        (Script(ehlo="421 4.3.2 busy"), "127.0.0.1:PORT: 421 4.3.2 busy, at EHLO"),
        (Script(mail="530 5.7.0 log in"), "127.0.0.1:PORT: 530 5.7.0 log in, at MAIL"),
    ],
    ids=str,
)
async def test_unavailability_says_who_and_why(script: Script, message: str) -> None:
    """ServerUnavailable names the server, its words and the stage."""
    async with served(script) as (server, courier):
        with pytest.raises(ServerUnavailable) as caught:
            await courier.send(envelope())
        assert str(caught.value) == message.replace("PORT", str(server.port))


async def test_nobody_listening_is_the_servers_state() -> None:
    """A port that refuses connections makes the server unavailable."""
    with socket.socket() as bound:  # and does not listen: so nobody else can, either
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with pytest.raises(ServerUnavailable, match=rf"^127\.0\.0\.1:{port}: .*at connect$"):
            await courier_factory(smtp_settings(port))().connect()


async def test_unknown_host_is_the_servers_state() -> None:
    """A name that does not resolve, or cannot be one, makes the server unavailable."""
    for name in ("nowhere.invalid", "a" * 70 + ".example"):
        with pytest.raises(ServerUnavailable, match=re.escape(name)):
            await courier_factory(smtp_settings(25, server=name))().connect()
