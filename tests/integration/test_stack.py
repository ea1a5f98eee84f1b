"""The stack as it is deployed: what wakes the function, what reaches the queue, what is left afterwards."""

import json

import pytest
from botocore.exceptions import ClientError

from harness.localstack.process import running
from harness.stack import deploy

pytestmark = pytest.mark.integration
# Logs who woke it.
WATCHER = """
import json, os

def handler(event, context):
    record = event["Records"][0]["Sns"]
    print(json.dumps({"function": os.environ["AWS_LAMBDA_FUNCTION_NAME"], "topic": record["TopicArn"].split(":")[-1]}))
"""


@pytest.fixture
def watched(make_stack, function_zip, emulator):
    """A stack whose function does nothing, and the topics that woke it so far."""
    stack = make_stack(function_zip(main=WATCHER), handler="main.handler")
    names = stack.names

    def topics():
        log = emulator.function_log
        lines = log.read_text().splitlines() if log.exists() else []
        return [json.loads(line)["topic"] for line in lines if line.startswith(f'{{"function": "{names.function}"')]

    return stack, topics


def test_publish_reaches_the_queue_as_it_is_and_wakes_the_function(watched, emulator, wait_until):
    """A published document is the queue's message body, byte for byte, attributes and all."""
    stack, topics = watched
    body = '{"action": "send",  "subject": "Grüße"}'
    emulator.client("sns").publish(
        TopicArn=stack.topic_arn,
        Message=body,
        MessageAttributes={"ion-id": {"DataType": "String", "StringValue": "7"}},
    )
    message = emulator.client("sqs").receive_message(
        QueueUrl=stack.queue_url, WaitTimeSeconds=20, MessageAttributeNames=["All"]
    )["Messages"][0]
    assert message["Body"] == body
    assert message["MessageAttributes"]["ion-id"]["StringValue"] == "7"
    # If the message was visible for long enough, the alarm wakes the function, too.
    wait_until(lambda: topics().count(stack.names.topic) == 1)


def test_message_received_too_often_is_dead_lettered(watched, emulator):
    """What is never deleted ends in the dead-letter queue."""
    stack, _ = watched
    sqs = emulator.client("sqs")
    redrive = {"deadLetterTargetArn": stack.deadletter_arn, "maxReceiveCount": 1}
    sqs.set_queue_attributes(QueueUrl=stack.queue_url, Attributes={"RedrivePolicy": json.dumps(redrive)})
    sqs.send_message(QueueUrl=stack.queue_url, MessageBody="poison")
    assert len(sqs.receive_message(QueueUrl=stack.queue_url, VisibilityTimeout=0)["Messages"]) == 1
    assert "Messages" not in sqs.receive_message(QueueUrl=stack.queue_url)
    dead = sqs.receive_message(QueueUrl=stack.deadletter_url, WaitTimeSeconds=20)["Messages"]
    assert [message["Body"] for message in dead] == ["poison"]


@pytest.mark.timeout(600)
def test_alarm_wakes_the_function_and_does_so_again_after_a_reset(watched, emulator, wait_until):
    """A message that stays visible raises the alarm; set to OK, it is raised again, without any new message."""
    stack, topics = watched
    emulator.client("sqs").send_message(QueueUrl=stack.queue_url, MessageBody="left over")
    for wakes in (1, 2):
        wait_until(lambda wakes=wakes: topics() == [stack.names.alarm_topic] * wakes, seconds=200)
        emulator.client("cloudwatch").set_alarm_state(
            AlarmName=stack.names.alarm, StateValue="OK", StateReason="the function has started"
        )


def test_queues_have_the_settings_that_the_promises_need(watched, emulator):
    """Retention, visibility, redrive and encryption are as designed, and only the topic may send."""
    stack, _ = watched
    sqs = emulator.client("sqs")
    queue, deadletter = (
        sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        for url in (stack.queue_url, stack.deadletter_url)
    )
    assert queue["VisibilityTimeout"] == "120"
    assert queue["MessageRetentionPeriod"] == "345600"
    assert json.loads(queue["RedrivePolicy"]) == {
        "deadLetterTargetArn": stack.deadletter_arn,
        "maxReceiveCount": 50,
    }
    allowed = [one for one in json.loads(queue["Policy"])["Statement"] if one["Effect"] == "Allow"]
    assert [one["Condition"] for one in allowed] == [{"ArnEquals": {"aws:SourceArn": stack.topic_arn}}]
    assert deadletter["MessageRetentionPeriod"] == "1209600"
    assert queue["SqsManagedSseEnabled"] == deadletter["SqsManagedSseEnabled"] == "true"


def test_function_is_told_the_names_of_its_resources(watched, emulator):
    """The function's environment names the queues, the ledger, the alarm and the secret of its own stack."""
    stack, _ = watched
    functions = emulator.client("lambda")
    configuration = functions.get_function_configuration(FunctionName=stack.names.function)
    assert configuration["Environment"]["Variables"] == {
        "ION_SMTP_SECRET_ID": stack.names.secret,
        "ION_QUEUE_INPUT": stack.names.queue,
        "ION_QUEUE_DEADLETTER": stack.names.deadletter,
        "ION_LEDGER_TABLE": stack.names.table,
        "ION_ALARM_NAME": stack.names.alarm,
    }
    concurrency = functions.get_function_concurrency(FunctionName=stack.names.function)
    assert concurrency["ReservedConcurrentExecutions"] == 1


def inventory(emulator, prefix):
    """The names of everything that bears a prefix."""

    def find(service, operation, *path):
        answer = getattr(emulator.client(service), operation)()
        return [str(entry) for key in path for entry in answer.get(key, []) if prefix in str(entry)]

    return [
        *find("sns", "list_topics", "Topics"),
        *find("sns", "list_subscriptions", "Subscriptions"),
        *find("sqs", "list_queues", "QueueUrls"),
        *find("lambda", "list_functions", "Functions"),
        *find("cloudwatch", "describe_alarms", "MetricAlarms"),
        *find("iam", "list_roles", "Roles"),
        *find("logs", "describe_log_groups", "logGroups"),
        *find("dynamodb", "list_tables", "TableNames"),
        *find("secretsmanager", "list_secrets", "SecretList"),
    ]


def test_destroy_leaves_nothing_and_may_be_repeated(make_stack, function_zip, emulator):
    """Every resource goes; a second time is no error; and the same names can be used again."""
    settings = {"handler": "main.handler", "secret": {"password": "p"}, "prefix": "gone-"}
    for _ in range(2):
        stack = make_stack(function_zip(main=WATCHER), **settings)
        assert len(inventory(emulator, "gone-")) == 14
        stack.destroy()
        stack.destroy()
        assert inventory(emulator, "gone-") == []


def test_stack_that_cannot_be_made_leaves_nothing(emulator):
    """Where a resource is refused, those made before it are removed; the reason is told."""
    with pytest.raises(ClientError, match="zip"):
        deploy(emulator, b"not a zip", environment={}, prefix="half-")
    assert inventory(emulator, "half-") == []


def test_leftovers_in_a_named_localstack_are_replaced(make_stack, function_zip, emulator, tmp_path):
    """In a LocalStack that outlives its users, what a killed one left behind is no obstacle."""
    make_stack(function_zip(main=WATCHER), handler="main.handler", prefix="left-")
    with running(tmp_path, environ={"AWS_ENDPOINT_URL": emulator.endpoint_url}) as named:
        deploy(named, function_zip(main=WATCHER), environment={}, handler="main.handler", prefix="left-").destroy()
    assert inventory(emulator, "left-") == []
