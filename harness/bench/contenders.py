"""What ion is measured against, each in a process of its own: `python -m harness.bench.contenders NAME`.

The place to work at comes as JSON on standard input, what was done goes out as JSON on standard output. Times count
from the first connection to the last mail done, so that the wait that finds the queue empty is nobody's.
"""

from __future__ import annotations

import asyncio
import json
import smtplib
import ssl
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from email.policy import SMTP
from typing import TYPE_CHECKING, Any

import aiosmtplib
import boto3

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BATCH = 10
SQS_THREADS = 4  # more do not make LocalStack any faster on two cores

Place = dict[str, Any]
Done = dict[str, Any]


def baseline(place: Place) -> Done:
    """What one would write first: one connection, one mail after the other, each deleted by itself, no ledger."""
    sqs, calls = _sqs()
    url = sqs.get_queue_url(QueueName=place["queue"])["QueueUrl"]
    mails = 0
    began = ended = time.monotonic()
    with smtplib.SMTP(place["host"], place["port"]) as smtp:
        smtp.starttls(context=ssl.create_default_context(cadata=place["ca"]))
        smtp.login(place["username"], place["password"])
        while messages := _receive(sqs, url):
            for message in messages:
                smtp.send_message(compose(json.loads(message["Body"]), sender=place["username"]))
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                ended = time.monotonic()
                mails += 1
    return {"mails": mails, "seconds": ended - began, "aws_calls": calls}


def smtp(place: Place) -> Done:
    """A ceiling: the same mails over so many connections, with nothing received and nothing recorded."""
    message = compose(place["document"], sender=place["username"]).as_bytes(policy=SMTP)
    recipient = place["document"]["recipient"]
    left = iter(range(place["mails"]))

    async def connection() -> int:
        context = ssl.create_default_context(cadata=place["ca"])
        client = aiosmtplib.SMTP(
            hostname=place["host"],
            port=place["port"],
            local_hostname="localhost",
            tls_context=context,
            start_tls=True,
            username=place["username"],
            password=place["password"],
        )
        sent = 0
        async with client:
            for _ in left:
                await client.sendmail(place["username"], [recipient], message)
                sent += 1
        return sent

    async def all_of_them() -> int:
        return sum(await asyncio.gather(*(connection() for _ in range(place["connections"]))))

    began = time.monotonic()
    mails = asyncio.run(all_of_them())
    return {"mails": mails, "seconds": time.monotonic() - began, "aws_calls": {}}


def sqs(place: Place) -> Done:
    """A ceiling: every message received and deleted, in batches, from several threads, with nothing done with it."""
    client, calls = _sqs()
    url = client.get_queue_url(QueueName=place["queue"])["QueueUrl"]
    began = time.monotonic()

    def work(_: int) -> tuple[int, float]:
        mails, ended = 0, began
        while messages := _receive(client, url):
            entries = [{"Id": str(n), "ReceiptHandle": m["ReceiptHandle"]} for n, m in enumerate(messages)]
            client.delete_message_batch(QueueUrl=url, Entries=entries)
            ended = time.monotonic()
            mails += len(messages)
        return mails, ended

    with ThreadPoolExecutor(SQS_THREADS) as threads:
        results = list(threads.map(work, range(SQS_THREADS)))
    seconds = max(ended for _, ended in results) - began
    return {"mails": sum(mails for mails, _ in results), "seconds": seconds, "aws_calls": calls}


def compose(document: Mapping[str, Any], *, sender: str) -> EmailMessage:
    """The mail that a document describes."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = sender, document["recipient"], document["subject"]
    mail.set_content(document["body_text"])
    return mail


def _sqs() -> tuple[Any, Counter[str]]:
    """A client, and the count of its calls by name."""
    calls: Counter[str] = Counter()
    client = boto3.client("sqs")
    client.meta.events.register(
        "before-send", lambda event_name, **_: calls.update([event_name.removeprefix("before-send.")])
    )
    return client, calls


def _receive(client: Any, url: str) -> list[dict[str, Any]]:
    answer = client.receive_message(QueueUrl=url, MaxNumberOfMessages=BATCH, WaitTimeSeconds=1)
    messages: list[dict[str, Any]] = answer.get("Messages", [])
    return messages


CONTENDERS: dict[str, Callable[[Place], Done]] = {"baseline": baseline, "smtp": smtp, "sqs": sqs}

if __name__ == "__main__":
    print(json.dumps(CONTENDERS[sys.argv[1]](json.load(sys.stdin))))
