"""The drain on LocalStack's SQS and DynamoDB and a real SMTP server."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import EndpointConnectionError

from harness.faults import Misbehaviour, Stage, Visit
from ion.errors import LedgerUnavailable
from tests.support.aws import Services, services
from tests.support.world import mail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.localstack.process import Emulator

pytestmark = pytest.mark.integration


@pytest.fixture
def real(emulator: Emulator, tmp_path: Path) -> Iterator[Services]:
    # No time-out is shorter than by default: on a machine that is busy with other things, mails would be sent twice.
    with services(emulator, tmp_path, retry_base_seconds="1") as made:
        yield made


def test_full_batches_are_cheap(real: Services) -> None:
    """With full batches a mail costs at most 0.6 AWS calls, the wake-up's own included; a connection serves many."""
    real.publish(*(mail(f"r{n}") for n in range(200)))
    happened: Counter[str] = Counter()
    real.sink.history.subscribe(lambda event: happened.update([event["event"]]))

    def together(*, request: AWSPreparedRequest, **_: Any) -> None:
        # How much is done by the time that the ledger answers is the machine's affair: here it is always a full batch.
        enough = min(200, happened["smtp.transaction"] + 16)
        while b"attribute_not_exists" not in request.body and happened["smtp.transaction"] < enough:
            time.sleep(0.01)

    real.dynamodb.meta.events.register_first("before-send.dynamodb.TransactWriteItems", together)
    summary = real.drain()
    assert summary["delivered"] == len(real.arrivals()) == 200
    assert real.depth() == (0, 0)
    calls = real.telemetry.aws_calls
    assert sum(calls.values()) / 200 <= 0.6, calls
    assert len({event["session"] for event in real.transactions()}) <= 8


def test_every_fate_of_a_mail(real: Services) -> None:
    """Delivered, deferred and delivered, rejected, unreadable: each ends as it should, and the queues are empty."""

    class Faults:
        busy = True

        async def at(self, visit: Visit) -> Misbehaviour | None:
            if visit.stage is Stage.RCPT and visit.recipient.startswith("gone"):
                return Misbehaviour(reply="550 5.1.1 no such user")
            if visit.stage is Stage.RCPT and visit.recipient.startswith("busy") and self.busy:
                self.busy = False
                return Misbehaviour(reply="450 4.2.1 busy")
            return None

    real.sink.faults = Faults()
    real.publish(mail("ann", "gone", id="mixed"), mail("busy", id="busy"), mail("gone", id="gone"), "no mail")
    real.drain_until(lambda: real.depth() == (0, 0))
    assert Counter(real.arrivals()) == {("ann gone", "ann@example.com"): 1, ("busy", "busy@example.com"): 1}
    letters = {}
    while found := real.sqs.receive_message(
        QueueUrl=real.letters_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
    ).get("Messages"):
        for message in found:
            attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
            letters[message["Body"]] = (attributes["failure-reason"], attributes.get("failed-recipients", ""))
    assert letters == {
        mail("ann", "gone", id="mixed"): ("rejected", "gone@example.com"),
        mail("gone", id="gone"): ("rejected", "gone@example.com"),
        "no mail": ("malformed", ""),
    }
    assert real.item("busy")["status"] == {"S": "delivered"}
    assert [line["M"]["result"]["S"] for line in real.item("busy")["log"]["L"]] == ["deferred", "delivered"]
    assert real.item("mixed")["reason"] == {"S": "rejected"}


def test_redrive(real: Services) -> None:
    """What failed and has been mended is delivered by a redrive, to those who have not got it; the rest stays."""

    class Faults:
        async def at(self, visit: Visit) -> Misbehaviour | None:
            if visit.stage is Stage.RCPT and visit.recipient.startswith("gone"):
                return Misbehaviour(reply="550 5.1.1 no such user")
            return None

    real.sink.faults = Faults()
    real.publish(*(mail(f"ann-{n}", f"gone-{n}", id=f"m{n}") for n in range(12)), "no mail")
    real.drain_until(lambda: real.depth() == (0, 0))
    assert real.depth(real.letters_url) == (13, 0)
    real.sink.faults = None
    time.sleep(0.01)  # the request is later than the failures, whose time is kept to the millisecond
    real.publish(json.dumps({"action": "redrive", "id": "x"}), json.dumps({"action": "redrive"}))
    real.drain_until(lambda: real.depth() == (0, 0) and len(real.arrivals()) == 24)
    assert set(Counter(real.arrivals()).values()) == {1}
    assert sum(real.depth(real.letters_url)) == 2  # "no mail", and the request with a field that there is not


