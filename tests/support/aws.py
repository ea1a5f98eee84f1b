"""ion's parts on the real services of LocalStack and a real SMTP sink, in this process: no function around them."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from harness.history import History, read
from harness.sink import Sink
from harness.stack import Names, make_table
from ion.alarm import CloudWatchAlarm
from ion.drain import Drain
from ion.dynamo import DynamoLedger
from ion.handler import SystemClock
from ion.parts import Parts
from ion.queue import SqsQueue
from ion.smtp import courier_factory
from tests.support.world import Notes, mail, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.localstack.process import Emulator

_numbers = itertools.count(1)


class Clock(SystemClock):
    """The machine's clock, to be put forward where a test would have to wait.

    Attributes:
        ahead: By so many seconds.
    """

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        """Unix time in seconds."""
        return super().now() + self.ahead


class Recorded(Notes):
    """Telemetry in memory that counts AWS calls as the real one does."""

    def __init__(self) -> None:
        super().__init__()
        self.aws_calls: dict[str, int] = {}

    def watch(self, client: Any) -> None:
        """Count the calls of a client from now on, once per HTTP request."""

        def called(*, event_name: str, **_: object) -> None:
            name = event_name.removeprefix("before-send.")
            self.aws_calls[name] = self.aws_calls.get(name, 0) + 1

        client.meta.events.register("before-send", called)


@dataclass(frozen=True, kw_only=True)
class Services:
    """Queues, a table and a sink for one test.

    Attributes:
        parts: ion's parts, wired to them.
        clock: What ion takes for the time.
        dynamodb: The ledger's own client, to be tampered with.
        sqs: LocalStack's SQS.
        queue_url: The input queue's URL.
        letters_url: The dead-letter queue's URL.
        table: The ledger's table.
        sink: The SMTP server.
        telemetry: What ion said.
    """

    parts: Parts
    clock: Clock
    dynamodb: Any
    sqs: Any
    queue_url: str
    letters_url: str
    table: str
    sink: Sink
    telemetry: Recorded

    def publish(self, *bodies: str) -> None:
        """Put bodies into the input queue."""
        for start in range(0, len(bodies), 10):
            entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies[start : start + 10])]
            assert not self.sqs.send_message_batch(QueueUrl=self.queue_url, Entries=entries).get("Failed")

    def drain(self, *, seconds: float = 300.0) -> dict[str, object]:
        """Wake up once; returns the drain's summary."""
        return asyncio.run(Drain(self.parts, deadline=self.clock.now() + seconds).run())

    def drain_until(self, condition: Callable[[], object], *, seconds: float = 120.0) -> None:
        """Wake up again and again until the condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not within {seconds} s"
            self.drain()
            time.sleep(0.1)

    def depth(self, url: str = "") -> tuple[int, int]:
        """How many messages are visible, and how many hidden."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=url or self.queue_url, AttributeNames=names)["Attributes"]
        return int(found[names[0]]), int(found[names[1]])

    def transactions(self) -> list[dict[str, Any]]:
        """The SMTP transactions so far, in order."""
        return [event for event in read(self.sink.history.path) if event["event"] == "smtp.transaction"]

    def arrivals(self) -> list[tuple[str, str]]:
        """Who got which subject, in order."""
        accepted = [event for event in self.transactions() if event["result"] == "accepted"]
        return [(event["subject"], recipient) for event in accepted for recipient in event["recipients"]]

    def item(self, id_: str) -> dict[str, Any]:
        """A mail's item, as DynamoDB has it."""
        found: dict[str, Any] = self.dynamodb.get_item(TableName=self.table, Key={"id": {"S": id_}})["Item"]
        return found


@contextmanager
def services(emulator: Emulator, directory: Path, **changes: str) -> Iterator[Services]:
    """Make them; settings as for `tests.support.world.settings`."""
    names = Names(prefix=f"s{next(_numbers)}-")
    sqs = emulator.client("sqs")
    letters_url = sqs.create_queue(QueueName=names.deadletter)["QueueUrl"]
    policy = {"deadLetterTargetArn": names.queue_arn(names.deadletter), "maxReceiveCount": 50}
    queue_url = sqs.create_queue(QueueName=names.queue, Attributes={"RedrivePolicy": json.dumps(policy)})["QueueUrl"]
    make_table(emulator, names)
    with History(directory / "history.jsonl") as history, Sink(history=history, mail=None, tls="none") as sink:
        chosen = settings(
            smtp_server="127.0.0.1",
            smtp_port=str(sink.port),
            smtp_tls="none",
            smtp_username=sink.username,
            smtp_password=sink.password,
            **changes,
        )
        telemetry = Recorded()
        session = boto3.Session(
            aws_access_key_id="test",
            aws_secret_access_key="test",
            region_name="us-east-1",
        )
        config = Config(retries={"mode": "standard", "total_max_attempts": 2}, max_pool_connections=16, proxies={})
        own = [
            session.client(service, endpoint_url=emulator.endpoint_url, config=config)  # type: ignore[call-overload]
            for service in ("sqs", "dynamodb", "cloudwatch")
        ]
        for client in own:
            telemetry.watch(client)
        clock = Clock()
        parts = Parts(
            queue=SqsQueue(own[0], name=names.queue),
            letters=SqsQueue(own[0], name=names.deadletter),
            ledger=DynamoLedger(own[1], table=names.table, ttl_days=30, clock=clock),
            couriers=courier_factory(chosen.smtp),
            alarm=CloudWatchAlarm(own[2], name="", telemetry=telemetry),
            clock=clock,
            settings=chosen,
            telemetry=telemetry,
        )
        yield Services(
            parts=parts,
            clock=clock,
            dynamodb=own[1],
            sqs=sqs,
            queue_url=queue_url,
            letters_url=letters_url,
            table=names.table,
            sink=sink,
            telemetry=telemetry,
        )
    sqs.delete_queue(QueueUrl=queue_url)
    sqs.delete_queue(QueueUrl=letters_url)
    emulator.client("dynamodb").delete_table(TableName=names.table)


__all__ = ["Services", "mail", "services"]
