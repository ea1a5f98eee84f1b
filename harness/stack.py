"""Everything that ion needs in AWS, made through boto3 in seconds.

The settings of the resources are the constants and the calls below; terraform/ makes the same ones for AWS.
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from harness.errors import StackError
from harness.localstack.process import REGION, Emulator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

ACCOUNT = "000000000000"  # whose access key is LocalStack's `test`
RUNTIME = "python3.13"  # in AWS; the embedded LocalStack runs the function on the Python at hand
HANDLER = "ion.handler.run"
VISIBILITY_TIMEOUT_SECONDS = 120
INPUT_RETENTION_SECONDS = 4 * 24 * 3600
# Well over the input queue's: a dead letter keeps the time at which it was first enqueued.
DEADLETTER_RETENTION_SECONDS = 14 * 24 * 3600
MAX_MESSAGE_BYTES = 262_144  # what SNS takes by default, and all that Terraform's provider could ask for before 6.8
MAX_RECEIVE_COUNT = 50  # the net for a mail that kills the process: ion counts attempts itself
LOG_RETENTION_DAYS = 30
# How often a failed asynchronous invocation is tried again, and how long a throttled one (both AWS's defaults).
MAXIMUM_RETRY_ATTEMPTS = 2
MAXIMUM_EVENT_AGE_SECONDS = 6 * 3600
ACTIVE_TIMEOUT_SECONDS = 30
POLL_SECONDS = 0.05
ABSENT = frozenset(
    {"NotFound", "NotFoundException", "NoSuchEntity", "ResourceNotFound", "ResourceNotFoundException"}
    | {"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Names:
    """What the resources are called; a prefix lets several stacks live in one LocalStack.

    Attributes:
        prefix: What each name begins with; empty for the defaults.
    """

    prefix: str = ""

    @property
    def function(self) -> str:
        """The Lambda function, and the stem of all other names."""
        return f"{self.prefix}ion"

    @property
    def topic(self) -> str:
        """The SNS topic that publishers use."""
        return f"{self.function}-input-topic"

    @property
    def queue(self) -> str:
        """The SQS queue behind it."""
        return f"{self.function}-input-queue"

    @property
    def deadletter(self) -> str:
        """The dead-letter queue."""
        return f"{self.function}-input-deadletter-queue"

    @property
    def alarm(self) -> str:
        """The alarm on the queue's visible messages."""
        return f"{self.function}-input-queue-size-alarm"

    @property
    def deadletter_alarm(self) -> str:
        """The alarm on the dead-letter queue."""
        return f"{self.function}-dead-letters-alarm"

    @property
    def alarm_topic(self) -> str:
        """The SNS topic of its actions."""
        return f"{self.alarm}-topic"

    @property
    def table(self) -> str:
        """The DynamoDB table of the ledger."""
        return f"{self.function}-ledger"

    @property
    def secret(self) -> str:
        """The Secrets Manager secret with the SMTP login."""
        return f"{self.function}-smtp"

    @property
    def log_group(self) -> str:
        """The function's log group, named as Lambda will have it."""
        return f"/aws/lambda/{self.function}"

    def topic_arn(self, topic: str) -> str:
        """The ARN of one of the topics."""
        return f"arn:aws:sns:{REGION}:{ACCOUNT}:{topic}"

    def queue_arn(self, queue: str) -> str:
        """The ARN of one of the queues."""
        return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}"


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One deployment, as it stands."""

    emulator: Emulator
    names: Names
    topic_arn: str
    alarm_topic_arn: str
    queue_url: str
    queue_arn: str
    deadletter_url: str
    deadletter_arn: str
    function_arn: str

    def function_pids(self) -> list[int]:
        """The process ids of the function's living processes."""
        return self.emulator.function_pids(self.names.function)

    def destroy(self) -> None:
        """Remove everything; what is gone already is no error."""
        _remove(self.emulator, self.names)


