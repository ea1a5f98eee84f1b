"""Which AWS calls ion makes, on what; and which a policy allows, on what: both as pairs of action and resource name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3

if TYPE_CHECKING:
    from collections.abc import Mapping

Right = tuple[str, str]


class RecordingSession(boto3.Session):
    """A boto3 session whose clients' calls, each with what it is made on, end up in `rights`."""

    rights: set[Right]

    def client(self, service_name: str, *args: Any, **settings: Any) -> Any:  # type: ignore[override]
        made = super().client(service_name, *args, **settings)  # type: ignore[call-overload]
        made.meta.events.register("provide-client-params", self._note)
        return made

    def _note(self, params: Mapping[str, Any], model: Any, **_: Any) -> None:
        self.rights.update(needed(model.service_model.service_name, model.name, params))


def needed(service: str, operation: str, params: Mapping[str, Any]) -> set[Right]:
    """What a role must be allowed for one call.

    A batch needs the right of its single action, a transaction those of its items:
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html
    """
    match service:
        case "dynamodb" if operation == "TransactWriteItems":
            items = [pair for item in params["TransactItems"] for pair in item.items()]
            kinds = {
                "Put": "PutItem",
                "Update": "UpdateItem",
                "Delete": "DeleteItem",
                "ConditionCheck": "ConditionCheckItem",
            }
            return {(f"dynamodb:{kinds[kind]}", one["TableName"]) for kind, one in items}
        case "dynamodb":
            resource = params["TableName"]
        case "sqs":
            resource = params.get("QueueName") or params["QueueUrl"].rpartition("/")[2]
        case "cloudwatch":
            resource = params["AlarmName"]
        case "secretsmanager":
            resource = params["SecretId"]
        case _:
            resource = f"{params}"  # unheard of: no policy can match it
    return {(f"{service}:{operation.removesuffix('Batch')}", resource)}


def allowed(policy: Mapping[str, Any]) -> set[Right]:
    """What an IAM policy allows."""
    rights = set()
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        rights |= {(action, _name(statement["Resource"])) for action in actions}
    return rights


def _name(arn: str) -> str:
    """The resource's name; a secret's without the six characters that Secrets Manager adds."""
    *_, service, _region, _account, resource = arn.split(":", 5)
    if service == "secretsmanager":
        resource = resource.rpartition("-")[0]
    return resource.removeprefix("table/").removeprefix("alarm:").removeprefix("secret:")
