"""The Lambda entry point: wire the parts, drain, return a summary.

What woke the function does not matter: an SNS publish, the alarm, a person. The event is not read.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Protocol

import boto3
from botocore.config import Config

from ion import __version__
from ion.alarm import CloudWatchAlarm, set_to_ok
from ion.drain import Drain
from ion.dynamo import DynamoLedger
from ion.errors import AlarmUnavailable
from ion.parts import Parts
from ion.queue import SqsQueue
from ion.settings import Settings, alarm_name, read_secret
from ion.smtp import courier_factory
from ion.telemetry import Telemetry

# boto3 calls run in threads; more of them than these never wait at once.
AWS_THREADS = 16
AWS = Config(
    connect_timeout=3,
    read_timeout=10,  # a receive waits a second at most
    retries={"mode": "standard", "total_max_attempts": 4},
    max_pool_connections=AWS_THREADS,
    parameter_validation=False,  # AWS validates too; doing it twice costs a drain six percent of its time
)


class LambdaContext(Protocol):
    """What ion uses of the context that Lambda hands to a handler."""

    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the function is stopped."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Unix time in seconds."""
        return time.time()


async def serve(parts: Parts, *, deadline: float) -> dict[str, object]:
    """Serve one wake-up, until `deadline` (Unix time) at the latest; returns the drain's summary.

    The alarm is set to OK first, so that a crash later on cannot leave the queue behind an alarm that stays in ALARM
    and never acts again; and once more at the end, for what came or stayed meanwhile.

    Raises:
        AlarmUnavailable: That last time failed. Lambda tries a failed wake-up again, and so does it.
        As `Drain.run` does.
    """
    await parts.alarm.reset()
    try:
        summary = await Drain(parts, deadline=deadline).run()
    finally:
        is_set = await parts.alarm.reset()
        parts.telemetry.flush()
    if not is_set:
        raise AlarmUnavailable(
            f"alarm {parts.settings.alarm.name} could not be set to OK; while it stays in ALARM, it does not "
            f"wake the function again. The drain itself went well: {summary}"
        )
    return summary


def run(event: object, context: LambdaContext) -> dict[str, object]:  # noqa: ARG001 - Lambda's signature
    """Drain the queue; returns what was done.

    Raises:
        IonError, botocore's errors: What stopped the drain; Lambda counts it as the function's error and retries.
    """
    try:
        parts = _parts()
    except Exception:
        _reset_alarm()
        raise
    parts.telemetry.bind(request_id=context.aws_request_id)
    deadline = parts.clock.now() + context.get_remaining_time_in_millis() / 1000
    summary = _runner().run(serve(parts, deadline=deadline))
    if summary["ended"] == "unavailable":
        _parts.cache_clear()  # the login in the secret may have been changed: read it anew at the next wake-up
    return summary


@cache
def _runner() -> asyncio.Runner:
    """One event loop for the life of the process: connections and clients that outlive a call stay usable."""
    runner = asyncio.Runner()
    runner.get_loop().set_default_executor(ThreadPoolExecutor(AWS_THREADS, thread_name_prefix="aws"))
    return runner


def _reset_alarm() -> None:
    """Set the alarm to OK with nothing else in working order, so that it wakes the function again when that is mended.

    An alarm that stays in ALARM does not act, and Lambda tries a failed wake-up again only twice.
    """
    name = alarm_name(os.environ)
    with contextlib.suppress(Exception):  # what is in the way of the settings may be in the way of this too
        if name:
            set_to_ok(boto3.client("cloudwatch", config=AWS), name)


@cache
def _parts() -> Parts:
    session = boto3.Session()
    settings = Settings.load(
        os.environ, read_secret=lambda name: read_secret(session.client("secretsmanager", config=AWS), name)
    )
    settings.smtp.default_sender  # noqa: B018 - a mail may name no sender: better to hear of it now
    telemetry = Telemetry(settings.telemetry, version=__version__, secrets=[settings.smtp.password])
    sqs = session.client("sqs", config=AWS)
    dynamodb = session.client("dynamodb", config=AWS)
    cloudwatch = session.client("cloudwatch", config=AWS)
    for client in (sqs, dynamodb, cloudwatch):
        telemetry.watch(client)
    clock = SystemClock()
    return Parts(
        queue=SqsQueue(sqs, name=settings.queue.input),
        letters=SqsQueue(sqs, name=settings.queue.deadletter),
        ledger=DynamoLedger(dynamodb, table=settings.ledger.table, ttl_days=settings.ledger.ttl_days, clock=clock),
        couriers=courier_factory(settings.smtp),
        alarm=CloudWatchAlarm(cloudwatch, name=settings.alarm.name, telemetry=telemetry),
        clock=clock,
        settings=settings,
        telemetry=telemetry,
    )
