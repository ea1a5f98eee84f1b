"""The drain and the SMTP server's own troubles: an outage costs nobody an attempt, and one mail is no outage."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from harness.simulation.loop import run
from ion.errors import LedgerUnavailable
from ion.ledger import Status
from ion.outcome import Kind, Reply, Stage
from tests.support.world import REFUSED, World, down, subject

if TYPE_CHECKING:
    from ion.protocols import Envelope

GOING_DOWN = Reply(code=421, enhanced="4.3.2", text="going down")
LOG_IN = Reply(code=530, enhanced="5.7.0", text="authentication required")


def untouched(world: World) -> bool:
    """Whether no mail has spent an attempt, and none has been given up."""
    spent = [entry.id for entry in world.ledger.entries.values() if entry.attempts]
    return not spent and world.letters.all() == []


@pytest.mark.parametrize("connections", ["1", "8", "32"])
def test_server_down(connections: str) -> None:
    """Without a connection all is given back at once, unspent; the breaker opens, and nothing is received any more."""

    async def story() -> None:
        world = World(smtp_max_connections=connections)
        world.script = down()
        for n in range(40):
            world.publish(f"r{n}")
        summary = await world.drain()
        assert summary["ended"] == "unavailable"
        assert world.queue.counts() == (40, 0)
        assert untouched(world)
        assert "connection refused" in await world.ledger.breaker()
        world.calls.clear()
        world.connections = 0
        assert (await world.drain())["ended"] == "unavailable"
        assert world.calls == {"ledger.breaker": 1}
        assert world.connections == 1

    run(story())


def test_days_of_outage() -> None:
    """A wake-up a minute for days leaves every receive count as it was, and then all mail goes out."""

    async def story() -> None:
        world = World()
        world.script = down()
        for n in range(20):
            world.publish(f"r{n}")
        for _ in range(2 * 24 * 60):
            await world.drain()
            await asyncio.sleep(60)
        assert max(message.receive_count for message in world.queue.all()) == 1
        assert untouched(world)
        world.script = None
        await world.drain()
        assert len(world.server.kept) == 20

    run(story())


@pytest.mark.parametrize(("stage", "reply"), [(Stage.MAIL, GOING_DOWN), (Stage.MAIL, LOG_IN), (Stage.DATA, GOING_DOWN)])
def test_days_of_being_turned_away(stage: Stage, reply: Reply) -> None:
    """A server that lets everybody in and turns every mail away costs no attempt, and few receives, for half a day."""

    async def story() -> None:
        world = World()
        world.script = down(stage, reply=reply)
        for n in range(20):
            world.publish(f"r{n}")
        for _ in range(12 * 60):
            await world.drain()
            await asyncio.sleep(60)
        assert untouched(world)
        assert max(message.receive_count for message in world.queue.all()) < 25
        world.script = None
        await world.drain_all(most=200)
        assert len(world.server.kept) == 20

    run(story())


def test_breaker_lets_one_mail_through_on_trial() -> None:
    """While the breaker is open one mail is received at a time; the first that is answered closes it."""

    async def story() -> None:
        world = World()
        await world.ledger.open_breaker("was down")
        for n in range(30):
            world.publish(f"r{n}")
        seen: list[tuple[int, bool]] = []

        async def script(stage: Stage, *_: object) -> None:
            if stage is Stage.MAIL:
                seen.append((world.queue.counts()[1], bool(world.ledger._breaker)))

        world.script = script
        assert (await world.drain())["delivered"] == 30
        assert seen[0] == (1, True)
        assert max(hidden for hidden, _ in seen) > 1
        assert [broken for _, broken in seen[1:]] == [False] * 29
        assert world.telemetry.stages("available")

    run(story())


def test_trial_that_fails_touches_one_mail() -> None:
    """Where the server still turns mail away, one wake-up tries one mail, puts it off, and receives no other."""

    async def story() -> None:
        world = World()
        await world.ledger.open_breaker("was down")
        world.script = down(Stage.MAIL, reply=GOING_DOWN)
        for n in range(30):
            world.publish(f"r{n}")
        assert (await world.drain())["received"] == 1
        assert world.queue.counts() == (29, 1)
        assert "going down" in await world.ledger.breaker()

    run(story())


@pytest.mark.parametrize(
    "reply", [Reply(code=450, text="busy"), Reply(code=550, text="no"), Reply(code=250, text="yes")], ids=str
)
def test_any_answer_closes_the_breaker(reply: Reply) -> None:
    """A server that answers for a mail is there, whatever it answers."""

    async def story() -> None:
        world = World()
        await world.ledger.open_breaker("was down")
        world.script = down(Stage.RCPT, reply=reply)
        world.publish("ann")
        await world.drain()
        assert await world.ledger.breaker() == ""

    run(story())


def test_silence_does_not_close_the_breaker() -> None:
    """A server that drops every connection in the transaction is not believed in; one mail at a time finds out."""

    async def story() -> None:
        world = World()
        await world.ledger.open_breaker("was down")
        world.script = down(Stage.MAIL)
        for n in range(5):
            world.publish(f"r{n}")
        most = 0

        async def hook(operation: str, _: str) -> None:
            nonlocal most
            if operation == "smtp.MAIL":
                most = max(most, sum(e.status is Status.SENDING for e in world.ledger.entries.values()))

        world.hook = hook
        await world.drain()
        assert most == 1
        world.hook = None
        assert await world.ledger.breaker() == "was down"

    run(story())


def test_breaker_and_an_empty_queue() -> None:
    """Where there is no mail to try, the breaker stays as it is."""

    async def story() -> None:
        world = World()
        await world.ledger.open_breaker("was down")
        assert (await world.drain())["ended"] == "empty"
        assert await world.ledger.breaker() == "was down"

    run(story())


def test_outage_in_the_middle() -> None:
    """What was sent before the server went away is recorded; what waits is given back; nothing is sent twice."""

    async def story() -> None:
        world = World()
        world.send_seconds = 0.1
        for n in range(60):
            world.publish(f"r{n}")

        async def script(stage: Stage, *_: object) -> Reply | None:
            gone = len(world.server.kept) >= 25
            return {Stage.CONNECT: REFUSED, Stage.MAIL: GOING_DOWN}.get(stage) if gone else None

        world.script = script
        summary = await world.drain()
        sent = len(world.server.kept)
        assert summary["ended"] == "unavailable"
        assert summary["delivered"] == sent < 60
        assert sum(entry.attempts for entry in world.ledger.entries.values()) == sent
        world.script = None
        await world.drain_all()
        assert set(world.delivered().values()) == {1}
        assert len(world.delivered()) == 60

    run(story())


@pytest.mark.parametrize("connections", ["1", "2", "8"])
def test_mail_that_is_turned_away_stops_no_other(connections: str) -> None:
    """One mail that the server answers with 421 each time is put off; all others are sent in the same drain."""

    async def story() -> None:
        world = World(smtp_max_connections=connections)

        async def script(_stage: Stage, _envelope: Envelope | None, recipient: str) -> Reply | None:
            return GOING_DOWN if recipient.startswith("cursed") else None

        world.script = script
        cursed = world.publish("cursed")
        for n in range(50):
            world.publish(f"r{n}")
        summary = await world.drain()
        assert summary["delivered"] == 50
        assert summary["ended"] == "empty"
        entry = world.entry(cursed)
        assert (entry.status, entry.attempts) == (Status.DEFERRED, 0)
        assert [line.result for line in entry.log] == ["turned-away"]
        await world.drain_all(most=5000)  # in the end it is given up, with a reason
        assert world.entry(cursed).reason == "receives-exhausted"
        assert world.attempts["cursed@example.com"] in {40, 41}  # a used connection is tried once more
        waits = [b.at - a.at for a, b in zip(world.entry(cursed).log, world.entry(cursed).log[1:], strict=False)]
        assert min(waits[10:]) > 1800

    run(story())


def test_server_that_wants_fewer_connections() -> None:
    """Connections beyond what the server takes are given up, and their mails sent over the others."""

    async def story() -> None:
        world = World(smtp_max_connections="8")
        world.send_seconds = 1
        for n in range(40):
            world.publish(f"r{n}")

        async def script(stage: Stage, *_: object) -> Reply | None:
            if stage is Stage.CONNECT and world.connections > 3:
                return Reply(code=421, text="too many connections")
            return None

        world.script = script
        summary = await world.drain()
        assert summary["delivered"] == 40
        assert summary["ended"] == "empty"
        assert world.connections == 8
        assert len(world.telemetry.stages("connection-lost")) == 5
        assert {entry.attempts for entry in world.ledger.entries.values()} == {1}

    run(story())


def test_mail_received_while_an_outage_is_declared() -> None:
    """What a receive brings after the last connection was lost is given back too; the drain does not hang.

    Its end had another reason already: the ledger did not answer once.
    """

    async def story() -> None:
        world = World(smtp_max_connections="1")
        began = world.clock.now()
        for name in ("ann", "bob"):
            world.publish(name)

        async def script(stage: Stage, envelope: Envelope | None, _: str) -> Reply | None:
            if world.server.kept and stage is Stage.MAIL:
                await asyncio.sleep(3)
                return GOING_DOWN
            return REFUSED if world.server.kept and stage is Stage.CONNECT else None

        async def hook(operation: str, when: str) -> None:
            now = world.clock.now() - began
            if (operation, when) == ("ledger.write", "before") and now < 0.5:
                await asyncio.sleep(1)
                raise LedgerUnavailable("once")
            if (operation, when) == ("ledger.claim", "after") and now > 0:
                await asyncio.sleep(10)

        async def later() -> None:
            await asyncio.sleep(0.5)
            world.publish("cat")

        world.script, world.hook = script, hook
        publishing = asyncio.create_task(later())
        with pytest.raises(LedgerUnavailable):
            await world.drain()
        await publishing
        assert world.clock.now() - began < 20
        assert len(world.server.kept) == 1
        assert world.queue.counts() == (2, 0)

    run(story())


def test_ledger_down_in_an_outage() -> None:
    """An outage that cannot be recorded is found out anew by the next wake-up."""

    async def story() -> None:
        world = World()
        world.script = down()
        world.publish("ann")

        async def hook(operation: str, when: str) -> None:
            if operation == "ledger.breaker" and world.connections:
                raise LedgerUnavailable("down")

        world.hook = hook
        assert (await world.drain())["ended"] == "unavailable"
        world.hook = None
        assert await world.ledger.breaker() == ""
        assert (await world.drain())["ended"] == "unavailable"
        assert await world.ledger.breaker()

    run(story())


def test_deferral_is_no_outage() -> None:
    """A connection that breaks within a transaction costs that mail an attempt, and only that mail."""

    async def story() -> None:
        world = World()

        async def script(stage: Stage, envelope: Envelope | None, _: str) -> Reply | None:
            return REFUSED if stage is Stage.DATA and envelope and subject(envelope) == "ann" else None

        world.script = script
        id_ = world.publish("ann")
        world.publish("bob")
        assert (await world.drain())["delivered"] == 1
        assert world.entry(id_).attempts == 1
        assert world.entry(id_).recipients["ann@example.com"].kind is Kind.DEFERRED

    run(story())
