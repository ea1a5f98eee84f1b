"""The ledger on DynamoDB where DynamoDB is not well; all else is in tests/contracts/test_ledger.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from harness.memory import LoopClock
from ion import dynamo
from ion.dynamo import MAX_ROUNDS, DynamoLedger, _chunks
from ion.errors import LedgerUnavailable
from ion.ledger import Claim, Entry, Granted, Ledger, Status, fresh

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = 1_767_225_600.0
CONFLICT = {"Code": "TransactionConflict"}
THROTTLED = {"Code": "ThrottlingError", "Message": "slow down"}
PROVISIONED = {"Code": "ProvisionedThroughputExceeded"}
INVALID = {"Code": "ValidationError", "Message": "Item size has exceeded the maximum allowed size"}
TAKEN = {"Code": "ConditionalCheckFailed"}
NONE = {"Code": "None"}


def cancelled(*reasons: dict[str, Any]) -> ClientError:
    response: Any = {
        "Error": {"Code": "TransactionCanceledException", "Message": "cancelled"},
        "CancellationReasons": list(reasons),
    }
    return ClientError(response, "TransactWriteItems")


class Troubled:
    """A client whose transactions fail as they are told to, one after the other, and then succeed."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.calls: list[Sequence[dict[str, Any]]] = []

    def transact_write_items(self, *, TransactItems: Sequence[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - boto3's
        self.calls.append(TransactItems)
        if self._errors:
            raise self._errors.pop(0)
        return {}


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the ledger has paused; it does not really."""
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr(dynamo.asyncio, "sleep", sleep)
    return found


def ledger_on(client: Troubled) -> Ledger:
    return DynamoLedger(client, table="t", ttl_days=30, clock=LoopClock())  # type: ignore[arg-type]


def claims(*ids: str) -> list[Claim]:
    return [Claim(id=id_, owner="me") for id_ in ids]


def entries(*ids: str) -> list[Entry]:
    return [fresh(claim, now=NOW, lease_seconds=60) for claim in claims(*ids)]


@pytest.mark.parametrize("reason", [CONFLICT, THROTTLED, PROVISIONED], ids=lambda reason: reason["Code"])
async def test_passing_trouble_passes(pauses: list[float], reason: dict[str, Any]) -> None:
    """A conflict with another writer, or a throttled table, is waited out; the whole batch is tried again."""
    client = Troubled(cancelled(NONE, reason), cancelled(reason, NONE))
    answers = await ledger_on(client).claim(claims("a", "b"), lease_seconds=60)
    assert all(isinstance(answer, Granted) for answer in answers)
    assert [len(call) for call in client.calls] == [2, 2, 2]
    client = Troubled(cancelled(NONE, reason))
    assert await ledger_on(client).write(entries("a", "b")) == [True, True]
    assert len(pauses) == 3


@pytest.mark.parametrize("reason", [CONFLICT, THROTTLED], ids=lambda reason: reason["Code"])
async def test_lasting_trouble_is_an_error(pauses: list[float], reason: dict[str, Any]) -> None:
    """What does not pass is no answer: the ledger is unavailable, after a few seconds of longer and longer pauses."""
    for asking in (
        ledger_on(client := Troubled(*[cancelled(reason)] * 100)).claim(claims("a"), lease_seconds=60),
        ledger_on(other := Troubled(*[cancelled(reason)] * 100)).write(entries("a")),
    ):
        with pytest.raises(LedgerUnavailable, match="table t: throttled, or other writers"):
            await asking
    assert len(client.calls) == len(other.calls) == MAX_ROUNDS
    assert 1.5 < sum(pauses[:MAX_ROUNDS]) < 5
    assert pauses[4] > 2 * pauses[1]


async def test_hopeless_trouble_is_not_repeated(pauses: list[float]) -> None:
    """What can never succeed is told at once, in DynamoDB's words."""
    client = Troubled(*[cancelled(NONE, INVALID)] * 100)
    with pytest.raises(LedgerUnavailable, match="table t: ValidationError: Item size"):
        await ledger_on(client).write(entries("a", "b"))
    assert len(client.calls) == 1
    assert pauses == []


async def test_lost_entries_leave_the_group(pauses: list[float]) -> None:
    """An entry that is another owner's is taken out, and the rest is written without a pause."""
    client = Troubled(cancelled(NONE, TAKEN, NONE))
    assert await ledger_on(client).write(entries("a", "b", "c")) == [True, False, True]
    assert [len(call) for call in client.calls] == [3, 2]
    client = Troubled(cancelled(TAKEN))
    assert await ledger_on(client).write(entries("a")) == [False]
    assert pauses == []


async def test_mail_that_vanishes(pauses: list[float]) -> None:
    """A mail that stood in the way, and whose time to live ended in between, is claimed as a new one."""
    client = Troubled(cancelled(TAKEN, NONE))
    answers = await ledger_on(client).claim(claims("a", "b"), lease_seconds=60)
    assert all(isinstance(answer, Granted) for answer in answers)
    assert "attribute_not_exists" in client.calls[1][0]["Put"]["ConditionExpression"]


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "ProvisionedThroughputExceededException", "Message": ""}}, "x"),
        ClientError({"Error": {"Code": "TransactionInProgressException", "Message": ""}}, "x"),
        EndpointConnectionError(endpoint_url="http://dynamodb"),
        ClientError({"Error": {"Code": "TransactionCanceledException", "Message": "without reasons"}}, "x"),
    ],
    ids=str,
)
async def test_errors_of_a_call(error: Exception) -> None:
    """Whatever fails as a whole, after botocore's own retries, is the ledger's unavailability."""
    with pytest.raises(LedgerUnavailable, match="table t: "):
        await ledger_on(Troubled(error)).claim(claims("a"), lease_seconds=60)
    with pytest.raises(LedgerUnavailable, match="table t: "):
        await ledger_on(Troubled(error)).write(entries("a"))


def test_chunks() -> None:
    """Entries go together up to a hundred, no id twice; order is kept."""
    many = entries(*(f"{n}" for n in range(205)))
    assert [len(chunk) for chunk in _chunks(many)] == [100, 100, 5]
    twice = entries("a", "b", "a", "a")
    assert [[entry.id for entry in chunk] for chunk in _chunks(twice)] == [["a", "b"], ["a"], ["a"]]
    assert list(_chunks([])) == []
    assert all(entry.status is Status.SENDING for chunk in _chunks(many) for entry in chunk)
