"""LocalStack's DynamoDB on moto, since the stock one downloads a jar when it runs.

Two things are done otherwise than moto does them: calls run one after the other (LocalStack's gateway has many threads,
moto's tables no locks, and a conditional write must have one winner), and a transaction copies the items that it
touches, where moto copies the whole table once for every item of the transaction.
"""

from __future__ import annotations

import copy
import hashlib
import threading
import time
from functools import wraps
from typing import TYPE_CHECKING, Any

from localstack.aws.api import RequestContext, handler
from localstack.aws.api.dynamodb import (
    DynamodbApi,
    IdempotentParameterMismatchException,
    TransactWriteItemsInput,
    TransactWriteItemsOutput,
)
from localstack.services.moto import MotoFallbackDispatcher, call_moto
from localstack.services.plugins import Service, aws_provider
from moto.core.exceptions import JsonRESTError
from moto.dynamodb.comparisons import get_filter_expression
from moto.dynamodb.exceptions import (
    MultipleTransactionsException,
    TooManyTransactionsException,
    TransactionCanceledException,
    TransactWriteSingleOpException,
)
from moto.dynamodb.models import DynamoDBBackend

from harness.localstack import fast_moto

if TYPE_CHECKING:
    from collections.abc import Callable

    from moto.dynamodb.models.dynamo_type import Item

MAX_TRANSACTION_ITEMS = 100
# How long a request token stands for one transaction:
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
TOKEN_SECONDS = 600


class MotoDynamoDb(DynamodbApi):  # type: ignore[misc]  # LocalStack is untyped
    """All that is not here is moto's."""

    def __init__(self) -> None:
        self._tokens: dict[tuple[str, str, str], tuple[float, bytes]] = {}

    @handler("TransactWriteItems", expand=False)  # type: ignore[untyped-decorator]
    def transact_write_items(
        self, context: RequestContext, request: TransactWriteItemsInput
    ) -> TransactWriteItemsOutput:
        """A transaction; one whose token has been seen is done already, so that a client may repeat a lost call."""
        now = time.monotonic()
        self._tokens = {key: seen for key, seen in self._tokens.items() if seen[0] > now - TOKEN_SECONDS}
        key = (context.account_id, context.region, request.get("ClientRequestToken") or "")
        digest = hashlib.sha256(context.request.data).digest()
        if key[2] and key in self._tokens:
            if self._tokens[key][1] != digest:
                raise IdempotentParameterMismatchException("The token has been used for another transaction.")
            return TransactWriteItemsOutput()
        answer = call_moto(context)
        if key[2]:
            self._tokens[key] = (now, digest)
        return answer


def transact_write_items(backend: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
    """Carry out all writes or none; the conditions are about the items as they were before.

    Raises:
        TransactionCanceledException: With a reason for every item, in order.
    """
    if len(transact_items) > MAX_TRANSACTION_ITEMS:
        raise TooManyTransactionsException
    writes = [_Write(backend, item) for item in transact_items]
    if len({write.target for write in writes}) < len(writes):
        raise MultipleTransactionsException
    reasons = [write.refusal() for write in writes]
    if any(code for code, _, _ in reasons):
        raise TransactionCanceledException(reasons)
    for number, write in enumerate(writes):
        try:
            write.apply()
        except JsonRESTError as error:
            for done in reversed(writes[: number + 1]):
                done.undo()
            reasons[number] = ("ValidationError", str(error.message), None)
            raise TransactionCanceledException(reasons) from error


class _Write:
    """One item of a transaction."""

    def __init__(self, backend: DynamoDBBackend, item: dict[str, Any]) -> None:
        if len(item) != 1:
            raise TransactWriteSingleOpException
        self._backend = backend
        ((self._kind, self._operation),) = item.items()
        self._table = backend.get_table(self._operation["TableName"])
        key = self._operation["Item"] if self._kind == "Put" else self._operation["Key"]
        self._hash, self._range = backend.get_keys_value(self._table, key)
        self.target = (self._table.name, self._hash, self._range)
        self._current: Item | None = self._table.get_item(self._hash, self._range)
        self._before: Item | None = None

    def refusal(self) -> tuple[str, str, dict[str, Any] | None] | tuple[None, None, None]:
        """Why the condition does not hold; three times None where it does."""
        condition = get_filter_expression(
            self._operation.get("ConditionExpression"),
            self._operation.get("ExpressionAttributeNames"),
            self._operation.get("ExpressionAttributeValues"),
        )
        if condition.expr(self._current):
            return (None, None, None)
        wanted = self._operation.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
        old = self._current.to_json()["Attributes"] if wanted and self._current is not None else None
        return ("ConditionalCheckFailed", "The conditional request failed", old)

    def apply(self) -> None:
        """Write, unconditionally."""
        operation, table = self._operation, self._operation["TableName"]
        match self._kind:
            case "Put":
                self._before = self._current
                self._backend.put_item(table, operation["Item"], overwrite=True)
            case "Delete":
                self._before = self._current
                self._backend.delete_item(table, operation["Key"])
            case "Update":
                self._before = copy.deepcopy(self._current)  # moto changes it in its place
                self._backend.update_item(
                    table,
                    operation["Key"],
                    update_expression=operation["UpdateExpression"],
                    expression_attribute_names=operation.get("ExpressionAttributeNames"),
                    expression_attribute_values=operation.get("ExpressionAttributeValues"),
                )
            case "ConditionCheck":
                self._before = self._current

    def undo(self) -> None:
        """Put back what was there."""
        items = self._table.items[self._hash] if self._range else self._table.items
        key = self._range or self._hash
        if self._before is None:
            items.pop(key, None)
        else:
            items[key] = self._before


def _one_at_a_time(provider: MotoDynamoDb) -> dict[str, Callable[..., Any]]:
    """The dispatch table, every operation under one lock."""
    lock = threading.Lock()

    def guarded(operation: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(operation)
        def call(*arguments: Any) -> Any:
            with lock:
                return operation(*arguments)

        return call

    return {name: guarded(operation) for name, operation in MotoFallbackDispatcher(provider).items()}


@aws_provider(api="dynamodb", name="moto")  # type: ignore[untyped-decorator]
def moto_dynamodb() -> Service:
    """The service, under `PROVIDER_OVERRIDE_DYNAMODB=moto`."""
    fast_moto.install()
    DynamoDBBackend.transact_write_items = transact_write_items
    return Service.for_provider(MotoDynamoDb(), dispatch_table_factory=_one_at_a_time)
