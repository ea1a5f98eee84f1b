"""The ledger on DynamoDB: one item a mail, conditional writes, whole batches in one transaction.

A transaction (TransactWriteItems) takes up to 100 items and 4 MB, and says for each item whether its condition held:
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, fields
from decimal import Decimal
from random import random
from typing import TYPE_CHECKING, Any, NoReturn

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import BotoCoreError, ClientError

from ion.errors import LedgerUnavailable
from ion.ledger import (
    BUSY_RECHECK_SECONDS,
    MAX_TEXT,
    RESERVED_PREFIX,
    Answer,
    Attempt,
    Busy,
    Claim,
    Entry,
    Granted,
    Status,
    clipped,
    fresh,
    judge,
)
from ion.outcome import Kind, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mypy_boto3_dynamodb import DynamoDBClient

    from ion.protocols import Clock

BREAKER_ID = f"{RESERVED_PREFIX}breaker"
MAX_TRANSACTION_ITEMS = 100
MAX_TRANSACTION_BYTES = 3_500_000  # of DynamoDB's 4 MB; an item's size is estimated
# Rounds of a transaction that other writers or a throttled table upset, with longer and longer pauses: some 3 s in all.
MAX_ROUNDS = 8
SHORTEST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 1.0
# Why an item's part of a transaction was cancelled: with the others; for good; or so that another try may succeed.
_PLAIN = {"None", "ConditionalCheckFailed"}
_PASSING = {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}
SECONDS_A_DAY = 86_400

Item = dict[str, Any]
_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize
_NUMBERS = {"lease_until", "created", "updated", "retry_at"}


class DynamoLedger:
    """`ledger.Ledger` on one DynamoDB table."""

    def __init__(self, client: DynamoDBClient, *, table: str, ttl_days: int, clock: Clock) -> None:
        self._client = client
        self._table = table
        self._ttl_seconds = ttl_days * SECONDS_A_DAY
        self._clock = clock

    async def claim(self, claims: Sequence[Claim], *, lease_seconds: float) -> list[Answer]:
        """Claim mails: one call where all are new, one more where some are known."""
        first = {claim.id: claim for claim in reversed(claims)}  # of claims with one id the first counts
        answers: dict[str, Answer] = {}
        known: dict[str, Entry] = {}
        for turn in range(MAX_ROUNDS):
            wanted = []
            now = self._clock.now()
            for claim in [claim for claim in first.values() if claim.id not in answers]:
                answer = _judge(known.get(claim.id), claim, now=now, lease_seconds=lease_seconds)
                if isinstance(answer, Granted) and answer.entry is not known.get(claim.id):
                    wanted.append(answer.entry)
                else:
                    answers[claim.id] = answer
            for chunk in _chunks(wanted):
                await self._take(chunk, known, answers, turn=turn)
            if len(answers) == len(first):
                break
        else:
            self._give_up()
        twin = Busy(self._clock.now() + min(lease_seconds, BUSY_RECHECK_SECONDS))
        return [answers[claim.id] if first[claim.id] is claim else twin for claim in claims]

    async def _take(
        self, wanted: Sequence[Entry], known: dict[str, Entry], answers: dict[str, Answer], *, turn: int
    ) -> None:
        """Try to write claimed entries, all or none; else learn how the mails that stood in the way really stand."""
        reasons = await self._transact([self._put(entry, known.get(entry.id)) for entry in wanted], turn=turn)
        if reasons is None:
            answers.update({entry.id: Granted(entry) for entry in wanted})
            return
        for entry, reason in zip(wanted, reasons, strict=True):
            if reason["Code"] != "ConditionalCheckFailed":
                continue
            if "Item" in reason:
                known[entry.id] = _entry(reason["Item"])
            else:  # it was there and is gone: its time to live ended in between
                known.pop(entry.id, None)

    async def write(self, entries: Sequence[Entry]) -> list[bool]:
        """Write entries that are still their owners', in one call where nobody else has interfered."""
        written: dict[int, bool] = {}  # by the entry's place: one id may be there twice, under two owners
        for chunk in _chunks(entries):
            pending = chunk
            for turn in range(MAX_ROUNDS):
                reasons = await self._transact([self._put(entry, entry) for entry in pending], turn=turn)
                if reasons is None:
                    written.update({id(entry): True for entry in pending})
                    break
                lost = [e for e, r in zip(pending, reasons, strict=True) if r["Code"] == "ConditionalCheckFailed"]
                written.update({id(entry): False for entry in lost})
                pending = [entry for entry in pending if id(entry) not in written]
                if not pending:
                    break
            else:
                self._give_up()
        return [written[id(entry)] for entry in entries]

    def _give_up(self) -> NoReturn:
        raise LedgerUnavailable(
            f"table {self._table}: throttled, or other writers upset the same items {MAX_ROUNDS} times"
        )

    async def breaker(self) -> str:
        """Why the SMTP server was last found unavailable."""
        answer = await self._call(
            self._client.get_item, TableName=self._table, Key={"id": {"S": BREAKER_ID}}, ConsistentRead=True
        )
        return str(_deserialize(answer["Item"]["detail"])) if "Item" in answer else ""

    async def open_breaker(self, reason: str) -> None:
        """Record that the SMTP server is unavailable."""
        item = {"id": BREAKER_ID, "detail": clipped(reason) or "unavailable", "since": _decimal(self._clock.now())}
        await self._call(self._client.put_item, TableName=self._table, Item={k: _serialize(v) for k, v in item.items()})

    async def close_breaker(self) -> None:
        """Record that the SMTP server works."""
        await self._call(self._client.delete_item, TableName=self._table, Key={"id": {"S": BREAKER_ID}})

    def _put(self, entry: Entry, old: Entry | None) -> Item:
        """The conditional Put of an entry in the place of the one last seen; where none was seen, of a new one."""
        item = _item(entry)
        item["expires"] = {"N": str(int(entry.updated) + self._ttl_seconds)}
        put: Item = {"TableName": self._table, "Item": item, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        if old is None:
            put["ConditionExpression"] = "attribute_not_exists(id)"
        elif old is entry:
            put["ConditionExpression"] = "#owner = :owner"
            put["ExpressionAttributeNames"] = {"#owner": "owner"}
            put["ExpressionAttributeValues"] = {":owner": item["owner"]}
        else:
            # Whoever claims changes the owner; whoever writes on what is claimed changes the time.
            seen = _item(old)
            put["ConditionExpression"] = "#owner = :owner AND updated = :updated AND #status = :status"
            put["ExpressionAttributeNames"] = {"#owner": "owner", "#status": "status"}
            put["ExpressionAttributeValues"] = {
                ":owner": seen["owner"],
                ":updated": seen["updated"],
                ":status": seen["status"],
            }
        return {"Put": put}

    async def _transact(self, puts: Sequence[Item], *, turn: int) -> list[Item] | None:
        """Carry the puts out, all or none; None when done, else each put's reason."""
        try:
            await self._call(self._client.transact_write_items, TransactItems=puts)
        except _Cancelled as cancelled:
            for reason in cancelled.reasons:
                if reason["Code"] not in _PLAIN | _PASSING:
                    raise LedgerUnavailable(
                        f"table {self._table}: {reason['Code']}: {reason.get('Message', '')}"
                    ) from cancelled
            if any(reason["Code"] in _PASSING for reason in cancelled.reasons):
                pause = min(LONGEST_PAUSE_SECONDS, SHORTEST_PAUSE_SECONDS * 2**turn)
                await asyncio.sleep(pause * (0.5 + random() / 2))  # noqa: S311 - so that two do not meet again and again
            return cancelled.reasons
        return None

    async def _call(self, method: Any, **arguments: Any) -> Any:
        try:
            return await asyncio.to_thread(method, **arguments)
        except ClientError as error:
            reasons: Any = error.response.get("CancellationReasons")
            if error.response["Error"]["Code"] == "TransactionCanceledException" and reasons:
                raise _Cancelled(reasons) from error
            raise LedgerUnavailable(f"table {self._table}: {error}") from error
        except BotoCoreError as error:
            raise LedgerUnavailable(f"table {self._table}: {error}") from error


class _Cancelled(Exception):  # noqa: N818 - a step of the protocol, not an error
    def __init__(self, reasons: list[Item]) -> None:
        super().__init__()
        self.reasons = reasons


def _judge(old: Entry | None, claim: Claim, *, now: float, lease_seconds: float) -> Answer:
    if old is None:
        return Granted(fresh(claim, now=now, lease_seconds=lease_seconds))
    return judge(old, claim, now=now, lease_seconds=lease_seconds)


def _chunks(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Entries in as few transactions as DynamoDB's limits allow."""
    chunk: list[Entry] = []
    size = 0
    for entry in entries:
        weight = 2_000 + len(entry.recipients) * (2 * MAX_TEXT + 400) + len(entry.log) * 2 * MAX_TEXT
        full = len(chunk) == MAX_TRANSACTION_ITEMS or size + weight > MAX_TRANSACTION_BYTES
        if chunk and (full or entry.id in {other.id for other in chunk}):  # no item may be in a transaction twice
            yield chunk
            chunk, size = [], 0
        chunk.append(entry)
        size += weight
    if chunk:
        yield chunk


def _decimal(number: float) -> Decimal:
    return Decimal(f"{number:.6f}")


def _item(entry: Entry) -> Item:
    """An entry as DynamoDB's item; what is empty is left out."""
    plain: Item = {}
    for field in fields(entry):
        value = getattr(entry, field.name)
        if field.name == "recipients":
            value = {address: _slim(asdict(outcome)) for address, outcome in value.items()}
        elif field.name == "log":
            value = [
                _slim({**asdict(line), "at": _decimal(line.at), "seconds": _decimal(line.seconds)}) for line in value
            ]
        elif field.name in _NUMBERS:
            value = _decimal(value)
        elif field.name == "tags":
            value = dict(value)
        if value or field.name in {"lease_until", "updated"}:
            plain[field.name] = str(value) if isinstance(value, Status) else value
    return {name: _serialize(value) for name, value in plain.items()}


def _slim(plain: Mapping[str, Any]) -> Item:
    return {k: (clipped(v) if k == "text" else str(v) if isinstance(v, Kind) else v) for k, v in plain.items() if v}


def _entry(item: Item) -> Entry:
    """The entry that an item records."""
    plain: Item = {name: _deserialize(value) for name, value in item.items()}
    names = {field.name for field in fields(Entry)}
    values: Item = {k: float(v) if k in _NUMBERS else v for k, v in plain.items() if k in names}
    values["status"] = Status(values["status"])
    for name in ("generation", "attempts", "moved"):
        values[name] = int(values.get(name, 0))
    values["recipients"] = {
        address: Outcome(**{**o, "kind": Kind(o["kind"]), "code": int(o.get("code", 0))})
        for address, o in values.get("recipients", {}).items()
    }
    values["log"] = tuple(
        Attempt(**{**line, "at": float(line["at"]), "seconds": float(line.get("seconds", 0))})
        for line in values.get("log", [])
    )
    return Entry(**values)
