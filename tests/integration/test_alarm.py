"""What wakes the function for mail that is left over: the alarm, which acts on a transition to ALARM only."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from harness import artifact
from harness.faults import Misbehaviour, Stage, Visit
from harness.history import History, read
from harness.sink import Sink
from tests.support.world import mail

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.localstack.process import Emulator
    from harness.stack import Stack
    from tests.conftest import MakeStack, WaitUntil

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

# As it used to be: connect, drain, and set the alarm to OK at the end of it.
OLD_WAY = """
import os, socket
import boto3

def handler(event, context):
    print("the old way begins", flush=True)
    sqs, cloudwatch = boto3.client("sqs"), boto3.client("cloudwatch")
    url = sqs.get_queue_url(QueueName=os.environ["ION_QUEUE_INPUT"])["QueueUrl"]
    try:
        socket.create_connection((os.environ["ION_SMTP_SERVER"], int(os.environ["ION_SMTP_PORT"])), timeout=5).close()
    except OSError:
        print("the old way fails", flush=True)
        raise
    for message in sqs.receive_message(QueueUrl=url).get("Messages", []):
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    cloudwatch.set_alarm_state(AlarmName=os.environ["ION_ALARM_NAME"], StateValue="OK", StateReason="drained")
"""


class Hang:
    """A server that accepts connections and says nothing."""

    def __init__(self) -> None:
        self.visited = threading.Event()

    async def at(self, visit: Visit) -> Misbehaviour | None:
        if visit.stage is Stage.GREETING:
            self.visited.set()
            await asyncio.sleep(3600)
        return None


def state(stack: Stack) -> str:
    alarms = stack.emulator.client("cloudwatch").describe_alarms(AlarmNames=[stack.names.alarm])
    found: str = alarms["MetricAlarms"][0]["StateValue"]
    return found


def visible(stack: Stack) -> int:
    name = "ApproximateNumberOfMessages"
    sqs = stack.emulator.client("sqs")
    return int(sqs.get_queue_attributes(QueueUrl=stack.queue_url, AttributeNames=[name])["Attributes"][name])


def test_a_crash_strands_no_queue(
    emulator: Emulator,
    make_stack: MakeStack,
    function_zip: Callable[..., bytes],
    tmp_path: Path,
    wait_until: WaitUntil,
) -> None:
    """A crash while the server is down leaves the old way's queue stranded for good; ion's is drained by the alarm.

    Lambda's own retries, which end within minutes in AWS, are turned off: what is shown is what happens after them.
    """

    def once(stack: Stack) -> None:
        emulator.client("lambda").put_function_event_invoke_config(
            FunctionName=stack.names.function, MaximumRetryAttempts=0
        )

    def publish(stack: Stack) -> None:
        emulator.client("sns").publish(TopicArn=stack.topic_arn, Message=mail("ann"))

    def logged(words: str) -> int:
        assert emulator.function_log is not None
        return emulator.function_log.read_text().count(words)

    with ExitStack() as things:
        histories = [things.enter_context(History(tmp_path / f"{name}.jsonl")) for name in ("old", "new")]
        old_sink, new_sink = (things.enter_context(Sink(history=history, mail=None)) for history in histories)

        def environment(sink: Sink) -> dict[str, str]:
            return {"ION_SMTP_SERVER": "127.0.0.1", "ION_SMTP_PORT": str(sink.port)}

        old_sink.close()
        new_sink.faults = hang = Hang()
        old = make_stack(function_zip(old=OLD_WAY), handler="old.handler", environment=environment(old_sink))
        login: dict[str, Any] = {"username": new_sink.username, "password": new_sink.password}
        brisk = {
            "ION_SMTP_CA": new_sink.ca_pem,
            "ION_SMTP_CONNECT_TIMEOUT_SECONDS": "4",
            "ION_SMTP_TRANSACTION_TIMEOUT_SECONDS": "1",
            "ION_DRAIN_DEADLINE_MARGIN_SECONDS": "1",
            "ION_QUEUE_VISIBILITY_TIMEOUT_SECONDS": "7",
        }
        new = make_stack(artifact.build().path, environment={**environment(new_sink), **brisk}, secret=login)
        for stack in (old, new):
            once(stack)
            publish(stack)

        # ion is killed in the middle of its work, with the message in its hands: first where the publish has woken it,
        # then where the alarm has. The old way fails by itself.
        for _ in range(2):
            assert hang.visited.wait(120)
            hang.visited.clear()
            for pid in new.function_pids():
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: state(old) == "ALARM" and logged("the old way fails") == 2, seconds=120)

        old_sink.open()
        new_sink.faults = None
        transactions = tmp_path / "new.jsonl"
        wait_until(lambda: any(e["event"] == "smtp.transaction" for e in read(transactions)), seconds=120)
        assert visible(old) == 1
        assert state(old) == "ALARM"
        assert logged("the old way begins") == 2

        publish(old)  # only somebody who publishes sets it going again
        wait_until(lambda: visible(old) == 0, seconds=120)
