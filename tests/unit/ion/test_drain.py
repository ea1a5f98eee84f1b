"""The drain, on twins and virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from harness.simulation.loop import run
from ion.ledger import Status
from ion.outcome import Kind, Outcome, Stage
from tests.support.world import World, mail, subject

if TYPE_CHECKING:
    from collections.abc import Callable

    from ion.protocols import Envelope


def test_delivers_records_and_deletes() -> None:
    """A mail is sent, recorded with the server's reply and Message-ID, and its message is gone."""

    async def story() -> None:
        world = World()
        id_ = world.publish("ann", "bob", tags={"campaign": "spring"})
        assert await world.drain() == {"ended": "empty", "received": 1, "delivered": 1}
        entry = world.entry(id_)
        assert entry.status is Status.DELIVERED
        assert set(entry.recipients) == {"ann@example.com", "bob@example.com"}
        assert entry.recipients["ann@example.com"] == Outcome(
            kind=Kind.DELIVERED, code=250, enhanced="2.0.0", text="kept"
        )
        assert entry.tags == {"campaign": "spring"}
        assert [line.result for line in entry.log] == ["delivered"]
        ((envelope, recipients),) = world.server.kept
        assert recipients == ("ann@example.com", "bob@example.com")
        assert f"Message-ID: {entry.message_id}\r\n".encode() in envelope.message
        assert world.queue.all() == []

    run(story())


def test_idle_wake_ups_are_cheap() -> None:
    """A thousand wake-ups on an empty queue open no connection and take two calls each."""

    async def story() -> None:
        world = World()
        for _ in range(1000):
            assert await world.drain() == {"ended": "empty"}
        assert world.connections == 0
        assert world.calls == {"ledger.breaker": 1000, "queue.receive": 1000}

    run(story())


@pytest.mark.parametrize(("mails", "connections"), [(1, 1), (3, 3), (8, 8), (200, 8)])
def test_connections_follow_the_mail(mails: int, connections: int) -> None:
    """There are as many connections as there are mails to send, up to the most, and they are used again."""

    async def story() -> None:
        world = World()
        world.send_seconds = 0.5
        for n in range(mails):
            world.publish(f"r{n}")
        await world.drain()
        assert len(world.server.kept) == mails
        assert world.connections == connections

    run(story())


def test_group_commit() -> None:
    """All that is decided by now is recorded in one call to the ledger, and the next call waits for nothing else."""

    async def story() -> None:
        world = World(smtp_max_connections="32")
        sizes: list[int] = []
        write = world.ledger.write

        async def writing(entries: Any) -> list[bool]:
            sizes.append(len(entries))
            await asyncio.sleep(1)  # meanwhile the senders go on
            return await write(entries)

        world.ledger.write = writing  # type: ignore[method-assign]
        world.send_seconds = 0.1
        for n in range(200):
            world.publish(f"r{n}")
        await world.drain()
        assert sum(sizes) == 200
        assert len(sizes) <= 4
        assert sizes[0] <= 32  # the first group did not wait for more

    run(story())


def test_low_load_settles_at_once() -> None:
    """A mail alone is settled as soon as it has been sent, not at the end of the drain."""

    async def story() -> None:
        world = World(smtp_max_connections="2")
        id_ = world.publish("quick")

        async def slow(stage: Stage, _: Envelope | None, recipient: str) -> None:
            if stage is Stage.RCPT and recipient.startswith("slow"):
                assert world.entry(id_).status is not Status.DELIVERED
                await asyncio.sleep(5)
                assert world.entry(id_).status is Status.DELIVERED

        world.script = slow
        world.publish("slow")
        assert (await world.drain())["delivered"] == 2

    run(story())


# Isolation.