def deploy(
    emulator: Emulator,
    artifact: bytes | Path,
    *,
    environment: Mapping[str, str],
    secret: Mapping[str, Any] | None = None,
    prefix: str = "",
    handler: str = HANDLER,
    alarm_period_seconds: int = 10,
    timeout_seconds: int = 120,
    reserved_concurrency: int = 1,
    memory_mb: int = 512,
) -> Stack:
    """Make the whole stack; on failure, leave nothing of it behind.

    Args:
        emulator: Where.
        artifact: The function's zip, or its path.
        environment: Variables for the function, besides the names of its resources.
        secret: What the secret holds: any of server, port, username, password, ca.
        prefix: What each name begins with.
        handler: The function's handler.
        alarm_period_seconds: The alarms' period: 10, 30 or a multiple of 60.
        timeout_seconds: The function's timeout.
        reserved_concurrency: How many invocations may run at once.
        memory_mb: The function's memory.

    Raises:
        StackError: The function did not become active.
    """
    names = Names(prefix=prefix)
    if not emulator.embedded:
        _remove(emulator, names)  # what a harness that was killed may have left there
    try:
        emulator.client("secretsmanager").create_secret(Name=names.secret, SecretString=json.dumps(dict(secret or {})))
        make_table(emulator, names)
        queue_url, deadletter_url = _make_queues(emulator, names)
        function_arn = _make_function(
            emulator,
            names,
            Code={"ZipFile": artifact if isinstance(artifact, bytes) else artifact.read_bytes()},
            Handler=handler,
            Timeout=timeout_seconds,
            MemorySize=memory_mb,
            Environment={"Variables": {**_resource_variables(names), **environment}},
        )
        emulator.client("lambda").put_function_concurrency(
            FunctionName=names.function, ReservedConcurrentExecutions=reserved_concurrency
        )
        _make_topics(emulator, names, function_arn)
        _make_alarms(emulator, names, alarm_period_seconds)
    except BaseException:
        with contextlib.suppress(Exception):
            _remove(emulator, names)
        raise
    return Stack(
        emulator=emulator,
        names=names,
        topic_arn=names.topic_arn(names.topic),
        alarm_topic_arn=names.topic_arn(names.alarm_topic),
        queue_url=queue_url,
        queue_arn=names.queue_arn(names.queue),
        deadletter_url=deadletter_url,
        deadletter_arn=names.queue_arn(names.deadletter),
        function_arn=function_arn,
    )


def _resource_variables(names: Names) -> dict[str, str]:
    return {
        "ION_SMTP_SECRET_ID": names.secret,
        "ION_QUEUE_INPUT": names.queue,
        "ION_QUEUE_DEADLETTER": names.deadletter,
        "ION_LEDGER_TABLE": names.table,
        "ION_ALARM_NAME": names.alarm,
    }


