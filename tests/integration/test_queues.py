"""What the harness reads from a stack's queues and ledger."""

from __future__ import annotations

import pytest

from harness import queues

pytestmark = pytest.mark.integration


@pytest.fixture
def stack(make_stack, function_zip):
    """A stack whose function does nothing."""
    return make_stack(function_zip(main="def handler(event, context):\n    return None\n"), handler="main.handler")


def test_depth_counts_both_queues(stack):
    """Visible and in flight apart, and the dead-letter queue as a whole."""
    sqs = stack.emulator.client("sqs")
    for url in [stack.queue_url] * 3 + [stack.deadletter_url] * 2:
        sqs.send_message(QueueUrl=url, MessageBody="{}")
    sqs.receive_message(QueueUrl=stack.queue_url, VisibilityTimeout=60)
    sqs.receive_message(QueueUrl=stack.deadletter_url, VisibilityTimeout=60)
    assert queues.depth(stack) == {"visible": 2, "in_flight": 1, "delayed": 0, "dead": 2}


def test_all_dead_letters_and_ledger_items_are_collected(stack):
    """Each once, also when they take several calls, with attributes and numbers as plain values."""
    sqs, dynamodb = stack.emulator.client("sqs"), stack.emulator.client("dynamodb")
    reason = {"failure-reason": {"DataType": "String", "StringValue": "rejected"}}
    for number in range(12):
        sqs.send_message(QueueUrl=stack.deadletter_url, MessageBody=f"body {number}", MessageAttributes=reason)
    log = {"L": [{"M": {"at": {"N": "1.5"}, "result": {"S": "ambiguous"}}}]}
    dynamodb.put_item(TableName=stack.names.table, Item={"id": {"S": "m"}, "attempts": {"N": "2"}, "log": log})
    found = list(queues.left_behind(stack))
    letters = [fields for event, fields in found if event == "deadletter"]
    assert {each["body"] for each in letters} == {f"body {number}" for number in range(12)}
    assert all(each["attributes"] == {"failure-reason": "rejected"} for each in letters)
    assert [fields for event, fields in found if event == "ledger"] == [
        {"item": {"id": "m", "attempts": 2, "log": [{"at": 1.5, "result": "ambiguous"}]}}
    ]
