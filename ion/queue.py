"""SQS queues: messages in batches of ten, the most that one call takes.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

from ion.protocols import Message, Outgoing
from ion.retry import MAX_VISIBILITY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mypy_boto3_sqs import SQSClient

MAX_BATCH = 10
MAX_BATCH_BYTES = 1_048_576  # of bodies and attributes, for one message as for all of a call
T = TypeVar("T")


class SqsQueue:
    """`protocols.Queue` on one SQS queue, named by its name or URL.

    Errors of a whole call come out as botocore's own; entries that SQS refused within a call are returned.
    """

    def __init__(self, client: SQSClient, *, name: str) -> None:
        self._client = client
        self._name = name
        self._url = name if "://" in name else ""

    async def receive(self, *, limit: int, wait_seconds: int, visibility_seconds: int) -> list[Message]:
        """Up to `limit` messages, waiting up to `wait_seconds` for the first."""
        answer = await self._call(
            self._client.receive_message,
            MaxNumberOfMessages=limit,
            WaitTimeSeconds=wait_seconds,
            VisibilityTimeout=visibility_seconds,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
        )
        received_at = time.time()
        return [
            Message(
                message_id=message["MessageId"],
                receipt=message["ReceiptHandle"],
                body=message.get("Body", ""),
                attributes={
                    name: value["StringValue"]
                    for name, value in message.get("MessageAttributes", {}).items()
                    if "StringValue" in value
                },
                sent_at=int(message["Attributes"]["SentTimestamp"]) / 1000,
                received_at=received_at,
                receive_count=int(message["Attributes"]["ApproximateReceiveCount"]),
            )
            for message in answer.get("Messages", [])
        ]

    async def delete(self, messages: Sequence[Message]) -> list[Message]:
        """Delete; returns those that SQS did not delete."""
        refused = await self._in_batches(
            self._client.delete_message_batch, messages, lambda message: {"ReceiptHandle": message.receipt}
        )
        return list(refused)

    async def hide(self, messages: Sequence[tuple[Message, int]]) -> list[Message]:
        """Set each message's visibility timeout, cut so that it ends within SQS's 12 h from the receive."""
        now = time.time()

        def entry(pair: tuple[Message, int]) -> dict[str, Any]:
            message, seconds = pair
            left = MAX_VISIBILITY_SECONDS - 1 - max(0, int(now - message.received_at))
            return {"ReceiptHandle": message.receipt, "VisibilityTimeout": max(0, min(seconds, left))}

        refused = await self._in_batches(self._client.change_message_visibility_batch, messages, entry)
        return [message for message, _ in refused]

    async def send(self, messages: Sequence[Outgoing]) -> dict[Outgoing, bool]:
        """Send; returns those that SQS did not take, each with whether it never will: too large, as a rule."""
        return await self._in_batches(
            self._client.send_message_batch,
            messages,
            lambda message: {
                "MessageBody": message.body,
                "MessageAttributes": {
                    name: {"DataType": "String", "StringValue": value} for name, value in message.attributes.items()
                },
            },
            size=size,
        )

    async def _in_batches(
        self,
        method: Callable[..., Any],
        things: Sequence[T],
        entry: Callable[[T], dict[str, Any]],
        *,
        size: Callable[[T], int] = lambda _: 0,
    ) -> dict[T, bool]:
        """Call a batch method for all, the batches side by side.

        Returns:
            The things whose entries failed, each with whether that is the sender's fault:
            https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_BatchResultErrorEntry.html
        """

        async def one(batch: list[T]) -> dict[T, bool]:
            entries = [{"Id": str(n), **entry(thing)} for n, thing in enumerate(batch)]
            answer = await self._call(method, Entries=entries)
            return {batch[int(failure["Id"])]: failure["SenderFault"] for failure in answer.get("Failed", [])}

        refused = await asyncio.gather(*(one(batch) for batch in _batches(things, size)))
        return {thing: fault for batch in refused for thing, fault in batch.items()}

    async def _call(self, method: Callable[..., Any], **arguments: Any) -> Any:
        if not self._url:
            self._url = (await asyncio.to_thread(self._client.get_queue_url, QueueName=self._name))["QueueUrl"]
        return await asyncio.to_thread(method, QueueUrl=self._url, **arguments)


def size(message: Outgoing) -> int:
    """What SQS counts of a message, in bytes: body, and the attributes' names, types and values."""
    attributes = sum(len(n.encode()) + len("String") + len(v.encode()) for n, v in message.attributes.items())
    return len(message.body.encode()) + attributes


def _batches(things: Sequence[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    batch: list[T] = []
    total = 0
    for thing in things:
        weight = size(thing)
        if batch and (len(batch) == MAX_BATCH or total + weight > MAX_BATCH_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(thing)
        total += weight
    if batch:
        yield batch
