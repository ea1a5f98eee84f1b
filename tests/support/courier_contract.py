"""What every courier must do, the one over SMTP and its twin in memory alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import pytest

from ion.errors import ServerUnavailable, TurnedAway
from ion.outcome import Kind, Outcome
from ion.protocols import Courier, Envelope
from tests.support.smtp_server import AGES, DROP, Accepted, Script, ThenDrop

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

ANN, BOB, CAT = "ann@example.com", "bob@example.com", "cat@example.com"
MESSAGE = b"Subject: hello\r\n\r\n.a line that begins with a dot\r\n..\r\n.\r\nlast\r\n"
LARGE = MESSAGE + (b"x" * 76 + b"\r\n") * 200_000
"""More than all the buffers between two ends of a loopback connection hold."""


class Served(Protocol):
    """A courier and the server it talks to.

    Attributes:
        courier: Under test.
        accepted: What the server has taken, in order.
    """

    courier: Courier
    accepted: Sequence[Accepted]


class Serve(Protocol):
    """Starts a server that follows the scripts, one for each connection (the last one for all that come later)."""

    def __call__(self, *scripts: Script, **settings: Any) -> AbstractAsyncContextManager[Served]: ...


def envelope(*recipients: str, message: bytes = MESSAGE, smtputf8: bool = False) -> Envelope:
    return Envelope(sender="ion@example.com", recipients=recipients or (ANN,), message=message, smtputf8=smtputf8)


def kinds(outcomes: dict[str, Outcome]) -> dict[str, Kind]:
    return {recipient: outcome.kind for recipient, outcome in outcomes.items()}


DELIVERED, DEFERRED, REJECTED, AMBIGUOUS = Kind.DELIVERED, Kind.DEFERRED, Kind.REJECTED, Kind.AMBIGUOUS


class CourierContract:
    """Subclass it with a fixture `serve` (see `Serve`) for the courier to be held to this."""

    # The straight way.

    async def test_delivers_to_all(self, serve: Serve) -> None:
        """One transaction delivers to every recipient, octet for octet, and keeps the server's answer."""
        async with serve() as served:
            outcomes = await served.courier.send(envelope(ANN, BOB))
            assert outcomes == dict.fromkeys(
                (ANN, BOB), Outcome(kind=DELIVERED, code=250, enhanced="2.0.0", text="queued")
            )
            assert served.accepted == [Accepted(sender="ion@example.com", recipients=(ANN, BOB), message=MESSAGE)]

    async def test_connects_once(self, serve: Serve) -> None:
        """A connection that stands is left alone, and serves many mails."""
        unwelcome = Script(greeting="554 5.3.2 not again")
        async with serve(Script(), unwelcome) as served:
            await served.courier.connect()
            await served.courier.connect()
            for _ in range(3):
                assert kinds(await served.courier.send(envelope())) == {ANN: DELIVERED}
            assert len(served.accepted) == 3

    async def test_closes_and_opens_again(self, serve: Serve) -> None:
        """Closing is harmless at any time and any number of times; a later send connects anew."""
        async with serve() as served:
            await served.courier.close()
            await served.courier.connect()
            await served.courier.close()
            await served.courier.close()
            assert kinds(await served.courier.send(envelope())) == {ANN: DELIVERED}

    # Replies that settle recipients.

    @pytest.mark.parametrize(
        ("reply", "kind"),
        [
            ("450 4.2.0 greylisted", DEFERRED),
            ("451 4.3.0 local error", DEFERRED),
            ("452 4.5.3 too many recipients", DEFERRED),
            ("552 5.5.3 too many recipients", DEFERRED),
            ("550 5.5.3 too many recipients", DEFERRED),
            ("530 5.7.0 authentication required", DEFERRED),
            ("550 5.1.1 no such user", REJECTED),
            ("553 5.1.3 bad address", REJECTED),
        ],
    )
    async def test_reply_to_rcpt_settles_that_recipient_only(self, serve: Serve, reply: str, kind: Kind) -> None:
        """A refusal at RCPT is that recipient's; the others get the mail."""
        async with serve(Script(rcpt={BOB: reply})) as served:
            outcomes = await served.courier.send(envelope(ANN, BOB, CAT))
            assert kinds(outcomes) == {ANN: DELIVERED, BOB: kind, CAT: DELIVERED}
            code, enhanced, text = reply.split(" ", 2)
            assert outcomes[BOB] == Outcome(kind=kind, code=int(code), enhanced=enhanced, text=text)
            assert [mail.recipients for mail in served.accepted] == [(ANN, CAT)]

    async def test_mixed_refusals_leave_nobody(self, serve: Serve) -> None:
        """When nobody is accepted each has the outcome of its own reply, no message is sent, and the next mail goes."""
        async with serve(Script(rcpt={ANN: "450 4.2.1 busy", BOB: "550 5.1.1 unknown"})) as served:
            assert kinds(await served.courier.send(envelope(ANN, BOB))) == {ANN: DEFERRED, BOB: REJECTED}
            assert kinds(await served.courier.send(envelope(CAT))) == {CAT: DELIVERED}
            assert [mail.recipients for mail in served.accepted] == [(CAT,)]

    @pytest.mark.parametrize(
        ("script", "kind"),
        [
            (Script(mail=("451 4.3.0 later", "250 ok")), DEFERRED),
            (Script(mail=("452 4.3.1 disk full", "250 ok")), DEFERRED),
            (Script(mail=("550 5.7.1 not you", "250 ok")), REJECTED),
            (Script(mail=("552 5.3.4 too big", "250 ok")), REJECTED),
            (Script(data=("454 4.3.0 not now", "354 go")), DEFERRED),
            (Script(data=("554 5.5.1 no valid recipients", "354 go")), REJECTED),
            (Script(message=("451 4.3.0 later", "250 ok")), DEFERRED),
            (Script(message=("454 4.3.0 not now", "250 ok")), DEFERRED),
            (Script(message=("421 4.3.2 going down", "250 ok")), DEFERRED),
            (Script(message=("554 5.6.0 spam", "250 ok")), REJECTED),
            (Script(message=("552 5.2.2 over quota", "250 ok")), REJECTED),
        ],
        ids=str,
    )
    async def test_reply_to_the_mail_settles_everyone(self, serve: Serve, script: Script, kind: Kind) -> None:
        """A refusal at MAIL, DATA or after the final dot is everyone's, and the next mail goes."""
        async with serve(script, Script()) as served:
            assert kinds(await served.courier.send(envelope(ANN, BOB))) == {ANN: kind, BOB: kind}
            assert kinds(await served.courier.send(envelope(CAT))) == {CAT: DELIVERED}
            assert [mail.recipients for mail in served.accepted] == [(CAT,)]

    async def test_refused_recipient_keeps_its_own_reply(self, serve: Serve) -> None:
        """Whoever was refused at RCPT is not touched by what becomes of the message."""
        async with serve(Script(rcpt={ANN: "550 5.1.1 unknown"}, message="451 4.3.0 later")) as served:
            assert kinds(await served.courier.send(envelope(ANN, BOB))) == {ANN: REJECTED, BOB: DEFERRED}

    # The server's own state.

    @pytest.mark.parametrize(
        "script",
        [
            Script(greeting="421 4.3.2 too busy"),
            Script(greeting="554 5.3.2 go away"),
            Script(greeting=DROP),
            Script(ehlo="421 4.3.2 too busy"),
            Script(ehlo="550 5.7.1 not you"),
            Script(ehlo=DROP),
        ],
        ids=str,
    )
    async def test_no_connection_is_the_servers_state(self, serve: Serve, script: Script) -> None:
        """Whatever fails before a transaction raises ServerUnavailable, from connect and from send."""
        async with serve(script, script, Script()) as served:
            for attempt in (served.courier.connect(), served.courier.send(envelope())):
                with pytest.raises(ServerUnavailable) as caught:
                    await attempt
                assert not isinstance(caught.value, TurnedAway)
            assert kinds(await served.courier.send(envelope())) == {ANN: DELIVERED}

    @pytest.mark.parametrize(
        "script",
        [
            Script(mail="421 4.3.2 going down"),
            Script(mail="503 5.5.1 log in first"),
            Script(mail="530 5.7.0 authentication required"),
            Script(mail="535 5.7.8 credentials invalid"),
            Script(mail="550 5.7.8 credentials invalid"),
            Script(rcpt={BOB: "421 4.3.2 going down"}),
            Script(rcpt={ANN: "550 5.1.1 unknown", BOB: ThenDrop("421 4.3.2 going down")}),
            Script(data="421 4.3.2 going down"),
        ],
        ids=str,
    )
    async def test_server_that_gives_up_got_nothing(self, serve: Serve, script: Script) -> None:
        """421 before the final dot, or a login wanted, is the server's state: nobody gets the mail or is settled."""
        async with serve(script, Script()) as served:
            with pytest.raises(TurnedAway):
                await served.courier.send(envelope(ANN, BOB, CAT))
            assert served.accepted == []
            assert kinds(await served.courier.send(envelope())) == {ANN: DELIVERED}

    # No reply.

    @pytest.mark.parametrize(
        "script",
        [
            Script(mail=DROP),
            Script(mail="what?"),
            Script(rcpt={BOB: DROP}),
            Script(data=DROP),
            Script(data="250 huh"),
            Script(data=ThenDrop("354 go ahead")),
        ],
        ids=str,
    )
    async def test_lost_before_the_message_defers(self, serve: Serve, script: Script) -> None:
        """A fresh connection that breaks, or talks nonsense, before the message costs an attempt and nothing else."""
        async with serve(script, Script()) as served:
            outcomes = await served.courier.send(envelope(ANN, BOB))
            assert kinds(outcomes) == {ANN: DEFERRED, BOB: DEFERRED}
            assert outcomes[ANN] == outcomes[BOB]
            assert outcomes[ANN].code == 0
            assert served.accepted == []
            assert kinds(await served.courier.send(envelope())) == {ANN: DELIVERED}

    async def test_lost_within_the_message_defers(self, serve: Serve) -> None:
        """A connection lost before the final dot is written defers: the server cannot have accepted it."""
        async with serve(Script(body=DROP), Script()) as served:
            outcomes = await served.courier.send(envelope(ANN, BOB, message=LARGE))
            assert kinds(outcomes) == {ANN: DEFERRED, BOB: DEFERRED}

    @pytest.mark.parametrize("step", [DROP, "what?", "354 go on"], ids=str)
    async def test_lost_after_the_final_dot_is_ambiguous(self, serve: Serve, step: Any) -> None:
        """Without a reply to the final dot that makes sense nobody knows; whoever was refused before is not touched."""
        async with serve(Script(rcpt={ANN: "550 5.1.1 unknown"}, message=step), Script()) as served:
            assert kinds(await served.courier.send(envelope(ANN, BOB, CAT))) == {
                ANN: REJECTED,
                BOB: AMBIGUOUS,
                CAT: AMBIGUOUS,
            }
            assert kinds(await served.courier.send(envelope())) == {ANN: DELIVERED}

    async def test_lost_after_the_reply_is_delivered(self, serve: Serve) -> None:
        """Once the reply is there, what becomes of the connection does not matter."""
        async with serve(Script(message=ThenDrop("250 2.0.0 queued")), Script()) as served:
            assert kinds(await served.courier.send(envelope())) == {ANN: DELIVERED}
            assert kinds(await served.courier.send(envelope())) == {ANN: DELIVERED}
            assert len(served.accepted) == 2

    @pytest.mark.parametrize(
        ("script", "kind"),
        [
            (Script(mail=AGES), DEFERRED),
            (Script(rcpt={ANN: AGES}), DEFERRED),
            (Script(data=AGES), DEFERRED),
            (Script(message=AGES), AMBIGUOUS),
        ],
        ids=str,
    )
    async def test_silence_ends_in_time(self, serve: Serve, script: Script, kind: Kind) -> None:
        """A server that falls silent costs the time-out, with the same outcome as a lost connection."""
        async with serve(script, Script(), transaction_timeout_seconds=600) as served:
            assert kinds(await served.courier.send(envelope())) == {ANN: kind}

    @pytest.mark.parametrize("script", [Script(greeting=AGES), Script(ehlo=AGES)], ids=str)
    async def test_silence_before_the_transaction_is_the_servers_state(self, serve: Serve, script: Script) -> None:
        """A server that accepts the connection and then falls silent is unavailable."""
        async with serve(script) as served:
            with pytest.raises(ServerUnavailable):
                await served.courier.send(envelope())

    # Connections that served before.

    @pytest.mark.parametrize(
        "script",
        [
            Script(message=ThenDrop("250 2.0.0 queued")),
            Script(mail=("250 ok", DROP)),
            Script(mail=("250 ok", "421 4.4.2 idle for too long")),
            Script(mail=("250 ok", ThenDrop("421 4.7.0 too many messages"))),
            Script(mail=("250 ok", "503 5.5.1 nested MAIL")),
            Script(rcpt=("250 ok", DROP)),
            Script(rcpt=("250 ok", "421 4.3.2 going down")),
            Script(data=("354 go", DROP)),
            Script(data=("354 go", "421 4.3.2 going down")),
        ],
        ids=str,
    )
    async def test_stale_connection_is_replaced(self, serve: Serve, script: Script) -> None:
        """A used connection that fails before the message is replaced by a fresh one; the mail arrives once."""
        async with serve(script, Script()) as served:
            assert kinds(await served.courier.send(envelope(ANN))) == {ANN: DELIVERED}
            assert kinds(await served.courier.send(envelope(ANN, CAT))) == {ANN: DELIVERED, CAT: DELIVERED}
            assert [mail.recipients for mail in served.accepted] == [(ANN,), (ANN, CAT)]

    async def test_stale_connection_is_replaced_once(self, serve: Serve) -> None:
        """If the fresh connection fails too, that is final."""
        going_down = Script(mail=("250 ok", "421 4.3.2 going down"))
        async with serve(going_down, Script(mail="421 4.3.2 going down"), Script()) as served:
            await served.courier.send(envelope())
            with pytest.raises(TurnedAway):
                await served.courier.send(envelope())
            assert len(served.accepted) == 1

    async def test_used_connection_lost_after_the_dot_is_not_tried_again(self, serve: Serve) -> None:
        """A used connection that breaks after the final dot is ambiguous like any other."""
        async with serve(Script(message=("250 ok", DROP)), Script()) as served:
            await served.courier.send(envelope())
            assert kinds(await served.courier.send(envelope())) == {ANN: AMBIGUOUS}
            assert len(served.accepted) == 1


