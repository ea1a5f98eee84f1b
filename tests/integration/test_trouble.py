"""AWS going wrong on purpose: which calls are struck, what the caller sees, and what took effect all the same."""

import itertools
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ReadTimeoutError

from harness.errors import LocalStackError
from harness.localstack.process import ACCESS_KEY, REGION, SECRET_KEY
from harness.localstack.trouble import TroubleRule
from harness.stack import Names, make_table

pytestmark = pytest.mark.integration
_numbers = itertools.count(1)


@pytest.fixture
def trouble(emulator):
    """Sets rules; heals at the end."""
    yield lambda *rules: emulator.trouble(rules)
    emulator.trouble([])


@pytest.fixture
def struck(emulator):
    """How many calls have been struck since the test began."""
    before = Counter(emulator.trouble_counts())
    return lambda: dict(Counter(emulator.trouble_counts()) - before)


@pytest.fixture
def function_client(emulator, monkeypatch):
    """Makes clients like a function's, which do not try again."""
    monkeypatch.setenv("AWS_EXECUTION_ENV", "AWS_Lambda_python3.13")
    session = boto3.Session(aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY, region_name=REGION)

    def make(service, **config):
        once = Config(retries={"mode": "standard", "total_max_attempts": 1}, proxies={}, **config)
        return session.client(service, endpoint_url=emulator.endpoint_url, config=once)

    return make


@pytest.fixture
def table(emulator):
    names = Names(prefix=f"trouble{next(_numbers)}-")
    make_table(emulator, names)
    yield names.table
    emulator.client("dynamodb").delete_table(TableName=names.table)


@pytest.fixture
def queue(emulator):
    """A queue's name and URL."""
    sqs, name = emulator.client("sqs"), f"trouble{next(_numbers)}"
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    yield name, url
    sqs.delete_queue(QueueUrl=url)


def refusal(call, **parameters):
    """The code and HTTP status of the error that a call ends with."""
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def test_throttled_dynamodb_hits_functions_and_not_who_watches_them(emulator, function_client, table, trouble, struck):
    """A function's write is refused and takes no effect; the harness reads and writes on."""
    trouble(TroubleRule(service="dynamodb", operations=("PutItem",), code="ProvisionedThroughputExceededException"))
    item = {"id": {"S": "m"}}
    function = function_client("dynamodb")
    with pytest.raises(function.exceptions.ProvisionedThroughputExceededException):
        function.put_item(TableName=table, Item=item)
    watcher = emulator.client("dynamodb")
    assert "Item" not in watcher.get_item(TableName=table, Key=item, ConsistentRead=True)
    watcher.put_item(TableName=table, Item=item)
    assert function.get_item(TableName=table, Key=item, ConsistentRead=True)["Item"] == item
    assert struck() == {"dynamodb.PutItem": 1}


def test_real_functions_calls_are_hit(emulator, make_stack, function_zip, trouble):
    """What marks a function's calls is in the calls of a function that runs."""
    source = (
        "import boto3\n"
        "from botocore.exceptions import ClientError\n"
        "def handler(event, context):\n"
        "    try:\n"
        "        boto3.client('sts').get_caller_identity()\n"
        "    except ClientError as error:\n"
        "        return error.response['Error']['Code']\n"
    )
    stack = make_stack(function_zip(main=source), handler="main.handler")
    trouble(TroubleRule(service="sts", code="AccessDenied", status=403))
    answer = emulator.client("lambda").invoke(FunctionName=stack.names.function)
    assert json.load(answer["Payload"]) == "AccessDenied"


