"""Send one mail through what is deployed, and wait until the ledger says what became of it."""

from __future__ import annotations

import json
import os
import secrets
import time
from typing import TYPE_CHECKING, Any

import boto3

from harness import terraform
from harness.errors import TerraformError, UsageError
from harness.terraform import Terraform

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

TIMEOUT_SECONDS = 300
POLL_SECONDS = 1
ENDS = {"delivered": 0, "failed": 1, "expired": 1}
UNKNOWN = 2
REPLY = ("code", "enhanced", "text")  # as the ledger keeps it


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("--to", required=True, metavar="ADDRESS", help="who gets the mail")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_SECONDS, metavar="SECONDS", help="how long to wait")


def run(args: argparse.Namespace) -> int:
    """Send and wait; 0 delivered, 1 failed, 2 not yet decided."""
    if not args.to:
        raise UsageError("smoke needs an address to send to: make smoke TO=you@example.com")
    root = Terraform(directory=terraform.ROOT, environ=terraform.plain_environment(os.environ))
    outputs = root.outputs()
    if not outputs:
        raise TerraformError("nothing is deployed, as far as the state in terraform/ knows; `make deploy` does that")
    return smoke(outputs, args.to, timeout_seconds=args.timeout)


def smoke(outputs: Mapping[str, Any], recipient: str, *, timeout_seconds: float) -> int:
    """Publish a mail to the topic of Terraform's outputs, and watch its item in the ledger.

    Args:
        outputs: Terraform's.
        recipient: Who gets the mail.
        timeout_seconds: How long to wait for its end.

    Returns:
        0 delivered, 1 failed, 2 not yet decided.
    """
    session = boto3.Session(region_name=outputs["region"])
    dynamodb = session.client("dynamodb")
    id_ = f"smoke-{secrets.token_hex(8)}"
    document = {
        "action": "send",
        "id": id_,
        "recipient": recipient,
        "subject": "ion works",
        "body_text": f"This mail went through SNS, SQS, Lambda and your SMTP server. Its id is {id_}.",
    }
    session.client("sns").publish(TopicArn=outputs["topic_arn"], Message=json.dumps(document))
    began = time.monotonic()
    print(f"published to {outputs['topic_arn']} as {id_}", flush=True)
    status = ""
    while time.monotonic() - began < timeout_seconds:
        item = dynamodb.get_item(TableName=outputs["table_name"], Key={"id": {"S": id_}}, ConsistentRead=True).get(
            "Item"
        )
        if item and item["status"]["S"] != status:
            status = item["status"]["S"]
            print(f"{time.monotonic() - began:6.1f} s  {status}: {_why(item)}", flush=True)
        if status in ENDS:
            return ENDS[status]
        time.sleep(POLL_SECONDS)
    print(
        f"{f'still {status}' if status else 'not taken up'} after {timeout_seconds:g} s; ion's log may say why:\n"
        f"  aws logs tail --region {outputs['region']} --since 10m {outputs['log_group_name']}"
    )
    return UNKNOWN


def _why(item: Mapping[str, Any]) -> str:
    """The server's replies from the ledger, else why the mail failed."""
    outcomes = [outcome["M"] for outcome in item.get("recipients", {}).get("M", {}).values()]
    replies = [" ".join(next(iter(one[key].values())) for key in REPLY if key in one) for one in outcomes]
    return "; ".join(replies) or item.get("detail", {}).get("S", "") or "..."
