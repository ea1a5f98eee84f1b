"""What a stack is made of, as LocalStack describes it: to compare Terraform's with the harness's own."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ion.settings import Settings

if TYPE_CHECKING:
    from harness.localstack.process import Emulator


def queue(emulator: Emulator, url: str) -> dict[str, Any]:
    attributes = emulator.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return {name: value for name, value in attributes.items() if not re.search("Approximate|Timestamp", name)}


def subscriptions(emulator: Emulator, topic_arn: str) -> list[dict[str, Any]]:
    sns = emulator.client("sns")
    found = [
        sns.get_subscription_attributes(SubscriptionArn=one["SubscriptionArn"])["Attributes"]
        for one in sns.list_subscriptions_by_topic(TopicArn=topic_arn)["Subscriptions"]
    ]
    kept = ("Protocol", "Endpoint", "RawMessageDelivery", "RedrivePolicy", "FilterPolicy")
    return sorted(({k: one[k] for k in kept if k in one} for one in found), key=lambda one: str(one["Protocol"]))


def alarm(emulator: Emulator, name: str) -> dict[str, Any]:
    [found] = emulator.client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"]
    return {key: value for key, value in found.items() if not re.search("State|Timestamp", key)}


def without_people(alarm: dict[str, Any]) -> dict[str, Any]:
    """The harness has nobody to wake, and no five minutes to wait."""
    return {key: value for key, value in alarm.items() if key not in {"AlarmActions", "OKActions", "Period"}}


def function(emulator: Emulator, name: str) -> dict[str, Any]:
    client = emulator.client("lambda")
    configuration = client.get_function_configuration(FunctionName=name)
    event = client.get_function_event_invoke_config(FunctionName=name)
    policy = json.loads(client.get_policy(FunctionName=name)["Policy"])
    return {
        **{
            k: configuration[k]
            for k in ("Handler", "Runtime", "Timeout", "MemorySize", "CodeSha256", "Layers")
            if k in configuration
        },
        "concurrency": client.get_function_concurrency(FunctionName=name)["ReservedConcurrentExecutions"],
        "retries": event["MaximumRetryAttempts"],
        "age": event["MaximumEventAgeInSeconds"],
        "callers": sorted((one["Principal"]["Service"], str(one["Condition"])) for one in policy["Statement"]),
    }


def table(emulator: Emulator, name: str) -> dict[str, Any]:
    client = emulator.client("dynamodb")
    described = client.describe_table(TableName=name)["Table"]
    index_keys = ("IndexName", "KeySchema", "Projection")
    return {
        "keys": described["KeySchema"],
        "attributes": sorted(described["AttributeDefinitions"], key=lambda one: one["AttributeName"]),
        "billing": described["BillingModeSummary"]["BillingMode"],
        "indexes": [{key: index[key] for key in index_keys} for index in described["GlobalSecondaryIndexes"]],
        "expiry": client.describe_time_to_live(TableName=name)["TimeToLiveDescription"],
    }


def log_group(emulator: Emulator, name: str) -> dict[str, Any]:
    [found] = emulator.client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    return {"name": found["logGroupName"], "days": found["retentionInDays"]}


def settings(emulator: Emulator, name: str) -> dict[str, Any]:
    """What ion makes of the function's environment and secret."""
    variables = emulator.client("lambda").get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    secrets = emulator.client("secretsmanager")
    found = asdict(
        Settings.load(variables, read_secret=lambda id_: secrets.get_secret_value(SecretId=id_)["SecretString"])
    )
    found["smtp"]["secret_id"] = secrets.describe_secret(SecretId=found["smtp"]["secret_id"])["Name"]
    return found


def plain(value: Any, prefix: str) -> Any:
    """A value without the stack's prefix in it, and with the JSON documents in it parsed."""
    if isinstance(value, dict):
        return {key: plain(one, prefix) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one, prefix) for one in value]
    if not isinstance(value, str):
        return value
    try:
        parsed = json.loads(value)
    except ValueError:
        return value.replace(prefix, "")
    return plain(parsed, prefix) if isinstance(parsed, dict) else value
