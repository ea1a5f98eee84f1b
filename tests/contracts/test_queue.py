"""What every queue must do, SQS (as LocalStack has it) and its twin in memory alike. Times here are real seconds."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from harness.memory import LoopClock, MemoryQueue
from ion.protocols import Message, Outgoing, Queue
from ion.queue import MAX_BATCH, MAX_BATCH_BYTES, SqsQueue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.localstack.process import Emulator

MAX_RECEIVES = 3
LETTERS_MAX_BYTES = 2_048
LONG = 20
"""The longest wait of a receive. What appears by itself may take its time: LocalStack looks once a second, or later."""
HIDDEN = 60  # longer than any test takes
ONCE = {"limit": MAX_BATCH, "wait_seconds": LONG, "visibility_seconds": HIDDEN}
_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Queues:
    """A queue under test, and the one to which it gives up what was received more than three times."""

    queue: Queue
    letters: Queue

    async def put(self, *bodies: str) -> None:
        assert await self.queue.send([Outgoing(body=body) for body in bodies]) == {}

    async def take(self, *, most: int = MAX_BATCH, wait: int = 0, hidden: int = HIDDEN) -> list[Message]:
        return await self.queue.receive(limit=most, wait_seconds=wait, visibility_seconds=hidden)

    async def one(self, *, hidden: int = HIDDEN, wait: int = LONG) -> Message:
        (message,) = await self.take(most=1, wait=wait, hidden=hidden)
        return message

    async def all(self) -> list[Message]:
        """Everything that is visible; a receive of SQS may bring less than there is."""
        found: list[Message] = []
        while batch := await self.take(wait=1):
            found += batch
        return found


class QueueContract:
    """Subclass it with a fixture `queues` for the queue to be held to this."""

    # Receive.

    async def test_brings_what_was_sent(self, queues: Queues) -> None:
        """A message comes with its body, its attributes, its id and its times."""
        began = time.time() - 1
        outgoing = Outgoing(body='{"ü": "\u2028 \U0001f600"}', attributes={"ion-id": "order-1", "failure-reason": "é"})
        assert await queues.queue.send([outgoing]) == {}
        message = await queues.one()
        assert (message.body, message.attributes) == (outgoing.body, outgoing.attributes)
        assert message.message_id
        assert message.receipt
        assert message.receive_count == 1
        assert message.received_at - 60 <= message.sent_at <= message.received_at
        assert isinstance(queues.queue, MemoryQueue) or began <= message.sent_at

    async def test_refuses_what_is_too_large(self, queues: Queues) -> None:
        """A message larger than the queue takes is refused for good, and no other with it; attributes count."""
        small, large = Outgoing(body="x" * 2_000), Outgoing(body="x" * 2_000, attributes={"failure-detail": "x" * 100})
        assert await queues.letters.send([large, small]) == {large: True}
        assert [message.body for message in await queues.letters.receive(**ONCE)] == [small.body]

    async def test_brings_no_more_than_asked_for(self, queues: Queues) -> None:
        """A receive brings at most its limit; several bring everything, each message once."""
        await queues.put(*(f"{n}" for n in range(25)))
        first = await queues.take(most=3, wait=LONG)
        assert 1 <= len(first) <= 3
        found = first + await queues.all()
        assert len(found) == 25
        assert len({message.message_id for message in found}) == 25

    async def test_empty(self, queues: Queues) -> None:
        """An empty queue answers at once where it is not to wait, and after the wait where it is."""
        took = []
        for _ in range(5):  # the machine may be busy with something else during one or the other
            began = time.monotonic()
            assert await queues.take(wait=0) == []
            took.append(time.monotonic() - began)
        assert min(took) < 0.9
        began = time.monotonic()
        assert await queues.take(wait=1) == []
        assert time.monotonic() - began >= 0.9

    async def test_waits_for_the_first(self, queues: Queues) -> None:
        """A receive that waits ends with the first message that comes."""
        began = time.monotonic()
        waiting = asyncio.create_task(queues.take(wait=LONG))
        await asyncio.sleep(0.3)
        await queues.put("now")
        assert [message.body for message in await waiting] == ["now"]
        assert time.monotonic() - began < LONG - 2

    async def test_receivers_share(self, queues: Queues) -> None:
        """Receivers at the same time do not get the same message."""
        await queues.put(*(f"{n}" for n in range(40)))
        batches = await asyncio.gather(*(queues.take(wait=1) for _ in range(8)))
        bodies = Counter(message.body for batch in batches for message in batch)
        assert len(bodies) == 40
        assert set(bodies.values()) == {1}

    # Visibility.

    async def test_received_is_hidden(self, queues: Queues) -> None:
        """A received message is hidden for its visibility timeout, and comes again with another receipt, counted."""
        await queues.put("x")
        began = time.monotonic()
        first = await queues.one(hidden=2)
        again = await queues.one()
        assert time.monotonic() - began >= 1.9
        assert again.message_id == first.message_id
        assert again.receipt != first.receipt
        assert again.receive_count == 2
        assert again.sent_at == first.sent_at

    async def test_release(self, queues: Queues) -> None:
        """Hidden for zero seconds, a message is visible at once."""
        await queues.put("x")
        message = await queues.one()
        assert await queues.queue.hide([(message, 0)]) == []
        assert (await queues.one()).receive_count == 2

    async def test_longer_and_shorter(self, queues: Queues) -> None:
        """A new visibility timeout counts from now, longer or shorter than the one before."""
        await queues.put("x", "y")
        short, long = await queues.one(hidden=12), await queues.one()
        assert await queues.queue.hide([(short, HIDDEN), (long, 1)]) == []
        assert [message.message_id for message in await queues.take(wait=LONG)] == [long.message_id]
        assert await queues.take(wait=14) == []

    async def test_as_long_as_sqs_can(self, queues: Queues) -> None:
        """What would go beyond 12 h from the receive is cut to that, and not refused."""
        await queues.put("x")
        message = await queues.one()
        assert await queues.queue.hide([(message, 43_200)]) == []
        assert await queues.queue.hide([(message, 100_000)]) == []
        assert await queues.take() == []

    async def test_cannot_hide_what_is_gone(self, queues: Queues) -> None:
        """A message that has been deleted cannot be hidden; it comes back, and the others are hidden."""
        await queues.put("gone", "held")
        held = {message.body: message for message in [await queues.one() for _ in range(2)]}
        await queues.queue.delete([held["gone"]])
        assert await queues.queue.hide([(message, 1) for message in held.values()]) == [held["gone"]]
        assert [message.body for message in await queues.take(wait=LONG)] == ["held"]

    # Delete.

    async def test_deleted_is_gone(self, queues: Queues) -> None:
        """A deleted message does not come again when its visibility timeout ends."""
        await queues.put("x")
        assert await queues.queue.delete([await queues.one(hidden=1)]) == []
        assert await queues.take(wait=2) == []

    async def test_delete_again(self, queues: Queues) -> None:
        """What is gone may be deleted once more."""
        await queues.put("x")
        message = await queues.one()
        assert await queues.queue.delete([message]) == []
        assert await queues.queue.delete([message]) == []

    async def test_many_at_once(self, queues: Queues) -> None:
        """Sends, hides and deletes of more than a batch are done in full."""
        await queues.put(*(f"{n}" for n in range(33)))
        found = await queues.all()
        assert len(found) == 33
        assert await queues.queue.hide([(message, 0) for message in found]) == []
        found = await queues.all()
        assert len(found) == 33
        assert await queues.queue.delete(found) == []
        assert await queues.queue.hide([(message, 0) for message in found]) == found

    async def test_large_messages(self, queues: Queues) -> None:
        """Messages that together exceed what a call takes are sent all the same."""
        size = MAX_BATCH_BYTES * 2 // 5
        await queues.put(*(f"{n}" * size for n in range(5)))
        assert sorted(message.body[0] for message in await queues.all()) == ["0", "1", "2", "3", "4"]

    # Received too often.

    async def test_gives_up(self, queues: Queues) -> None:
        """A message received more often than the queue allows moves to the other one, as it is."""
        await queues.queue.send([Outgoing(body="x", attributes={"ion-id": "order-1"})])
        for count in range(1, MAX_RECEIVES + 1):
            message = await queues.one()
            assert message.receive_count == count
            await queues.queue.hide([(message, 0)])
        assert await queues.take(wait=1) == []
        (letter,) = await queues.letters.receive(limit=1, wait_seconds=LONG, visibility_seconds=HIDDEN)
        assert (letter.body, letter.attributes) == ("x", {"ion-id": "order-1"})


class TestMemoryQueue(QueueContract):
    @pytest.fixture
    def queues(self) -> Queues:
        clock = LoopClock()
        letters = MemoryQueue(clock, name="letters")
        letters.max_bytes = LETTERS_MAX_BYTES
        return Queues(queue=MemoryQueue(clock, deadletters=letters, max_receive_count=MAX_RECEIVES), letters=letters)

    async def test_cannot_hide_what_is_visible(self, queues: Queues) -> None:
        """Nor can one that is visible again, as SQS has it (MessageNotInflight) and LocalStack has not.

        https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html
        """
        await queues.put("x")
        message = await queues.one()
        await queues.queue.hide([(message, 0)])
        assert await queues.queue.hide([(message, 20)]) == [message]
        assert (await queues.one()).message_id == message.message_id


@pytest.mark.integration
class TestSqsQueue(QueueContract):
    @pytest.fixture
    def queues(self, emulator: Emulator) -> Iterator[Queues]:
        sqs = emulator.client("sqs")
        name = f"contract-{next(_numbers)}"
        size = {"MaximumMessageSize": str(LETTERS_MAX_BYTES)}
        letters_url = sqs.create_queue(QueueName=f"{name}-letters", Attributes=size)["QueueUrl"]
        attributes = sqs.get_queue_attributes(QueueUrl=letters_url, AttributeNames=["QueueArn"])["Attributes"]
        policy = {"deadLetterTargetArn": attributes["QueueArn"], "maxReceiveCount": MAX_RECEIVES}
        url = sqs.create_queue(QueueName=name, Attributes={"RedrivePolicy": json.dumps(policy)})["QueueUrl"]
        yield Queues(queue=SqsQueue(sqs, name=name), letters=SqsQueue(sqs, name=letters_url))
        sqs.delete_queue(QueueUrl=url)
        sqs.delete_queue(QueueUrl=letters_url)
