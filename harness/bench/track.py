"""Where the bench is run: a LocalStack, a distant SMTP server, the artifact unzipped; and how one cell is run there."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from harness.bench.measurement import Measurement
from harness.errors import BenchError
from harness.localstack.process import ACCESS_KEY, INHERITED, REGION, SECRET_KEY
from harness.stack import VISIBILITY_TIMEOUT_SECONDS, Names, make_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.bench.measurement import Cell
    from harness.localstack.process import Emulator

BATCH = 10
TEXT = "All that is told here is told so that a mail has a body of some length, as mails have.\n" * 12
DOCUMENT = {"action": "send", "recipient": "ann@example.com", "subject": "A mail of 1 KB", "body_text": TEXT}
CELL_TIMEOUT_SECONDS = 3_600
SCRIPT = Path(__file__).with_name("drain_once.py")


class Server:
    """The SMTP server's process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def at(self, round_trip_ms: float) -> dict[str, Any]:
        """Move it so far away; returns where it is and what it has counted since the last time."""
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101, PT018 - pipes
        self._process.stdin.write(f"{round_trip_ms / 1000}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"the SMTP server ended with exit status {self._process.wait()}; its errors stand above")
        found: dict[str, Any] = json.loads(line)
        return found


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """The SMTP server; it ends with its standard input, hence also when this process is killed."""
    command = [sys.executable, "-m", "harness.bench.server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own
        try:
            yield Server(process)
        finally:
            assert process.stdin is not None  # noqa: S101 - a pipe
            process.stdin.close()


@dataclass(frozen=True, kw_only=True)
class Track:
    """All that stands during a bench.

    Attributes:
        emulator: LocalStack.
        server: The SMTP server.
        artifact: The directory with the unzipped artifact.
        logs: A directory for what ion logs.
    """

    emulator: Emulator
    server: Server
    artifact: Path
    logs: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def run(self, cell: Cell, mails: int) -> Measurement:
        """Measure one cell, with a queue, a ledger and a process of its own.

        Raises:
            BenchError: It failed, or did not send every mail once.
        """
        names = Names(prefix=f"bench{next(self._numbers)}-")
        place = {**self.server.at(cell.round_trip_ms), "connections": cell.connections, "mails": mails}
        if cell.name != "smtp":
            self._fill(names, mails)
        try:
            if cell.name == "ion":
                done = self._drain(cell, names, place)
            else:
                place |= {"queue": names.queue, "document": DOCUMENT}
                command = [sys.executable, "-m", "harness.bench.contenders", cell.name]
                done = json.loads(_run(command, self._environment(), said=json.dumps(place)))
            counts = self.server.at(0)["counts"]
        finally:
            self._remove(names)
        arrived = counts.get("mails", 0) if cell.connections else mails
        if not done["mails"] == arrived == mails:
            raise BenchError(f"{cell}: of {mails} mails {done['mails']} were sent and {arrived} arrived: {done}")
        return Measurement(
            cell=cell,
            mails=mails,
            seconds=done["seconds"],
            aws_calls=done["aws_calls"],
            connections=counts.get("connections", 0),
            replies=counts.get("replies", 0),
            peak_memory_mb=done.get("peak_memory_mb", 0.0),
            init_seconds=done.get("init_seconds", 0.0),
        )

    def _fill(self, names: Names, mails: int) -> None:
        """A queue with so many mails in it. They do not come by way of SNS, which would take longer than the bench."""
        sqs = self.emulator.client("sqs")
        attributes = {"VisibilityTimeout": str(VISIBILITY_TIMEOUT_SECONDS)}
        url = sqs.create_queue(QueueName=names.queue, Attributes=attributes)["QueueUrl"]
        body = json.dumps(DOCUMENT)
        for first in range(0, mails, BATCH):
            entries = [{"Id": str(n), "MessageBody": body} for n in range(min(BATCH, mails - first))]
            if sqs.send_message_batch(QueueUrl=url, Entries=entries).get("Failed"):
                raise BenchError(f"SQS did not take all mails into {names.queue}")

    def _remove(self, names: Names) -> None:
        """What a cell made; the cells differ in what there is of it."""
        sqs, client = self.emulator.client("sqs"), self.emulator.client
        with contextlib.suppress(ClientError):
            for queue in (names.queue, names.deadletter):
                sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName=queue)["QueueUrl"])
            client("cloudwatch").delete_alarms(AlarmNames=[names.alarm])
            client("dynamodb").delete_table(TableName=names.table)

    def _drain(self, cell: Cell, names: Names, place: Mapping[str, Any]) -> dict[str, Any]:
        """One drain by the artifact's own code."""
        self.emulator.client("sqs").create_queue(QueueName=names.deadletter)
        make_table(self.emulator, names)
        self.emulator.client("cloudwatch").put_metric_alarm(
            AlarmName=names.alarm,
            Namespace="AWS/SQS",
            MetricName="ApproximateNumberOfMessagesVisible",
            Dimensions=[{"Name": "QueueName", "Value": names.queue}],
            Statistic="Maximum",
            Period=60,
            EvaluationPeriods=1,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            Threshold=1,
        )
        environment = {
            **self._environment(),
            "PYTHONPATH": str(self.artifact),
            "ION_QUEUE_INPUT": names.queue,
            "ION_QUEUE_DEADLETTER": names.deadletter,
            "ION_LEDGER_TABLE": names.table,
            "ION_ALARM_NAME": names.alarm,
            "ION_SMTP_SERVER": place["host"],
            "ION_SMTP_PORT": str(place["port"]),
            "ION_SMTP_CA": place["ca"],
            "ION_SMTP_USERNAME": place["username"],
            "ION_SMTP_PASSWORD": place["password"],
            "ION_SMTP_MAX_CONNECTIONS": str(cell.connections),
        }
        result = self.logs / f"{names.prefix}ion.json"
        # -P: a script's own directory is not searched for modules, so there is no way from it to the checkout.
        output = _run([sys.executable, "-P", str(SCRIPT), str(self.artifact), str(result)], environment)
        result.with_suffix(".log").write_text(output)
        done: dict[str, Any] = json.loads(result.read_text())
        return done

    def _environment(self) -> dict[str, str]:
        return {
            **{name: os.environ[name] for name in INHERITED if name in os.environ},
            "AWS_ENDPOINT_URL": self.emulator.endpoint_url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
        }


def unzip(artifact: Path, directory: Path) -> Path:
    """The artifact's content, as Lambda lays it out."""
    with zipfile.ZipFile(artifact) as archive:
        archive.extractall(directory)
    return directory.resolve()


def _run(command: list[str], environment: Mapping[str, str], *, said: str = "") -> str:
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and code
            command,
            env=dict(environment),
            input=said,
            capture_output=True,
            text=True,
            timeout=CELL_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{' '.join(command)} did not end within {CELL_TIMEOUT_SECONDS} s") from error
    if done.returncode:
        raise BenchError(f"{' '.join(command)} ended with exit status {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout
