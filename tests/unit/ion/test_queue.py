"""SQS's batches: what goes into one call."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ion.protocols import Message, Outgoing
from ion.queue import MAX_BATCH, MAX_BATCH_BYTES, SqsQueue, _batches, size


def test_size_counts_attributes() -> None:
    """Names, types and values of attributes count like the body, in octets of UTF-8."""
    assert size(Outgoing(body="xü", attributes={"ab": "ü"})) == 3 + 2 + len("String") + 2


@given(st.lists(st.integers(0, MAX_BATCH_BYTES)))
def test_batches(weights: list[int]) -> None:
    """No call has more than ten entries or more than a mebibyte; nothing is left out or out of order."""
    batches = list(_batches(weights, lambda weight: weight))
    assert [weight for batch in batches for weight in batch] == weights
    assert all(0 < len(batch) <= MAX_BATCH and sum(batch) <= MAX_BATCH_BYTES for batch in batches)
    # As few as that: a batch is closed only where its next would not have fitted.
    for batch, following in itertools.pairwise(batches):
        assert len(batch) == MAX_BATCH or sum(batch) + following[0] > MAX_BATCH_BYTES


class Recording:
    """The calls that a client was asked for, with entries whose `ReceiptHandle` or body is `bad` refused."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        def call(**arguments: Any) -> dict[str, Any]:
            self.calls.append((name, arguments))
            entries = arguments.get("Entries", [])
            bad = [entry for entry in entries if "bad" in {entry.get("ReceiptHandle"), entry.get("MessageBody")}]
            return {"QueueUrl": "http://queue", "Failed": [{"Id": entry["Id"], "SenderFault": False} for entry in bad]}

        return call


def messages(*receipts: str) -> list[Message]:
    return [Message(message_id=receipt, receipt=receipt, body="") for receipt in receipts]


async def test_url_is_looked_up_once() -> None:
    """A queue named by its name is asked for its URL once; one named by its URL never."""
    client = Recording()
    queue = SqsQueue(client, name="in")  # type: ignore[arg-type]
    await queue.delete(messages("a"))
    await queue.delete(messages("b"))
    assert [name for name, _ in client.calls] == ["get_queue_url", "delete_message_batch", "delete_message_batch"]
    client.calls.clear()
    await SqsQueue(client, name="https://queue").delete(messages("a"))  # type: ignore[arg-type]
    assert [arguments["QueueUrl"] for _, arguments in client.calls] == ["https://queue"]


async def test_refused_entries_are_returned() -> None:
    """What SQS refuses within a call comes back, whichever batch it was in."""
    client = Recording()
    queue = SqsQueue(client, name="https://queue")  # type: ignore[arg-type]
    many = messages(*(f"r{n}" for n in range(15)), "bad", *(f"s{n}" for n in range(15)))
    assert await queue.delete(many) == [many[15]]
    assert await queue.hide([(message, 5) for message in many]) == [many[15]]
    letters = [Outgoing(body=message.receipt) for message in many]
    assert await queue.send(letters) == {letters[15]: False}
    assert len(client.calls) == 3 * 4


async def test_nothing_to_do_is_no_call() -> None:
    """Without entries nothing is called."""
    client = Recording()
    queue = SqsQueue(client, name="https://queue")  # type: ignore[arg-type]
    assert (await queue.delete([]), await queue.hide([]), await queue.send([])) == ([], [], {})
    assert client.calls == []


@pytest.mark.parametrize(
    ("asked", "age", "set_to"), [(60, 0, 60), (-5, 0, 0), (50_000, 0, 43_199), (43_200, 600, 42_599)]
)
async def test_visibility_ends_within_twelve_hours(asked: int, age: float, set_to: int, monkeypatch: Any) -> None:
    """SQS refuses what would hide a message for more than 12 h from its receive; so it is cut."""
    monkeypatch.setattr("ion.queue.time.time", lambda: 1_000_000.0)
    client = Recording()
    queue = SqsQueue(client, name="https://queue")  # type: ignore[arg-type]
    message = Message(message_id="m", receipt="r", body="", received_at=1_000_000.0 - age)
    await queue.hide([(message, asked)])
    assert client.calls[0][1]["Entries"][0]["VisibilityTimeout"] == set_to
