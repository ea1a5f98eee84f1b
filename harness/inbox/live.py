"""What `up` runs at this moment, for the inbox: publish to it, look into its dead letters and its ledger, redrive."""

from __future__ import annotations

import json
import threading
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
from boto3.dynamodb.types import TypeDeserializer
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from harness.errors import LocalStackError
from harness.localstack.process import ACCESS_KEY, SECRET_KEY
from harness.queues import plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.whereabouts import Whereabouts

TIMEOUT_SECONDS = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Letter:
    """A dead letter.

    Attributes:
        id: The id that ion has for the mail; empty where it did not write the letter.
        reason: The failure's reason, as a short code.
        detail: In words.
        failed_at: When, as ISO 8601.
        attributes: All its message attributes.
        body: What was published.
        document: The body as an object; empty where it is none.
    """

    id: str
    reason: str
    detail: str
    failed_at: str
    attributes: Mapping[str, str]
    body: str
    document: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, body: str, attributes: Mapping[str, str]) -> Letter:
        """From the message."""
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            document = None
        return cls(
            id=attributes.get("ion-id", ""),
            reason=attributes.get("failure-reason", "") or "receive count exceeded",
            detail=attributes.get("failure-detail", ""),
            failed_at=attributes.get("failed-at", ""),
            attributes=attributes,
            body=body,
            document=document if isinstance(document, dict) else {},
        )


class Live:
    """A connection to what runs; any thread may use it.

    Every method raises `LocalStackError` where no answer can be had.
    """

    def __init__(self, where: Whereabouts) -> None:
        self._where = where
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}

    def publish(self, document: Mapping[str, Any]) -> str:
        """Publish a document; returns SNS's MessageId."""
        answer = self._call("sns", "publish", TopicArn=self._where.topic_arn, Message=json.dumps(document))
        return str(answer["MessageId"])

    def redrive(self, ids: Sequence[str] = ()) -> None:
        """Ask ion to move these dead letters back to its queue; without ids, all that are valid mails."""
        self.publish({"action": "redrive", **({"ids": list(ids)} if ids else {})})

    def letters(self) -> list[Letter]:
        """What the dead-letter queue holds, the latest first; LocalStack tells it without a receive."""
        query = urllib.parse.urlencode({"QueueUrl": self._where.deadletter_url})
        request = urllib.request.Request(  # noqa: S310 - the address is LocalStack's
            f"{self._where.endpoint_url}/_aws/sqs/messages?{query}", headers={"Accept": "application/json"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=TIMEOUT_SECONDS) as response:
                found = json.load(response)["ReceiveMessageResponse"]["ReceiveMessageResult"] or {}
        except (OSError, ValueError, KeyError) as error:
            raise LocalStackError(f"LocalStack does not show the dead-letter queue: {error}") from error
        letters = [
            Letter.of(each["Body"], dict(map(_attribute, _listed(each, "MessageAttribute"))))
            for each in _listed(found, "Message")
        ]
        return sorted(letters, key=lambda letter: letter.failed_at, reverse=True)

    def entry(self, ion_id: str) -> dict[str, Any] | None:
        """The ledger's record of a mail; None where there is none."""
        answer = self._call("dynamodb", "get_item", TableName=self._where.table, Key={"id": {"S": ion_id}})
        deserialize = TypeDeserializer().deserialize
        return {name: plain(deserialize(value)) for name, value in answer.get("Item", {}).items()} or None

    def _call(self, service: str, operation: str, **arguments: Any) -> Any:
        with self._lock:  # making a client is not thread-safe, using one is
            if service not in self._clients:
                self._clients[service] = boto3.client(
                    service,  # type: ignore[call-overload]  # the stubs want a literal
                    endpoint_url=self._where.endpoint_url,
                    region_name=self._where.region,
                    aws_access_key_id=ACCESS_KEY,
                    aws_secret_access_key=SECRET_KEY,
                    config=Config(connect_timeout=TIMEOUT_SECONDS, read_timeout=TIMEOUT_SECONDS, proxies={}),
                )
            client = self._clients[service]
        try:
            return getattr(client, operation)(**arguments)
        except (BotoCoreError, ClientError) as error:
            raise LocalStackError(f"{service} did not do it: {error}") from error


def _listed(found: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """What LocalStack's rendering has as a list, or as the one thing in it."""
    value = found.get(name) or []
    return value if isinstance(value, list) else [value]


def _attribute(found: Mapping[str, Any]) -> tuple[str, str]:
    return found["Name"], found["Value"].get("StringValue", "")
