"""The drain while the ledger or a queue does not answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from harness.simulation.loop import run
from ion.errors import LedgerUnavailable
from ion.ledger import Status
from tests.support.world import LEASE_SECONDS, World

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


def fail(operation: str, error: Exception, *, when: str = "before") -> Callable[[str, str], Coroutine[Any, Any, None]]:
    async def hook(name: str, moment: str) -> None:
        if (name, moment) == (operation, when):
            raise error

    return hook


def test_nothing_is_sent_unclaimed() -> None:
    """Without an answer to the claim nothing is sent, the messages rest, and the function fails."""

    async def story() -> None:
        world = World()
        world.publish("ann")
        world.hook = fail("ledger.claim", LedgerUnavailable("throttled"))
        with pytest.raises(LedgerUnavailable, match="throttled"):
            await world.drain()
        assert world.connections == 0
        (message,) = world.queue.all()
        assert world.queue.counts() == (0, 1)
        world.hook = None
        await asyncio.sleep(60)
        assert world.queue.counts() == (1, 0)
        await world.drain()
        assert world.delivered()
        assert message.receive_count == 1

    run(story())


def test_nothing_is_received_where_the_breaker_is_unknown() -> None:
    """A ledger that does not even say whether the breaker is open ends the drain before anything is received."""

    async def story() -> None:
        world = World()
        world.publish("ann")
        world.hook = fail("ledger.breaker", LedgerUnavailable("down"))
        with pytest.raises(LedgerUnavailable):
            await world.drain()
        assert world.queue.counts() == (1, 0)

    run(story())


def test_record_is_retried_until_the_deadline() -> None:
    """What was sent and cannot be recorded is tried again each second; once the ledger is back, all is well."""

    async def story() -> None:
        world = World()
        id_ = world.publish("ann")

        async def hook(operation: str, when: str) -> None:
            if (operation, when) == ("ledger.write", "before") and world.clock.now() < began + 90:
                raise LedgerUnavailable("down")

        began = world.clock.now()
        world.hook = hook
        with pytest.raises(LedgerUnavailable):
            await world.drain()
        assert world.entry(id_).status is Status.DELIVERED
        assert world.queue.all() == []
        assert not world.telemetry.stages("unrecorded")

    run(story())


def test_unrecorded_is_ambiguous() -> None:
    """What could not be recorded by the deadline is left to its lease, and counted as ambiguous."""

    async def story() -> None:
        world = World()
        id_ = world.publish("ann")
        began = world.clock.now()
        world.hook = fail("ledger.write", LedgerUnavailable("down"))
        with pytest.raises(LedgerUnavailable):
            await world.drain()
        assert 115 <= world.clock.now() - began <= 120
        assert world.telemetry.counts["Ambiguous"] == 1
        assert world.queue.counts() == (0, 1)
        world.hook = None
        await asyncio.sleep(LEASE_SECONDS)
        await world.drain_all()
        assert world.delivered() == {("ann", "ann@example.com"): 2}
        assert [line.result for line in world.entry(id_).log] == ["abandoned", "delivered"]

    run(story())


def test_any_error_of_the_ledger_is_survived() -> None:
    """An error that the ledger should never raise does not leave a group unrecorded either."""

    async def story() -> None:
        world = World()
        id_ = world.publish("ann")
        errors = iter([UnicodeError("oh")])

        async def hook(operation: str, when: str) -> None:
            if (operation, when) == ("ledger.write", "before"):
                for error in errors:
                    raise error

        world.hook = hook
        with pytest.raises(UnicodeError):
            await world.drain()
        assert world.entry(id_).status is Status.DELIVERED

    run(story())


@pytest.mark.parametrize("operation", ["queue.receive", "queue.delete", "queue.hide", "letters.send"])
def test_queue_errors_fail_the_function(operation: str) -> None:
    """A queue's error ends the drain with that error; what was sent is recorded, and not sent again."""

    async def story() -> None:
        world = World()
        for name in ("ann", "gone", "busy1"):
            world.publish(name)
        world.hook = fail(operation, ClientError({"Error": {"Code": "X", "Message": "no"}}, operation))
        with pytest.raises(ClientError):
            await world.drain()
        world.hook = None
        await asyncio.sleep(LEASE_SECONDS)
        await world.drain_all()
        assert world.delivered() == {("ann", "ann@example.com"): 1, ("busy1", "busy1@example.com"): 1}
        assert len(world.letters.all()) == 1

    run(story())


def test_dead_letter_that_sqs_refuses_is_tried_again() -> None:
    """A message stays until its dead letter has been taken."""

    async def story() -> None:
        world = World()
        id_ = world.publish("gone")
        send = world.letters.send

        async def refuse(messages: Any) -> Any:
            return dict.fromkeys(messages, False)

        world.letters.send = refuse  # type: ignore[method-assign]
        await world.drain()
        assert world.entry(id_).status is Status.FAILED
        assert not world.entry(id_).dead_lettered
        assert world.queue.counts() == (0, 1)
        world.letters.send = send  # type: ignore[method-assign]
        await world.drain_all()
        assert list(world.dead()) == [id_]
        assert world.attempts["gone@example.com"] == 1

    run(story())


def test_a_letter_that_is_refused_in_passing_says_all() -> None:
    """A letter that is refused for no fault of its own keeps its words, and is sent when its message comes again."""

    async def story() -> None:
        world = World()
        world.put("not JSON" * 5_000)
        world.letters.mishap = lambda _: True
        await world.drain()
        assert world.letters.all() == []
        world.letters.mishap = lambda _: False
        await world.drain_all()
        (letter,) = world.letters.all()
        assert letter.attributes["failure-detail"]

    run(story())


def test_a_letter_too_large_for_its_queue_says_less() -> None:
    """Where the dead-letter queue refuses a letter with all it says, one with its reason alone is sent."""

    async def story() -> None:
        world = World()
        world.put("not JSON" * 5_000)
        world.letters.max_bytes = 40_200
        await world.drain()
        (letter,) = world.letters.all()
        assert letter.attributes["failure-reason"] == "malformed"
        assert "failure-detail" not in letter.attributes
        assert world.queue.all() == []

    run(story())