def test_bad_mails_spoil_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be read, built or sent is dead-lettered with its reason, and all others of the batch arrive."""
    from ion import drain  # noqa: PLC0415 - patched below

    def building(request: Any, **arguments: Any) -> Envelope:
        if request.subject == "poison":
            raise ZeroDivisionError("nobody thought of this")
        return original(request, **arguments)

    original: Callable[..., Envelope] = drain.build
    monkeypatch.setattr(drain, "build", building)

    async def story() -> None:
        world = World()
        bad = {
            world.put("not JSON"): "malformed",
            world.put('{"action": "dance"}'): "unknown-action",
            world.put('["send"]'): "malformed",
            world.put(mail("ann", nonsense=1)): "malformed",
            world.publish("ann", subject="poison"): "internal-error",
            world.publish("gone"): "rejected",
            world.publish("late", expires_at="2026-01-01T00:00:00Z"): "expired",
        }
        for n in range(10):
            world.publish(f"r{n}")
        assert (await world.drain())["delivered"] == 10
        assert world.queue.all() == []
        dead = world.dead()
        assert {id_: letters[0].attributes["failure-reason"] for id_, letters in dead.items()} == bad
        assert all(len(letters) == 1 and letters[0].attributes["failure-detail"] for letters in dead.values())
        assert {id_: world.entry(id_).reason for id_ in bad} == bad
        assert all(world.entry(id_).detail and world.entry(id_).dead_lettered for id_ in bad)

    run(story())


def test_slow_mail_delays_no_other() -> None:
    """A recipient for whom the server takes its time keeps one connection busy; the others' mails go on."""

    async def story() -> None:
        world = World(smtp_max_connections="2")
        arrived: dict[str, float] = {}

        async def script(stage: Stage, envelope: Envelope | None, recipient: str) -> None:
            if recipient.startswith("slow"):
                await asyncio.sleep(40)
            if stage is Stage.FINAL_DOT and envelope:
                arrived[subject(envelope)] = world.clock.now() - began

        world.script = script
        world.publish("slow")
        for n in range(30):
            world.publish(f"r{n}")
        began = world.clock.now()
        await world.drain()
        assert arrived.pop("slow") == 40
        assert len(arrived) == 30
        assert max(arrived.values()) < 2

    run(story())


def test_received_too_often() -> None:
    """A message that has been received 40 times is given up with a reason, under its mail's own id."""

    async def story() -> None:
        world = World()
        world.publish("ann", id="order-1")
        for _ in range(40):
            await world.queue.receive(limit=1, wait_seconds=0, visibility_seconds=0)
        await world.drain()
        ((id_, (letter,)),) = world.dead().items()
        assert id_ == "order-1"
        assert letter.attributes["failure-reason"] == "receives-exhausted"
        assert letter.attributes["failure-detail"] == "received 41 times and never settled"
        assert world.server.kept == []

    run(story())


def test_received_far_too_often_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """After 45 receives a message is not even read: that may be what ends the process."""
    from ion import intake  # noqa: PLC0415 - patched below

    def parse(_: str) -> None:
        pytest.fail("was read")

    monkeypatch.setattr(intake, "parse", parse)

    async def story() -> None:
        world = World()
        id_ = world.publish("ann", id="order-1")
        for _ in range(45):
            await world.queue.receive(limit=1, wait_seconds=0, visibility_seconds=0)
        await world.drain()
        assert list(world.dead()) == [id_]

    run(story())


# Attempts.


def test_attempts_are_counted_and_end() -> None:
    """A mail that is deferred each time has its full attempts, at growing intervals, and then a dead letter."""

    async def story() -> None:
        world = World()
        id_ = world.publish("busy")
        await world.drain_all(most=1000)
        entry = world.entry(id_)
        assert entry.attempts == world.attempts["busy@example.com"] == 10
        assert [line.result for line in entry.log] == ["deferred"] * 10
        waits = [later.at - earlier.at for earlier, later in zip(entry.log, entry.log[1:], strict=False)]
        for n, wait in enumerate(waits):
            longest = min(60 * 2**n, 3600)
            assert longest / 2 <= wait <= longest + 61  # drain_all looks once a minute
        ((letter,),) = world.dead().values()
        assert letter.attributes["failure-reason"] == "attempts-exhausted"
        assert letter.attributes["failure-detail"] == "deferred 10 times: 450 4.2.1 mailbox busy"
        assert letter.attributes["failed-recipients"] == "busy@example.com"

    run(story())


def test_expires() -> None:
    """A deferred mail is not sent after `expires_at`, but dead-lettered as expired."""

    async def story() -> None:
        world = World()
        at = datetime.fromtimestamp(world.clock.now() + 100, UTC)
        id_ = world.publish("busy", "ok", expires_at=at.isoformat())
        await world.drain_all()
        assert world.entry(id_).status is Status.EXPIRED
        assert world.entry(id_).attempts < 4
        ((letter,),) = world.dead().values()
        assert letter.attributes["failure-reason"] == "expired"
        assert letter.attributes["failed-recipients"] == "busy@example.com"

    run(story())


def test_summary_and_metrics() -> None:
    """The drain says what it has done, and counts the same as metrics."""

    async def story() -> None:
        world = World()
        for names in (("ann",), ("bob", "gone"), ("busy",)):
            world.publish(*names)
        world.put("junk")
        summary = await world.drain()
        assert summary == {
            "ended": "empty",
            "received": 4,
            "delivered": 1,
            "rejected": 1,
            "deferred": 1,
            "dead_lettered": 2,
        }
        assert world.telemetry.counts == Counter(Received=4, Delivered=1, Rejected=1, Deferred=1, DeadLettered=2)
        (line,) = world.telemetry.stages("delivered")
        assert line["attempt"] == 1
        assert line["reply"] == "250 2.0.0 kept"

    run(story())
