"""Run the whole of it until Ctrl-C: publish mail to it and see it arrive. Nothing leaves this machine."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from harness import rig, runs, whereabouts
from harness.errors import HarnessError, RunError
from harness.history import History
from harness.inbox.chaos import Chaos
from harness.inbox.live import Live
from harness.inbox.server import Inbox, serving
from harness.localstack.process import ACCESS_KEY, REGION, SECRET_KEY
from harness.queues import depth
from harness.whereabouts import Whereabouts

if TYPE_CHECKING:
    import argparse

    from harness.history import Event
    from harness.rig import Rig
    from harness.runs import Run

POLL_SECONDS = 1.0
EXAMPLE = {"action": "send", "recipient": "ann@example.com", "subject": "Hello", "body_text": "Hello, Ann!"}


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("--port", type=int, metavar="PORT", help="of the inbox's page (default: 8025, else a free one)")


def run(args: argparse.Namespace) -> int:
    """Stand until Ctrl-C."""
    _refuse_a_second()
    saved = runs.create("up")
    print("starting ...", flush=True)
    with History(saved.history) as history:
        with contextlib.suppress(KeyboardInterrupt), rig.standing(saved, history, rig.SETTINGS) as made:
            history.subscribe(_show)
            where = Whereabouts.of(made.stack, saved)
            inbox = Inbox(saved, live=Live(where), chaos=Chaos(made.sink))
            with serving(inbox, port=args.port) as address:
                whereabouts.write(replace(where, inbox=address))
                try:
                    print(_welcome(made, saved, address), flush=True)
                    _stay(made, history)
                finally:
                    whereabouts.FILE.unlink(missing_ok=True)
        history.record("run.finished", reason="interrupted")
    print(f"\nstopped; the mail is in {saved.mail}")
    return 0


def _refuse_a_second() -> None:
    try:
        other = whereabouts.read()
    except RunError:
        return
    raise HarnessError(f"it runs already, as process {other.pid}; end that one with Ctrl-C or: kill {other.pid}")


def _welcome(made: Rig, saved: Run, address: str) -> str:
    endpoint, topic, message = made.stack.emulator.endpoint_url, made.stack.topic_arn, json.dumps(EXAMPLE)
    # The commands begin at the margin: the last one holds Python, which would not bear to be pasted indented.
    return f"""
ion runs here, artifact SHA-256 {made.artifact.sha256}
The mail is at {address}/ and in {saved.mail}
Logs are in  {saved.logs}

Publish a mail in any of these ways:

make send TO=ann@example.com SUBJECT=Hello TEXT='Hello, Ann!'

AWS_ACCESS_KEY_ID={ACCESS_KEY} AWS_SECRET_ACCESS_KEY={SECRET_KEY} AWS_DEFAULT_REGION={REGION} \\
aws --endpoint-url {endpoint} sns publish --topic-arn {topic} \\
    --message {shlex.quote(message)}

{shlex.quote(sys.executable)} - <<'END'
import boto3
sns = boto3.client("sns", endpoint_url="{endpoint}", region_name="{REGION}",
                   aws_access_key_id="{ACCESS_KEY}", aws_secret_access_key="{SECRET_KEY}")
print(sns.publish(TopicArn="{topic}", Message={message!r})["MessageId"])
END

Ctrl-C ends it. Each mail appears below when it arrives.
"""


def _stay(made: Rig, history: History) -> None:
    """Until Ctrl-C; says when the dead-letter queue changes."""
    last = depth(made.stack)
    while True:
        time.sleep(POLL_SECONDS)
        now = depth(made.stack)
        if now != last:
            history.record("depth", **now)
        if now["dead"] != last["dead"]:
            print(f"{_clock()}  the dead-letter queue holds {now['dead']}", flush=True)
        last = now


def _show(event: Event) -> None:
    if event["event"] != "smtp.transaction":
        return
    to = ", ".join(event["recipients"] or [each["recipient"] for each in event["refused"]])
    if event["result"] == "accepted":
        print(f"{_clock()}  delivered to {to}: {event['subject']!r}, {event['size']} bytes", flush=True)
    else:
        reply = event["reply"] or " ".join(each["reply"] for each in event["refused"])
        print(f"{_clock()}  {event['result']} for {to} at {event['stage']}: {reply}", flush=True)


def _clock() -> str:
    return time.strftime("%H:%M:%S")
