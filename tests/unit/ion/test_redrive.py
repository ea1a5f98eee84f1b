"""The way back from the dead-letter queue."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from harness.simulation.loop import run
from ion.ledger import RESERVED_PREFIX, Status
from tests.support.fuse import Killed
from tests.support.world import LEASE_SECONDS, World, mail


async def failed_mails(world: World, names: tuple[str, ...] = ("gone-1", "gone-2", "gone-3")) -> dict[str, str]:
    """Mails that have failed, each to somebody who got it too; returns their ids. What was wrong is mended."""
    ids = {name: world.publish(name, "ok", id=f"id-{name}") for name in names}
    await world.drain_all()
    assert len(world.letters.all()) == len(names)
    world.server.kept.clear()
    world.attempts.clear()
    world.mended = "gone"
    await asyncio.sleep(1)
    return {name: f"id-{name}" for name in ids}


def got(world: World) -> set[str]:
    return {recipient.partition("@")[0] for _, recipient in world.delivered()}


def test_sends_to_those_who_have_not_got_it() -> None:
    """A redriven mail goes to whom it failed for, with its full attempts and its history; the queue is empty then."""

    async def story() -> None:
        world = World()
        ids = await failed_mails(world)
        request = world.redrive()
        summary = await world.drain()
        assert (summary["redriven"], summary["delivered"]) == (3, 3)
        await world.drain_all()
        assert got(world) == {"gone-1", "gone-2", "gone-3"}
        assert world.letters.all() == []
        entry = world.entry(ids["gone-1"])
        assert (entry.status, entry.attempts, entry.generation) == (Status.DELIVERED, 1, 1)
        assert [line.result for line in entry.log] == ["rejected", "redriven", "delivered"]
        assert (world.entry(request).status, world.entry(request).moved) == (Status.DELIVERED, 3)

    run(story())


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, {"gone-1", "gone-2", "gone-3"}),
        ({"ids": ["id-gone-2", "unknown"]}, {"gone-2"}),
        ({"reason": "rejected"}, {"gone-1", "gone-2", "gone-3"}),
        ({"reason": "expired"}, set()),
        ({"reason": "expired", "ids": ["id-gone-1"]}, set()),
        ({"max": 3}, {"gone-1", "gone-2", "gone-3"}),
        ({"max": 100}, {"gone-1", "gone-2", "gone-3"}),
    ],
)
def test_what_is_asked_for(wanted: dict[str, Any], expected: set[str]) -> None:
    """By reason, by id, or all; what is not asked for stays where it is, and can be seen."""

    async def story() -> None:
        world = World()
        await failed_mails(world)
        world.redrive(**wanted)
        await world.drain_all()
        assert got(world) == expected
        assert len(world.letters.all()) == 3 - len(expected)
        assert world.letters.counts() == (3 - len(expected), 0)

    run(story())


@pytest.mark.parametrize("most", [1, 2, 12])
def test_at_most(most: int) -> None:
    """With `max` no more are moved than that."""

    async def story() -> None:
        world = World()
        await failed_mails(world, tuple(f"gone-{n}" for n in range(25)))
        world.redrive(max=most)
        await world.drain_all()
        assert len(got(world)) == most
        assert len(world.letters.all()) == 25 - most

    run(story())


def test_unreadable_letters_move_by_name_only() -> None:
    """What is no mail stays, unless its id is named; then it comes back with the same reason, and says how often."""

    async def story() -> None:
        world = World()
        id_ = world.put("no JSON")
        await world.drain_all()
        await asyncio.sleep(1)
        world.redrive()
        await world.drain_all()
        ((letter,),) = world.dead().values()
        assert letter.attributes["ion-redrives"] == "0"
        world.redrive(ids=[id_])
        await world.drain_all()
        ((same, (letter,)),) = world.dead().items()
        assert same == id_
        assert letter.attributes["failure-reason"] == "malformed"
        assert letter.attributes["ion-redrives"] == "1"

    run(story())


def test_poison_does_not_go_round() -> None:
    """A mail that fails again has spent its attempts once more, and is dead again; this request does not move it."""

    async def story() -> None:
        world = World()
        ids = await failed_mails(world, ("gone-1",))
        world.mended = ""
        world.redrive()
        await world.drain_all()
        ((letter,),) = world.dead().values()
        assert letter.attributes["ion-redrives"] == "1"
        assert world.attempts["gone-1@example.com"] == 1
        entry = world.entry(ids["gone-1"])
        assert [line.result for line in entry.log] == ["rejected", "redriven", "rejected"]
        assert entry.generation == 1

    run(story())


def test_letters_of_others() -> None:
    """A letter that SQS or a person put there, without ion's attributes, is sent like any mail."""

    async def story() -> None:
        world = World()
        world.letters.put(mail("a"))
        world.letters.put("no mail")
        await asyncio.sleep(1)
        world.redrive()
        await world.drain_all()
        assert got(world) == {"a"}
        assert [letter.body for letter in world.letters.all()] == ["no mail"]

    run(story())


def test_conflicting_mail_can_be_redriven() -> None:
    """A mail that was dead-lettered for its id is sent under its own when an operator wants it."""

    async def story() -> None:
        world = World()
        world.publish("ann", id="x")
        await world.drain_all()
        world.publish("bob", id="x")
        await world.drain_all()
        await asyncio.sleep(1)
        world.redrive()
        await world.drain_all()
        assert got(world) == {"ann", "bob"}
        messages = {e.message_id for e in world.ledger.entries.values() if not e.id.startswith(RESERVED_PREFIX)}
        sent = {line for envelope, _ in world.server.kept for line in envelope.message.split(b"\r\n")}
        assert {f"Message-ID: {id_}".encode() for id_ in messages if id_} <= sent

    run(story())