class ExtensionsContract:
    """What a courier makes of the server's EHLO, for those that know of one."""

    async def test_smtputf8_needs_the_servers_word(self, serve: Serve) -> None:
        """A mail that needs SMTPUTF8 is rejected, unsent, where the server lacks it."""
        async with serve(Script(extensions=("SIZE 1000",))) as served:
            outcomes = await served.courier.send(envelope("jürgen@example.com", smtputf8=True))
            assert [(o.kind, o.code, o.enhanced) for o in outcomes.values()] == [(REJECTED, 0, "5.6.7")]
            assert kinds(await served.courier.send(envelope())) == {ANN: DELIVERED}

    async def test_smtputf8_reaches_a_server_that_has_it(self, serve: Serve) -> None:
        """A mail that needs SMTPUTF8 is delivered where the server offers it."""
        async with serve() as served:
            outcomes = await served.courier.send(envelope("jürgen@example.com", smtputf8=True))
            assert kinds(outcomes) == {"jürgen@example.com": DELIVERED}
            assert served.accepted[0].recipients == ("jürgen@example.com",)

    @pytest.mark.parametrize(
        ("size", "kind"),
        [(len(MESSAGE), DELIVERED), (len(MESSAGE) - 1, REJECTED), (0, DELIVERED)],
    )
    async def test_size_is_honoured(self, serve: Serve, size: int, kind: Kind) -> None:
        """A message larger than the server's SIZE is rejected unsent; 0 means that there is no limit."""
        async with serve(Script(extensions=(f"SIZE {size}",))) as served:
            outcomes = await served.courier.send(envelope())
            assert kinds(outcomes) == {ANN: kind}
            assert outcomes[ANN].enhanced == ("5.3.4" if kind is REJECTED else "2.0.0")
            assert len(served.accepted) == (kind is DELIVERED)
