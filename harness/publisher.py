"""Publishes mails as a careful application does: in batches, reading each entry's result, repeating what failed.

Every attempt goes into the history with what came of it: acknowledged (SNS took it), failed (SNS did not) or unknown
(no answer came; SNS may have it or not). So the checker knows what ion owes, and what it may deliver besides.
"""

from __future__ import annotations

import itertools
import queue
import random
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from harness.history import History
    from harness.workload import Mail

# https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html; messages and attributes together.
BATCH_MESSAGES = 10
BATCH_BYTES = 262_144
THREADS = 4
ATTEMPTS = 8
BACKOFF_SECONDS = 0.2
BACKOFF_CAP_SECONDS = 5.0
SERVER_FAULT = 500  # from this HTTP status on, the service does not say whether it did what was asked


def client(endpoint_url: str, *, region: str = "us-east-1") -> Any:
    """An SNS client that makes each call once: a repeat hidden in botocore would be missing from the history."""
    return boto3.client(
        "sns",
        endpoint_url=endpoint_url,
        region_name=region,
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - LocalStack's
        config=Config(retries={"total_max_attempts": 1}, max_pool_connections=THREADS, proxies={}, read_timeout=30),
    )


@dataclass(slots=True)
class _Entry:
    """A mail on its way."""

    mail: Mail
    attempt: int = 0


class Publisher:
    """Publishes to one topic, from several threads.

    Attributes:
        stop: Set it, and publishing ends after the batches that are under way.
    """

    def __init__(
        self, sns: Any, topic_arn: str, history: History, *, threads: int = THREADS, attempts: int = ATTEMPTS
    ) -> None:
        self.stop = threading.Event()
        self._sns = sns
        self._topic_arn = topic_arn
        self._history = history
        self._threads = threads
        self._attempts = attempts
        self._failure: BaseException | None = None

    def publish(self, mails: Iterable[Mail], *, rate: float | None = None) -> None:
        """Publish all, and return when each is acknowledged or given up.

        Args:
            mails: What to publish; drawn from as there is room.
            rate: So many a second, evenly; None for as fast as it goes.
        """
        batches: queue.Queue[list[_Entry] | None] = queue.Queue(maxsize=2 * self._threads)
        workers = [
            threading.Thread(target=self._work, args=(batches,), name=f"publisher {number}", daemon=True)
            for number in range(self._threads)
        ]
        for worker in workers:
            worker.start()
        try:
            for batch in self._paced(_batches(_Entry(mail) for mail in mails), rate):
                batches.put(batch)
        except BaseException:
            self.stop.set()
            raise
        finally:
            for _ in workers:
                batches.put(None)
            for worker in workers:
                worker.join()
        if self._failure is not None:
            raise self._failure

    def _paced(self, batches: Iterator[list[_Entry]], rate: float | None) -> Iterator[list[_Entry]]:
        began, count = time.monotonic(), 0
        for batch in batches:
            wait = began + count / rate - time.monotonic() if rate else 0.0
            if self.stop.wait(max(0.0, wait)) or self._failure is not None:
                return
            yield batch
            count += len(batch)

    def _work(self, batches: queue.Queue[list[_Entry] | None]) -> None:
        while (batch := batches.get()) is not None:
            try:
                if self._failure is None:
                    self._publish(batch)
            except BaseException as error:  # a history that cannot be written, say: the caller's thread raises it
                self._failure = error

    def _publish(self, entries: list[_Entry]) -> None:
        """One batch, until each of its mails is acknowledged or given up."""
        for tries in itertools.count(1):
            entries = self._attempt(entries)
            if not entries or tries >= self._attempts:
                return
            pause = min(BACKOFF_CAP_SECONDS, BACKOFF_SECONDS * 2 ** (tries - 1)) * random.uniform(0.5, 1)  # noqa: S311
            if self.stop.wait(pause):
                return

    def _attempt(self, entries: list[_Entry]) -> list[_Entry]:
        """One call; returns what is to be tried again."""
        for entry in entries:
            entry.attempt += 1
            # The document goes along once: the history alone must suffice to check a run.
            document = {"body": entry.mail.body} if entry.attempt == 1 else {}
            self._record("attempted", entry, **document)
        request = [{"Id": str(number), "Message": entry.mail.body} for number, entry in enumerate(entries)]
        try:
            answer = self._sns.publish_batch(TopicArn=self._topic_arn, PublishBatchRequestEntries=request)
        except (BotoCoreError, ClientError) as error:
            outcome = "unknown" if _may_have_arrived(error) else "failed"
            for entry in entries:
                self._record(outcome, entry, error=str(error))
            return entries if _may_pass(error) else []
        for result in answer.get("Successful", ()):
            self._record("acknowledged", entries[int(result["Id"])], message_id=result["MessageId"])
        again = []
        for result in answer.get("Failed", ()):
            entry = entries[int(result["Id"])]
            self._record("failed", entry, error=f"{result.get('Code')}: {result.get('Message', '')}")
            if not result.get("SenderFault"):  # then it would be refused again
                again.append(entry)
        return again

    def _record(self, outcome: str, entry: _Entry, **fields: Any) -> None:
        self._history.record(f"publish.{outcome}", workload=entry.mail.workload, attempt=entry.attempt, **fields)


def _batches(entries: Iterable[_Entry]) -> Iterator[list[_Entry]]:
    """As many in a batch as SNS takes."""
    batch: list[_Entry] = []
    size = 0
    for entry in entries:
        more = len(entry.mail.body.encode())
        if batch and (len(batch) == BATCH_MESSAGES or size + more > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += more
    if batch:
        yield batch


def _status(error: ClientError) -> int:
    status: int = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", SERVER_FAULT)
    return status


def _may_have_arrived(error: BotoCoreError | ClientError) -> bool:
    """Whether SNS may have taken the batch although it did not say so."""
    if isinstance(error, ClientError):
        return _status(error) >= SERVER_FAULT
    return isinstance(error, HTTPClientError)


def _may_pass(error: BotoCoreError | ClientError) -> bool:
    """Whether the same batch may be taken another time: it was not the batch that was at fault."""
    return not isinstance(error, ClientError) or _status(error) >= SERVER_FAULT or "Throttl" in str(error)
