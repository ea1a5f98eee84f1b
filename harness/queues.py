"""A look into a stack's queues, alarms and ledger, as plain values for the history."""

from __future__ import annotations

import contextlib
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.types import TypeDeserializer

from harness.errors import LocalStackError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.stack import Stack

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html
_SIZES = {
    "visible": "ApproximateNumberOfMessages",
    "in_flight": "ApproximateNumberOfMessagesNotVisible",
    "delayed": "ApproximateNumberOfMessagesDelayed",
}
# What has been read is hidden for so long, so that each dead letter is read once.
HIDE_SECONDS = 120


def depth(stack: Stack) -> dict[str, int]:
    """How many messages the input queue has visible, in flight and delayed, and the dead-letter queue in all."""
    sqs = stack.emulator.client("sqs")
    sizes, dead = (
        sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(_SIZES.values()))["Attributes"]
        for url in (stack.queue_url, stack.deadletter_url)
    )
    return {name: int(sizes[attribute]) for name, attribute in _SIZES.items()} | {
        "dead": sum(int(dead[attribute]) for attribute in _SIZES.values())
    }


class Alarms:
    """The alarms of a stack, `wake-up` and `dead letters`.

    What they went through is read from their histories: the wake-up alarm is in ALARM only until the function wakes.
    """

    def __init__(self, stack: Stack) -> None:
        self._cloudwatch = stack.emulator.client("cloudwatch")
        names = {"wake-up": stack.names.alarm, "dead letters": stack.names.deadletter_alarm}
        self._names = names
        self._known = {name: len(self._history(name)) for name in names}

    def changes(self) -> Iterator[dict[str, str]]:
        """The changes of state since the last look, the oldest first: which alarm, and its new state."""
        for name in self._names:
            history = self._history(name)
            for item in history[self._known[name] :]:
                yield {"name": name, "state": json.loads(item["HistoryData"])["newState"]["stateValue"]}
            self._known[name] = len(history)

    def _history(self, name: str) -> list[dict[str, Any]]:
        found = self._cloudwatch.describe_alarm_history(AlarmName=self._names[name], HistoryItemType="StateUpdate")
        return sorted(found["AlarmHistoryItems"], key=lambda item: item["Timestamp"])


def left_behind(stack: Stack) -> Iterator[tuple[str, dict[str, Any]]]:
    """The dead letters and the ledger's items, as events and their fields."""
    # Letters that a redrive had in its hands when it was killed are hidden yet; only our own LocalStack can show them.
    with contextlib.suppress(LocalStackError):
        stack.emulator.redeliver(stack.names.deadletter)
    for letter in dead_letters(stack):
        yield "deadletter", letter
    for item in ledger(stack):
        yield "ledger", {"item": item}


def dead_letters(stack: Stack) -> Iterator[dict[str, Any]]:
    """What the dead-letter queue holds; hidden from everybody else for two minutes."""
    sqs = stack.emulator.client("sqs")
    while messages := sqs.receive_message(
        QueueUrl=stack.deadletter_url,
        MaxNumberOfMessages=10,
        VisibilityTimeout=HIDE_SECONDS,
        MessageAttributeNames=["All"],
    ).get("Messages"):
        for message in messages:
            attributes = message.get("MessageAttributes", {})
            yield {
                "message_id": message["MessageId"],
                "body": message["Body"],
                "attributes": {name: each.get("StringValue", "") for name, each in attributes.items()},
            }


def ledger(stack: Stack) -> Iterator[dict[str, Any]]:
    """The ledger's items, ion's own among them."""
    deserialize = TypeDeserializer().deserialize
    for page in stack.emulator.client("dynamodb").get_paginator("scan").paginate(TableName=stack.names.table):
        for item in page["Items"]:
            yield {name: plain(deserialize(value)) for name, value in item.items()}


def plain(value: Any) -> Any:
    """A value of DynamoDB as JSON has it."""
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case dict():
            return {name: plain(each) for name, each in value.items()}
        case list() | set():
            return [plain(each) for each in value]
        case bytes():
            return value.decode(errors="replace")
        case _:
            return value