def make_table(emulator: Emulator, names: Names) -> None:
    """Make the ledger's table alone."""
    dynamodb = emulator.client("dynamodb")
    dynamodb.create_table(
        TableName=names.table,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[
            {"AttributeName": "id", "AttributeType": "S"},
            {"AttributeName": "status", "AttributeType": "S"},
            {"AttributeName": "updated", "AttributeType": "N"},
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "status-updated",
                "KeySchema": [
                    {"AttributeName": "status", "KeyType": "HASH"},
                    {"AttributeName": "updated", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
    )
    dynamodb.update_time_to_live(
        TableName=names.table, TimeToLiveSpecification={"Enabled": True, "AttributeName": "expires"}
    )


def _make_queues(emulator: Emulator, names: Names) -> tuple[str, str]:
    sqs = emulator.client("sqs")
    allow = {"redrivePermission": "byQueue", "sourceQueueArns": [names.queue_arn(names.queue)]}
    deadletter_url = sqs.create_queue(
        QueueName=names.deadletter,
        Attributes={
            "MessageRetentionPeriod": str(DEADLETTER_RETENTION_SECONDS),
            "MaximumMessageSize": str(MAX_MESSAGE_BYTES),
            "SqsManagedSseEnabled": "true",
            "RedriveAllowPolicy": json.dumps(allow),
            "Policy": _queue_policy(names, names.deadletter),
        },
    )["QueueUrl"]
    redrive = {"deadLetterTargetArn": names.queue_arn(names.deadletter), "maxReceiveCount": MAX_RECEIVE_COUNT}
    queue_url = sqs.create_queue(
        QueueName=names.queue,
        Attributes={
            "VisibilityTimeout": str(VISIBILITY_TIMEOUT_SECONDS),
            "MessageRetentionPeriod": str(INPUT_RETENTION_SECONDS),
            "MaximumMessageSize": str(MAX_MESSAGE_BYTES),
            "SqsManagedSseEnabled": "true",
            "RedrivePolicy": json.dumps(redrive),
            "Policy": _queue_policy(names, names.queue),
        },
    )["QueueUrl"]
    return queue_url, deadletter_url


def _queue_policy(names: Names, queue: str) -> str:
    """Only the topic may send (to the dead-letter queue: what the subscription could not deliver), and only by TLS."""
    arn = names.queue_arn(queue)
    topic = {
        "Sid": "InputTopic",
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": names.topic_arn(names.topic)}},
    }
    tls = {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "sqs:*",
        "Resource": arn,
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [topic, tls]})


def _make_function(emulator: Emulator, names: Names, **settings: Any) -> str:
    lambda_may = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    trust = {"Version": "2012-10-17", "Statement": [lambda_may]}
    # LocalStack enforces no policies, so the role has none; terraform/ holds the least that ion needs.
    role = emulator.client("iam").create_role(RoleName=names.function, AssumeRolePolicyDocument=json.dumps(trust))
    logs = emulator.client("logs")
    logs.create_log_group(logGroupName=names.log_group)
    logs.put_retention_policy(logGroupName=names.log_group, retentionInDays=LOG_RETENTION_DAYS)
    functions = emulator.client("lambda")
    arn = functions.create_function(FunctionName=names.function, Runtime=RUNTIME, Role=role["Role"]["Arn"], **settings)[
        "FunctionArn"
    ]
    deadline = time.monotonic() + ACTIVE_TIMEOUT_SECONDS
    while (state := functions.get_function_configuration(FunctionName=names.function))["State"] != "Active":
        if state["State"] == "Failed" or time.monotonic() > deadline:
            reason = state.get("StateReason", f"not within {ACTIVE_TIMEOUT_SECONDS} s")
            raise StackError(f"The function {names.function} did not become active: {reason}")
        time.sleep(POLL_SECONDS)
    functions.put_function_event_invoke_config(
        FunctionName=names.function,
        MaximumRetryAttempts=MAXIMUM_RETRY_ATTEMPTS,
        MaximumEventAgeInSeconds=MAXIMUM_EVENT_AGE_SECONDS,
    )
    return str(arn)


def _make_topics(emulator: Emulator, names: Names, function_arn: str) -> None:
    sns = emulator.client("sns")
    for topic in (names.topic, names.alarm_topic):
        arn = sns.create_topic(Name=topic)["TopicArn"]
        emulator.client("lambda").add_permission(
            FunctionName=names.function,
            StatementId=topic,
            Action="lambda:InvokeFunction",
            Principal="sns.amazonaws.com",
            SourceArn=arn,
        )
        if topic == names.topic:  # before the function's, whose wake-up should find the message
            sns.subscribe(
                TopicArn=arn,
                Protocol="sqs",
                Endpoint=names.queue_arn(names.queue),
                Attributes={
                    "RawMessageDelivery": "true",
                    "RedrivePolicy": json.dumps({"deadLetterTargetArn": names.queue_arn(names.deadletter)}),
                },
            )
        sns.subscribe(TopicArn=arn, Protocol="lambda", Endpoint=function_arn)


def _make_alarms(emulator: Emulator, names: Names, period_seconds: int) -> None:
    """The one that wakes the function, and the one that wakes people, of whom there are none here."""
    wake_up = f"Wakes the function {names.function} while a message is visible in {names.queue}."
    dead = f"Mail lies in {names.deadletter}; each message's attributes say why."
    for name, description, queue, actions in (
        (names.alarm, wake_up, names.queue, [names.topic_arn(names.alarm_topic)]),
        (names.deadletter_alarm, dead, names.deadletter, []),
    ):
        emulator.client("cloudwatch").put_metric_alarm(
            AlarmName=name,
            AlarmDescription=description,
            Namespace="AWS/SQS",
            MetricName="ApproximateNumberOfMessagesVisible",
            Dimensions=[{"Name": "QueueName", "Value": queue}],
            Statistic="Maximum",
            Period=period_seconds,
            EvaluationPeriods=1,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            Threshold=1,
            TreatMissingData="notBreaching",
            AlarmActions=actions,
        )


def _remove(emulator: Emulator, names: Names) -> None:
    sns, sqs, secrets = emulator.client("sns"), emulator.client("sqs"), emulator.client("secretsmanager")
    cloudwatch, functions = emulator.client("cloudwatch"), emulator.client("lambda")

    def remove_topic(arn: str) -> None:
        for page in sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=arn):
            for subscription in page["Subscriptions"]:
                sns.unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])
        sns.delete_topic(TopicArn=arn)

    def remove_queue(name: str) -> None:
        sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName=name)["QueueUrl"])

    steps: list[Callable[[], Any]] = [
        partial(
            cloudwatch.delete_alarms, AlarmNames=[names.alarm, names.deadletter_alarm]
        ),  # first what wakes the function
        partial(remove_topic, names.topic_arn(names.alarm_topic)),
        partial(remove_topic, names.topic_arn(names.topic)),
        partial(functions.delete_function, FunctionName=names.function),
        partial(remove_queue, names.queue),
        partial(remove_queue, names.deadletter),
        partial(emulator.client("iam").delete_role, RoleName=names.function),
        partial(emulator.client("logs").delete_log_group, logGroupName=names.log_group),
        partial(emulator.client("dynamodb").delete_table, TableName=names.table),
        partial(secrets.delete_secret, SecretId=names.secret, ForceDeleteWithoutRecovery=True),
    ]
    for step in steps:
        try:
            step()
        except ClientError as error:
            if error.response["Error"]["Code"] not in ABSENT:
                raise