def test_two_letters_of_one_mail_are_one() -> None:
    """Two copies of a dead letter, as a crash may leave them, make one mail."""

    async def story() -> None:
        world = World()
        await failed_mails(world, ("gone-1",))
        (letter,) = world.letters.all()
        world.letters.put(letter.body, dict(letter.attributes))
        await asyncio.sleep(1)
        world.redrive()
        await world.drain_all()
        assert set(world.delivered().values()) == {1}
        assert world.letters.all() == []

    run(story())


def test_two_requests_at_once() -> None:
    """Two redrives at the same time, on two functions, send every mail once."""

    async def story() -> None:
        world = World()
        names = tuple(f"gone-{n}" for n in range(40))
        await failed_mails(world, names)
        world.redrive()
        world.redrive()
        await asyncio.gather(world.drain(), world.drain())
        await world.drain_all()
        assert got(world) == set(names)
        assert set(world.delivered().values()) == {1}
        assert world.letters.all() == []

    run(story())


def test_goes_on_after_the_deadline() -> None:
    """What the deadline cuts short goes on at the next wake-up, and counts what it has moved."""

    async def story() -> None:
        world = World()
        names = tuple(f"gone-{n}" for n in range(60))
        await failed_mails(world, names)

        async def slow(operation: str, when: str) -> None:
            if (operation, when) == ("letters.receive", "after"):
                await asyncio.sleep(30)

        world.hook = slow
        request = world.redrive(max=55)
        await world.drain()
        assert world.entry(request).status is Status.DEFERRED
        assert 0 < world.entry(request).moved < 55
        world.hook = None
        await world.drain_all()
        assert world.entry(request).moved == 55
        assert len(got(world)) == 55
        assert len(world.letters.all()) == 5

    run(story())


def test_whoever_takes_over_finds_what_a_killed_redrive_held() -> None:
    """Letters that a killed redrive had received are visible again when its request is: none is left behind."""

    async def story() -> None:
        world = World()
        names = tuple(f"gone-{n}" for n in range(15))
        await failed_mails(world, names)
        dead = False

        async def killed(operation: str, when: str) -> None:
            nonlocal dead
            dead = dead or (operation, when) == ("letters.receive", "after")
            if dead:
                raise Killed

        world.hook = killed
        world.redrive()
        with pytest.raises(BaseExceptionGroup):
            await world.drain(seconds=10 * LEASE_SECONDS)
        world.hook = None
        await world.drain_all()
        assert got(world) == set(names)
        assert world.letters.all() == []

    run(story())


def test_letters_that_stay_do_not_keep_a_redrive_going() -> None:
    """Letters that are not asked for come round again while a long redrive goes on; that ends it."""

    async def story() -> None:
        world = World()
        await failed_mails(world, tuple(f"gone-{n}" for n in range(12)))

        async def slow(operation: str, when: str) -> None:
            if (operation, when) == ("letters.receive", "after"):
                await asyncio.sleep(0.6 * LEASE_SECONDS)

        world.hook = slow
        request = world.redrive(ids=["nobody"])
        await world.drain(seconds=100 * LEASE_SECONDS)
        assert world.entry(request).status is Status.DELIVERED
        assert len(world.letters.all()) == 12

    run(story())


def test_sends_before_it_deletes() -> None:
    """A letter is in the input queue before it leaves the dead-letter queue."""

    async def story() -> None:
        world = World()
        await failed_mails(world)
        order: list[str] = []

        async def hook(operation: str, when: str) -> None:
            if operation in {"queue.send", "letters.delete"}:
                order.append(f"{operation} {when}")

        world.hook = hook
        world.redrive()
        await world.drain()
        assert order == ["queue.send before", "queue.send after", "letters.delete before", "letters.delete after"]

    run(story())


@pytest.mark.parametrize("operation", ["queue.send", "letters.delete", "letters.receive", "letters.hide"])
def test_queue_errors(operation: str) -> None:
    """Whatever queue call fails: the function fails, and the request goes on when it is visible again."""

    async def story() -> None:
        world = World()
        await failed_mails(world, (*(f"gone-{n}" for n in range(15)),))
        world.letters.put("no mail")

        async def hook(name: str, when: str) -> None:
            if (name, when) == (operation, "after"):
                raise ClientError({"Error": {"Code": "X", "Message": "no"}}, operation)

        world.hook = hook
        world.redrive()
        with pytest.raises(ClientError):
            await world.drain()
        world.hook = None
        await asyncio.sleep(LEASE_SECONDS)
        await world.drain_all()
        assert len(got(world)) == 15
        assert set(world.delivered().values()) == {1}
        assert len(world.letters.all()) == 1

    run(story())


def test_lost_lease_stops_it() -> None:
    """Who has lost the request to another worker moves nothing more, and does not end the drain early."""

    async def story() -> None:
        world = World()
        await failed_mails(world, tuple(f"gone-{n}" for n in range(30)))
        request = world.redrive()
        world.publish("slow")
        world.send_seconds = 20

        async def hook(operation: str, when: str) -> None:
            if (operation, when) == ("letters.delete", "after"):
                world.ledger.entries[request] = replace(world.entry(request), owner="another")
            if (operation, when) == ("letters.hide", "before"):
                raise ClientError({"Error": {"Code": "X", "Message": "no"}}, operation)

        world.hook = hook
        with pytest.raises(ClientError):
            await world.drain()
        assert world.entry(request).moved == 10
        assert "slow" in got(world)
        sent = {recipient for _, recipient in world.delivered()}
        recorded = {a for e in world.ledger.entries.values() if e.status is Status.DELIVERED for a in e.recipients}
        assert sent <= recorded

    run(story())