# DynamoDB away.


def down(**_: Any) -> None:
    raise EndpointConnectionError(endpoint_url="http://dynamodb")


def throttle(**_: Any) -> AWSResponse:
    body = json.dumps({"__type": "ProvisionedThroughputExceededException", "message": "slow down"}).encode()

    class Raw:
        def stream(self, **_: Any) -> Iterator[bytes]:
            yield body

    headers = {"Content-Type": "application/x-amz-json-1.0", "Content-Length": str(len(body))}
    return AWSResponse("http://dynamodb", 400, headers, Raw())


def once(trouble: Callable[..., Any]) -> Callable[..., Any]:
    left = [trouble]
    return lambda **arguments: left.pop()(**arguments) if left else None


@pytest.mark.parametrize("trouble", [down, throttle])
def test_nothing_is_sent_without_a_claim(real: Services, trouble: Callable[..., Any]) -> None:
    """While DynamoDB is down or throttles for good, nothing is sent, the function fails, and messages rest a minute."""
    real.publish(mail("ann"))
    real.dynamodb.meta.events.register_first("before-send.dynamodb.TransactWriteItems", trouble)
    with pytest.raises(LedgerUnavailable):
        real.drain()
    assert real.transactions() == []
    assert real.depth() == (0, 1)


@pytest.mark.parametrize("trouble", [down, throttle])
def test_one_failed_call_is_repeated(real: Services, trouble: Callable[..., Any]) -> None:
    """One call that fails is nothing: botocore makes it again, and all goes on."""
    real.publish(mail("ann"))
    real.dynamodb.meta.events.register_first("before-send.dynamodb.TransactWriteItems", once(trouble))
    assert real.drain()["delivered"] == 1
    assert len(real.arrivals()) == 1


def test_sent_and_not_recorded(real: Services, emulator: Emulator) -> None:
    """What was sent while DynamoDB went away is tried until the deadline, counted as ambiguous, and sent once more."""
    real.publish(mail("ann", id="m"))

    def away(**_: Any) -> None:
        real.clock.ahead += 30  # a try is as good as half a minute
        down()

    class Faults:
        async def at(self, visit: Visit) -> Misbehaviour | None:
            if visit.stage is Stage.DOT:
                real.dynamodb.meta.events.register_first("before-send.dynamodb", away)
            return None

    real.sink.faults = Faults()
    deadline = real.clock.now() + 200
    with pytest.raises(LedgerUnavailable):
        real.drain(seconds=200)
    assert real.clock.now() > deadline - real.parts.settings.drain.deadline_margin_seconds
    assert real.telemetry.counts["Ambiguous"] == 1
    assert len(real.arrivals()) == 1
    real.sink.faults = None
    real.dynamodb.meta.events.unregister("before-send.dynamodb", away)
    assert real.item("m")["status"] == {"S": "sending"}
    assert real.depth() == (0, 1)
    emulator.redeliver(real.queue_url.rpartition("/")[2])  # the lease is over by ion's clock, and SQS has its own
    real.drain_until(lambda: real.depth() == (0, 0))
    assert len(real.arrivals()) == 2
    assert len({event["sha256"] for event in real.transactions()}) == 1
    assert [line["M"]["result"]["S"] for line in real.item("m")["log"]["L"]] == ["abandoned", "delivered"]


def test_recorded_when_it_comes_back(real: Services) -> None:
    """Where DynamoDB is back before the deadline, what was sent is recorded, and not sent again."""
    real.publish(mail("ann", id="m"))
    failures = 0  # that are still to come, from the final dot on

    class Faults:
        async def at(self, visit: Visit) -> Misbehaviour | None:
            nonlocal failures
            if visit.stage is Stage.DOT:
                failures = 5
            return None

    def away(**_: Any) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            down()

    real.sink.faults = Faults()
    real.dynamodb.meta.events.register_first("before-send.dynamodb.TransactWriteItems", away)
    with pytest.raises(LedgerUnavailable):
        real.drain()
    assert failures == 0
    assert real.item("m")["status"] == {"S": "delivered"}
    assert real.depth() == (0, 0)
    assert len(real.arrivals()) == 1
