"""The drain, leases and deadlines: what is begun must be able to end, and who has lost a mail leaves it alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from harness.simulation.loop import run
from ion.errors import SettingsError
from ion.ledger import Claim, Status, fresh
from ion.outcome import Stage
from tests.support.world import LEASE_SECONDS, World, subject

if TYPE_CHECKING:
    from ion.protocols import Envelope


def test_mail_in_other_hands_is_left_alone() -> None:
    """While another worker holds a mail, its message is hidden and looked at again, not sent."""

    async def story() -> None:
        world = World()
        id_ = world.publish("ann")
        claim = Claim(id=id_, owner="another")
        world.ledger.entries[id_] = fresh(claim, now=world.clock.now(), lease_seconds=LEASE_SECONDS)
        assert await world.drain() == {"ended": "empty", "received": 1}
        assert world.server.kept == []
        assert world.queue.counts() == (0, 1)
        await asyncio.sleep(LEASE_SECONDS)  # it has died
        await world.drain_all()
        assert world.delivered() == {("ann", "ann@example.com"): 1}
        assert [line.result for line in world.entry(id_).log] == ["abandoned", "delivered"]

    run(story())


def test_lease_is_renewed_for_who_waits_long() -> None:
    """A mail that has waited for a connection until its lease gets short is claimed anew before it is sent."""

    async def story() -> None:
        world = World(smtp_max_connections="1")
        world.send_seconds = 44
        for n in range(4):
            world.publish(f"r{n}")

        async def covered(stage: Stage, envelope: Envelope | None, _: str) -> None:
            if stage is Stage.MAIL and envelope:
                (entry,) = [e for e in world.ledger.entries.values() if e.message_id.encode() in envelope.message]
                longest = world.settings.smtp.connect_timeout_seconds + world.settings.smtp.transaction_timeout_seconds
                assert entry.lease_until >= world.clock.now() + longest
                assert world.queue.counts()[0] == 0  # nor may SQS show it to anybody

        world.script = covered
        summary = await world.drain(seconds=600)
        assert (summary["received"], summary["delivered"]) == (4, 4)  # none ran out and was received once more
        assert set(world.delivered().values()) == {1}
        assert [line.result for e in world.ledger.entries.values() for line in e.log] == ["delivered"] * 4

    run(story())


def test_lease_lost_while_waiting() -> None:
    """A mail that somebody else has taken over meanwhile is not sent."""

    async def story() -> None:
        world = World(smtp_max_connections="1")
        ids = {name: world.publish(name) for name in ("ann", "bob")}
        sent: list[str] = []

        async def script(stage: Stage, envelope: Envelope | None, _: str) -> None:
            if stage is Stage.MAIL and envelope:
                sent.append(subject(envelope))
                await asyncio.sleep(80)
                for name in ids.keys() - set(sent):
                    world.ledger.entries[ids[name]] = replace(world.entry(ids[name]), owner="another")

        world.script = script
        await world.drain(seconds=300)
        assert len(sent) == 1
        assert world.telemetry.stages("lease-lost")
        assert world.queue.counts() == (0, 1)  # as the other one wants it

    run(story())


def test_lease_lost_while_sending_settles_nothing() -> None:
    """Who has lost the lease after all settles nothing, and what was sent is counted as ambiguous."""

    async def story() -> None:
        world = World()
        id_ = world.publish("ann")

        async def script(stage: Stage, *_: object) -> None:
            if stage is Stage.FINAL_DOT:
                world.ledger.entries[id_] = replace(world.entry(id_), owner="another")

        world.script = script
        await world.drain()
        assert world.entry(id_).owner == "another"
        assert world.entry(id_).status is Status.SENDING
        assert world.queue.counts() == (0, 1)
        assert world.telemetry.counts["Ambiguous"] == 1
        assert [fields["error"] for fields in world.telemetry.stages("unrecorded")] == ["the lease was lost"]

    run(story())


def test_nothing_is_begun_that_cannot_end() -> None:
    """Past the last moment nothing is received and no send begins; what waits is given back at once, unspent."""

    async def story() -> None:
        world = World(smtp_max_connections="2")
        world.send_seconds = 20
        ids = [world.publish(f"r{n}") for n in range(10)]
        began = world.clock.now()
        summary = await world.drain(seconds=120)
        # 120 s less the margin of 5 s, and a send may take 55 s: the last ones begin within the first 60 s.
        assert summary["ended"] == "deadline"
        assert summary["delivered"] == len(world.server.kept) == 8
        assert summary["released"] == 2
        assert world.clock.now() <= began + 115
        assert world.queue.counts() == (2, 0)
        waiting = [world.entry(id_) for id_ in ids if world.entry(id_).status is not Status.DELIVERED]
        assert [(entry.status, entry.attempts) for entry in waiting] == [(Status.DEFERRED, 0)] * 2
        assert all(entry.log[-1].text == "the function's time is short" for entry in waiting)

    run(story())


def test_no_receive_when_time_is_short() -> None:
    """A drain that goes on receives nothing any more once a send could not end in time."""

    async def story() -> None:
        world = World()
        receives: list[float] = []

        async def hook(operation: str, when: str) -> None:
            if (operation, when) == ("queue.receive", "before"):
                receives.append(world.clock.now() - began)

        async def slow(stage: Stage, *_: object) -> None:
            if stage is Stage.DATA:
                await asyncio.sleep(3)

        world.hook, world.script = hook, slow
        began = world.clock.now()

        async def keep_publishing() -> None:
            for n in range(100):
                world.publish(f"r{n}")
                await asyncio.sleep(1)

        publishing = asyncio.create_task(keep_publishing())
        await world.drain(seconds=120)
        assert 55 < max(receives) <= 60
        publishing.cancel()

    run(story())


def test_too_short_a_time_out() -> None:
    """A function whose time-out leaves no time for one send says so, and receives nothing."""

    async def story() -> None:
        world = World()
        world.publish("ann")
        with pytest.raises(SettingsError, match="time-out is too short: one send may take 55 s"):
            await world.drain(seconds=59)
        assert world.queue.counts() == (1, 0)

    run(story())