@pytest.mark.parametrize(
    ("service", "operation", "parameters"),
    [
        ("sqs", "list_queues", {}),
        ("dynamodb", "list_tables", {}),
        ("sns", "list_topics", {}),
        ("cloudwatch", "describe_alarms", {}),
        ("secretsmanager", "list_secrets", {}),
    ],
)
@pytest.mark.parametrize("after", [False, True])
def test_every_service_answers_errors_as_boto_reads_them(
    function_client, trouble, service, operation, parameters, after
):
    """Code and HTTP status arrive in whatever protocol the service speaks, and healing ends it."""
    call = getattr(function_client(service), operation)
    trouble(TroubleRule(service=service, code="ServiceUnavailable", status=503, after=after))
    assert refusal(call, **parameters) == ("ServiceUnavailable", 503)
    trouble()
    assert call(**parameters)["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_lost_answer_leaves_the_write(emulator, function_client, table, trouble):
    """The caller sees an error, and the item is there."""
    trouble(
        TroubleRule(service="dynamodb", operations=("PutItem",), code="InternalServerError", status=500, after=True)
    )
    item = {"id": {"S": "m"}}
    call = function_client("dynamodb").put_item
    assert refusal(call, TableName=table, Item=item) == ("InternalServerError", 500)
    assert emulator.client("dynamodb").get_item(TableName=table, Key=item)["Item"] == item


def test_answer_too_late_leaves_the_message(function_client, queue, trouble, wait_until):
    """A call that only takes long ends with the client's own time-out, and has taken effect."""
    _, url = queue
    trouble(TroubleRule(service="sqs", operations=("SendMessage",), delay_seconds=60, after=True))
    with pytest.raises(ReadTimeoutError):
        function_client("sqs", read_timeout=0.5).send_message(QueueUrl=url, MessageBody="kept")
    receive = function_client("sqs").receive_message
    (message,) = wait_until(lambda: receive(QueueUrl=url).get("Messages"))
    assert message["Body"] == "kept"


def test_same_seed_strikes_the_same_calls(function_client, trouble, struck):
    """A share of the calls is struck, and with the same seed the same share of them."""
    call = function_client("sqs").list_queues

    def strikes(seed):
        trouble(TroubleRule(service="sqs", share=0.5, code="ThrottlingException", seed=seed))
        outcomes = []
        for _ in range(20):
            try:
                call()
            except ClientError:
                outcomes.append(True)
            else:
                outcomes.append(False)
        return outcomes

    first, second, other = strikes(1), strikes(1), strikes(2)
    assert first == second != other
    assert struck() == {"sqs.ListQueues": sum(first + second + other)}
    assert 0 < sum(first) < 20


def test_rule_for_everybody_hits_the_harness_too(emulator, trouble):
    """With `functions_only` off, a publisher of the harness is hit."""
    trouble(TroubleRule(service="sns", operations=("Publish",), code="KMSAccessDenied", functions_only=False))
    topic = "arn:aws:sns:us-east-1:000000000000:any"
    assert refusal(emulator.client("sns").publish, TopicArn=topic, Message="{}") == ("KMSAccessDenied", 400)


def test_calls_between_services_are_spared(emulator, queue, trouble, wait_until):
    """A rule for everybody's SQS calls does not make SNS lose what it has accepted."""
    sqs, sns, (name, url) = emulator.client("sqs"), emulator.client("sns"), queue
    topic = sns.create_topic(Name=name)["TopicArn"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    sending = ("SendMessage", "SendMessageBatch")
    trouble(TroubleRule(service="sqs", operations=sending, code="AccessDenied", functions_only=False))
    assert refusal(sqs.send_message, QueueUrl=url, MessageBody="{}") == ("AccessDenied", 400)
    sns.publish(TopicArn=topic, Message="kept")
    try:
        wait_until(lambda: "Messages" in sqs.receive_message(QueueUrl=url))
    finally:
        sns.delete_topic(TopicArn=topic)


def test_healing_ends_a_delay(function_client, trouble, struck, wait_until):
    """A call that waits goes on when the rules are lifted."""
    trouble(TroubleRule(service="sqs", delay_seconds=600))
    with ThreadPoolExecutor(1) as thread:
        call = thread.submit(function_client("sqs", read_timeout=120).list_queues)
        try:
            wait_until(struck)
            assert not call.done()
        finally:
            trouble()
        assert call.result(timeout=60)["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_redelivered_message_comes_twice(emulator, queue):
    """A message that somebody holds is received again under the same id; deleting it once removes it."""
    sqs, (name, url) = emulator.client("sqs"), queue
    sent = sqs.send_message(QueueUrl=url, MessageBody="{}")["MessageId"]
    (first,) = sqs.receive_message(QueueUrl=url, VisibilityTimeout=600)["Messages"]
    assert "Messages" not in sqs.receive_message(QueueUrl=url)
    assert emulator.redeliver(name) == 1
    (second,) = sqs.receive_message(QueueUrl=url, VisibilityTimeout=600)["Messages"]
    assert first["MessageId"] == second["MessageId"] == sent
    sqs.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])
    assert emulator.redeliver(name) == 0


def test_share_of_the_messages_is_redelivered(emulator, queue):
    """Some of those in flight, not all."""
    sqs, (name, url) = emulator.client("sqs"), queue
    for _ in range(2):
        sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": str(n), "MessageBody": "{}"} for n in range(10)])
        sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=600)
    redelivered = emulator.redeliver(name, share=0.5, seed=1)
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])["Attributes"]
    assert 0 < redelivered < 20
    assert attributes["ApproximateNumberOfMessages"] == str(redelivered)


def test_unknown_queue_is_named(emulator):
    """Redelivery from a queue that does not exist is an error that says so."""
    with pytest.raises(LocalStackError, match="no queue 'missing'"):
        emulator.redeliver("missing")
