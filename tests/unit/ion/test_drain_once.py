"""The drain and its promise that a recipient gets a mail once."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from harness.simulation.loop import run
from ion.ledger import Claim, Status
from ion.outcome import Kind, Outcome, Stage
from tests.support.world import World, down, mail

if TYPE_CHECKING:
    from ion.protocols import Envelope


def test_partial_failure() -> None:
    """Only who was deferred is sent to again; who was rejected is dead-lettered by name, once, when all have ended."""

    async def story() -> None:
        world = World()
        id_ = world.publish("ann", "gone", "busy2")
        await world.drain()
        assert world.letters.all() == []
        assert world.entry(id_).recipients["gone@example.com"].kind is Kind.REJECTED
        await world.drain_all()
        assert world.attempts == {"ann@example.com": 1, "gone@example.com": 1, "busy2@example.com": 3}
        ((letter,),) = world.dead().values()
        assert letter.attributes["failed-recipients"] == "gone@example.com"
        assert letter.attributes["failure-reason"] == "rejected"
        assert letter.attributes["attempts"] == "3"
        assert letter.body == mail("ann", "gone", "busy2")

    run(story())


def test_queue_duplicates() -> None:
    """However often SQS delivers a message, its mail is sent once."""

    async def story() -> None:
        world = World(duplicates=0.7)
        world.send_seconds = 1
        for n in range(50):
            world.publish(f"r{n}", f"busy1-{n}")
        await world.drain_all()
        copies = world.delivered()
        assert len(copies) == 100
        assert set(copies.values()) == {1}
        assert world.telemetry.stages("repeat")

    run(story())


def test_many_drains_at_once() -> None:
    """Eight functions on one queue send every mail once."""

    async def story() -> None:
        world = World(duplicates=0.2)
        world.send_seconds = 0.3
        for n in range(300):
            world.publish(f"r{n}", id=f"id-{n % 150}", subject=f"{n % 150}", recipient=[f"r{n % 150}@example.com"])
        while world.queue.all():
            await asyncio.gather(*(world.drain() for _ in range(8)))
            await asyncio.sleep(5)
        assert len(world.delivered()) == 150
        assert set(world.delivered().values()) == {1}

    run(story())


def test_publishers_repeat() -> None:
    """A document published again under its id is not sent again, be it at once, later, or in an SNS envelope."""

    async def story() -> None:
        world = World()
        for _ in range(3):
            world.publish("ann", id="order-1")
        await world.drain_all()
        world.publish("ann", id="order-1")
        for n in range(2):
            envelope = {"Type": "Notification", "MessageId": f"{n}", "Message": mail("bob", id="order-2")}
            world.put(json.dumps(envelope))
        await world.drain_all()
        assert world.delivered() == {("ann", "ann@example.com"): 1, ("bob", "bob@example.com"): 1}
        assert world.letters.all() == []

    run(story())


def test_id_conflict() -> None:
    """Another document under a known id is dead-lettered, and says so; the first is sent."""

    async def story() -> None:
        world = World()
        world.publish("ann", id="x")
        await world.drain_all()
        world.publish("bob", id="x")
        await world.drain_all()
        assert world.delivered() == {("ann", "ann@example.com"): 1}
        ((other, (letter,)),) = world.dead().items()
        assert other != "x"
        assert letter.attributes["failure-reason"] == "id-conflict"
        assert "'x'" in letter.attributes["failure-detail"]
        assert world.entry("x").status is Status.DELIVERED
        assert world.entry(other).reason == "id-conflict"

    run(story())


def test_id_conflict_twice() -> None:
    """Where the other document is published twice, its copies are one mail: dead-lettered once, redriven as one."""

    async def story() -> None:
        world = World()
        world.publish("ann", id="x")
        world.publish("ann", id="x")
        await world.drain_all()
        world.publish("bob", id="x")
        world.publish("bob", id="x")
        await world.drain_all()
        assert len(world.letters.all()) == 1
        await asyncio.sleep(1)
        world.redrive()
        await world.drain_all()
        assert world.delivered() == {("ann", "ann@example.com"): 1, ("bob", "bob@example.com"): 1}

    run(story())


def test_id_that_is_anothers_message_id() -> None:
    """A mail whose own MessageId somebody has taken for an id is dead-lettered, and does not go round for ever."""

    async def story() -> None:
        world = World()
        victim = world.publish("ann")
        (message,) = world.queue.all()
        await world.ledger.claim([Claim(id=victim, owner="thief", digest="of another")], lease_seconds=1)
        await world.drain_all()
        ((id_, (letter,)),) = world.dead().items()
        assert id_ != victim
        assert letter.body == message.body

    run(story())


def test_resend_is_the_same_mail() -> None:
    """After an ambiguous end the mail goes out again, byte for byte, and is recorded as ambiguous."""

    async def story() -> None:
        world = World()
        id_ = world.publish("ann", body_html="<p>x</p>", attachments=[{"filename": "a", "content_base64": "eA=="}])
        world.script = down(Stage.FINAL_DOT)
        world.server.keeps = lambda _: True
        await world.drain()
        assert world.telemetry.counts["Ambiguous"] == 1
        world.script = None
        await world.drain_all()
        (first, _), (second, _) = world.server.kept
        assert first.message == second.message
        assert [line.result for line in world.entry(id_).log] == ["ambiguous", "delivered"]

    run(story())


def test_fault_of_ours_while_sending_is_ambiguous() -> None:
    """Where our own code fails in a send, nobody knows what went out: ambiguous, and the connection is closed."""

    async def story() -> None:
        world = World()
        id_ = world.publish("ann")
        closed = []

        class Broken:
            async def connect(self) -> None: ...

            async def send(self, _: Envelope) -> dict[str, Outcome]:
                raise ZeroDivisionError("oh")

            async def close(self) -> None:
                closed.append(True)

        world.parts = replace(world.parts, couriers=Broken)
        await world.drain()
        entry = world.entry(id_)
        assert entry.recipients["ann@example.com"] == Outcome(kind=Kind.AMBIGUOUS, text="ZeroDivisionError: oh")
        assert entry.status is Status.DEFERRED
        assert closed

    run(story())
