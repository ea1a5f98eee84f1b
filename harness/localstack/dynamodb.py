"""LocalStack's DynamoDB on moto, since the stock one downloads a jar when it runs."""

from __future__ import annotations

from localstack.aws.api.dynamodb import DynamodbApi
from localstack.services.moto import MotoFallbackDispatcher
from localstack.services.plugins import Service, aws_provider


class MotoDynamoDb(DynamodbApi):  # type: ignore[misc]  # LocalStack is untyped
    """All of it is moto's."""


@aws_provider(api="dynamodb", name="moto")  # type: ignore[untyped-decorator]
def moto_dynamodb() -> Service:
    """The service, under `PROVIDER_OVERRIDE_DYNAMODB=moto`."""
    return Service.for_provider(MotoDynamoDb(), dispatch_table_factory=MotoFallbackDispatcher)
