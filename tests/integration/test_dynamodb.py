"""DynamoDB as the ledger needs it: conditions, transactions, the index, and settings."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.stack import Names, make_table

pytestmark = pytest.mark.integration
_numbers = itertools.count(1)


@pytest.fixture
def dynamodb(emulator):
    return emulator.client("dynamodb")


@pytest.fixture
def table(emulator, dynamodb):
    names = Names(prefix=f"d{next(_numbers)}-")
    make_table(emulator, names)
    yield names.table
    dynamodb.delete_table(TableName=names.table)


def item(key, **attributes):
    """An item of strings and numbers, in DynamoDB's JSON."""
    typed = {k: {"N": str(v)} if isinstance(v, int) else {"S": v} for k, v in attributes.items()}
    return {"id": {"S": key}, **typed}


def put(table, key, *, condition=None, old=False, **attributes):
    """A transaction's Put."""
    operation = {"TableName": table, "Item": item(key, **attributes)}
    if condition:
        operation["ConditionExpression"] = condition
    if old:
        operation["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    return {"Put": operation}


def read(dynamodb, table, key):
    return dynamodb.get_item(TableName=table, Key=item(key), ConsistentRead=True).get("Item")


def test_conditional_write_has_one_winner_among_threads(dynamodb, table):
    """Of eight threads that put the same new item, each round has exactly one that succeeds."""
    # So large that making it takes longer than a thread's turn: without a lock, several would find the place empty.
    log = {"L": [{"N": str(n)} for n in range(10_000)]}

    def claim(key):
        try:
            dynamodb.put_item(
                TableName=table, Item={**item(key), "log": log}, ConditionExpression="attribute_not_exists(id)"
            )
        except dynamodb.exceptions.ConditionalCheckFailedException:
            return 0
        return 1

    with ThreadPoolExecutor(8) as threads:
        for number in range(3):
            assert sum(threads.map(claim, [f"mail-{number}"] * 8)) == 1


def test_transaction_writes_all(dynamodb, table):
    """A transaction whose conditions hold carries out every kind of write in it."""
    dynamodb.put_item(TableName=table, Item=item("old", status="deferred"))
    dynamodb.put_item(TableName=table, Item=item("changed", status="deferred", hits=1))
    dynamodb.put_item(TableName=table, Item=item("checked"))
    dynamodb.transact_write_items(
        TransactItems=[
            put(table, "new", condition="attribute_not_exists(id)", status="sending"),
            {"Delete": {"TableName": table, "Key": item("old")}},
            {
                "Update": {
                    "TableName": table,
                    "Key": item("changed"),
                    "UpdateExpression": "SET #s = :s ADD hits :one",
                    "ExpressionAttributeNames": {"#s": "status"},
                    "ExpressionAttributeValues": {":s": {"S": "sending"}, ":one": {"N": "1"}},
                }
            },
            {
                "ConditionCheck": {
                    "TableName": table,
                    "Key": item("checked"),
                    "ConditionExpression": "attribute_exists(id)",
                }
            },
        ]
    )
    assert read(dynamodb, table, "new") == item("new", status="sending")
    assert read(dynamodb, table, "old") is None
    assert read(dynamodb, table, "changed") == item("changed", status="sending", hits=2)


def test_transaction_that_fails_writes_nothing_and_gives_each_items_reason(dynamodb, table):
    """One condition that does not hold leaves all items as they were; the reasons are in order, with the old item."""
    dynamodb.put_item(TableName=table, Item=item("taken", status="delivered"))
    with pytest.raises(dynamodb.exceptions.TransactionCanceledException) as cancelled:
        dynamodb.transact_write_items(
            TransactItems=[
                put(table, "first", condition="attribute_not_exists(id)", old=True, status="sending"),
                put(table, "taken", condition="attribute_not_exists(id)", old=True, status="sending"),
                put(table, "taken-too", condition="attribute_exists(id)", old=True),
                put(table, "last"),
            ]
        )
    response = cancelled.value.response
    assert response["CancellationReasons"] == [
        {"Code": "None"},
        {
            "Code": "ConditionalCheckFailed",
            "Message": "The conditional request failed",
            "Item": item("taken", status="delivered"),
        },
        {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"},
        {"Code": "None"},
    ]
    assert "[None, ConditionalCheckFailed, ConditionalCheckFailed, None]" in response["Error"]["Message"]
    assert [i["id"]["S"] for i in dynamodb.scan(TableName=table)["Items"]] == ["taken"]
    assert read(dynamodb, table, "taken") == item("taken", status="delivered")


def test_transaction_that_cannot_be_applied_is_undone(dynamodb, table):
    """An update that fails in the middle takes back the put, the delete and the update before it."""
    before = [item("changed", hits=1), item("old", status="deferred"), item("words", hits="many")]
    for one in before:
        dynamodb.put_item(TableName=table, Item=one)

    def add(key):
        return {
            "Update": {
                "TableName": table,
                "Key": item(key),
                "UpdateExpression": "SET hits = hits + :one",
                "ExpressionAttributeValues": {":one": {"N": "1"}},
            }
        }

    with pytest.raises(dynamodb.exceptions.TransactionCanceledException) as cancelled:
        dynamodb.transact_write_items(
            TransactItems=[
                put(table, "new"),
                add("changed"),
                {"Delete": {"TableName": table, "Key": item("old")}},
                add("words"),
            ]
        )
    codes = [reason["Code"] for reason in cancelled.value.response["CancellationReasons"]]
    assert codes == ["None", "None", "None", "ValidationError"]
    assert sorted(dynamodb.scan(TableName=table)["Items"], key=str) == sorted(before, key=str)


def test_transaction_evaluates_conditions_against_the_state_before_it(dynamodb, table):
    """What one item of a transaction writes does not count for another's condition, even in another order."""
    dynamodb.put_item(TableName=table, Item=item("mail", status="sending"))
    with pytest.raises(dynamodb.exceptions.TransactionCanceledException) as cancelled:
        dynamodb.transact_write_items(
            TransactItems=[
                {"Delete": {"TableName": table, "Key": item("mail")}},
                put(table, "other", condition="attribute_exists(id)"),
            ]
        )
    assert [r["Code"] for r in cancelled.value.response["CancellationReasons"]] == ["None", "ConditionalCheckFailed"]
    assert read(dynamodb, table, "mail") == item("mail", status="sending")


def test_transaction_refuses_one_item_twice(dynamodb, table):
    """Two operations on one item are a validation error."""
    with pytest.raises(dynamodb.exceptions.ClientError, match="multiple operations on one item") as refused:
        dynamodb.transact_write_items(TransactItems=[put(table, "a", hits=1), put(table, "a", hits=2)])
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert read(dynamodb, table, "a") is None


def test_transaction_takes_a_hundred_items_and_no_more(dynamodb, table):
    """A hundred items are written, a hundred and one refused."""
    dynamodb.transact_write_items(TransactItems=[put(table, f"a{n}") for n in range(100)])
    with pytest.raises(dynamodb.exceptions.ClientError, match="less than or equal to 100"):
        dynamodb.transact_write_items(TransactItems=[put(table, f"b{n}") for n in range(101)])
    assert len(dynamodb.scan(TableName=table)["Items"]) == 100


def test_transaction_on_an_unknown_table_is_refused(dynamodb):
    """A table that does not exist is named as such."""
    with pytest.raises(dynamodb.exceptions.ResourceNotFoundException):
        dynamodb.transact_write_items(TransactItems=[{"Delete": {"TableName": "nowhere", "Key": item("a")}}])


def test_transaction_repeated_with_its_token_is_done_once(dynamodb, table):
    """A call repeated because its answer was lost succeeds without a second effect; another with its token fails."""
    claim = [put(table, "mail", condition="attribute_not_exists(id)")]
    for _ in range(2):
        dynamodb.transact_write_items(TransactItems=claim, ClientRequestToken="token-1")
    with pytest.raises(dynamodb.exceptions.IdempotentParameterMismatchException):
        dynamodb.transact_write_items(TransactItems=[put(table, "other")], ClientRequestToken="token-1")
    assert read(dynamodb, table, "other") is None


def test_conditional_put_returns_the_old_item(dynamodb, table):
    """A conditional put that fails carries the item that stood in its way, where it was asked for."""
    dynamodb.put_item(TableName=table, Item=item("mail", status="delivered"))
    with pytest.raises(dynamodb.exceptions.ConditionalCheckFailedException) as refused:
        dynamodb.put_item(
            TableName=table,
            Item=item("mail"),
            ConditionExpression="attribute_not_exists(id)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    assert refused.value.response["Item"] == item("mail", status="delivered")


def test_values_come_back_as_they_were_put(dynamodb, table):
    """Every attribute type survives a put, a transaction's put and an update of its neighbour."""
    full = {
        "id": {"S": "full"},
        "text": {"S": "Grüße 👋"},
        "number": {"N": "1700000000.123456"},
        "bytes": {"B": b"\x00\xff"},
        "yes": {"BOOL": True},
        "nothing": {"NULL": True},
        "words": {"SS": ["a", "b"]},
        "log": {"L": [{"M": {"at": {"N": "1"}, "text": {"S": "250 ok"}}}, {"L": []}]},
        "recipients": {"M": {"a@example.com": {"M": {"code": {"N": "250"}}}}},
    }
    dynamodb.put_item(TableName=table, Item=full)
    assert read(dynamodb, table, "full") == full
    dynamodb.transact_write_items(TransactItems=[{"Put": {"TableName": table, "Item": full}}])
    dynamodb.update_item(
        TableName=table,
        Key={"id": {"S": "full"}},
        UpdateExpression="SET #l[0].#t = :t",
        ExpressionAttributeNames={"#l": "log", "#t": "text"},
        ExpressionAttributeValues={":t": {"S": "421 later"}},
    )
    full["log"]["L"][0]["M"]["text"]["S"] = "421 later"
    assert read(dynamodb, table, "full") == full


def test_item_over_the_size_limit_is_refused(dynamodb, table):
    """An item of more than 400 KB is a validation error, by itself and in a transaction."""
    huge = item("huge", text="x" * 420_000)
    with pytest.raises(dynamodb.exceptions.ClientError, match="maximum allowed size"):
        dynamodb.put_item(TableName=table, Item=huge)
    with pytest.raises(dynamodb.exceptions.TransactionCanceledException, match="ValidationError"):
        dynamodb.transact_write_items(TransactItems=[put(table, "a"), {"Put": {"TableName": table, "Item": huge}}])
    assert dynamodb.scan(TableName=table)["Items"] == []


def test_index_lists_a_status_by_time_in_pages(dynamodb, table):
    """The index gives the mails of one status, oldest or newest first, keys only, page by page."""
    for number in (3, 1, 5, 2, 4):
        dynamodb.put_item(TableName=table, Item=item(f"m{number}", status="deferred", updated=number * 9, text="no"))
    dynamodb.put_item(TableName=table, Item=item("other", status="delivered", updated=7))
    question = {
        "TableName": table,
        "IndexName": "status-updated",
        "KeyConditionExpression": "#s = :s AND updated < :before",
        "ExpressionAttributeNames": {"#s": "status"},
        "ExpressionAttributeValues": {":s": {"S": "deferred"}, ":before": {"N": "45"}},
    }
    assert dynamodb.query(**question)["Items"] == [
        item(f"m{number}", status="deferred", updated=number * 9) for number in (1, 2, 3, 4)
    ]
    pages = dynamodb.get_paginator("query").paginate(
        **question, ScanIndexForward=False, PaginationConfig={"PageSize": 3}
    )
    assert [[one["id"]["S"] for one in page["Items"]] for page in pages] == [["m4", "m3", "m2"], ["m1"]]


def test_batches_write_and_read(dynamodb, table):
    """Batch writes and reads work as one would expect of them."""
    dynamodb.batch_write_item(RequestItems={table: [{"PutRequest": {"Item": item(f"m{n}")}} for n in range(3)]})
    dynamodb.batch_write_item(RequestItems={table: [{"DeleteRequest": {"Key": item("m1")}}]})
    answer = dynamodb.batch_get_item(RequestItems={table: {"Keys": [item(f"m{n}") for n in range(3)]}})
    assert sorted(one["id"]["S"] for one in answer["Responses"][table]) == ["m0", "m2"]


def test_table_keeps_its_settings(dynamodb, table):
    """Time to live and point-in-time recovery read back as they were set."""
    ttl = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    assert ttl == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires"}
    dynamodb.update_continuous_backups(
        TableName=table, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    backups = dynamodb.describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"
    description = dynamodb.describe_table(TableName=table)["Table"]
    assert description["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert description["TableStatus"] == "ACTIVE"
