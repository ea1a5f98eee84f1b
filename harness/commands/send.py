"""Publish a mail to what `up` runs."""

from __future__ import annotations

import base64
import json
import mimetypes
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import publisher, whereabouts
from harness.errors import UsageError
from ion.errors import RequestError
from ion.request import parse

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments."""
    parser.add_argument("--to", action="append", required=True, metavar="ADDRESS", help="a recipient; may be repeated")
    parser.add_argument("--subject", required=True)
    parser.add_argument("--text", default="", help="the body as text")
    parser.add_argument("--html", default="", help="the body as HTML")
    parser.add_argument("--attach", action="append", default=[], type=Path, metavar="FILE", help="may be repeated")


def run(args: argparse.Namespace) -> int:
    """Publish it."""
    body = json.dumps(_document(args))
    try:
        parse(body)  # a mistake is better told here than by a dead letter
    except RequestError as error:
        raise UsageError(str(error)) from error
    where = whereabouts.read()
    client = publisher.client(where.endpoint_url, region=where.region)
    print(f"published as {client.publish(TopicArn=where.topic_arn, Message=body)['MessageId']}")
    return 0


def _document(args: argparse.Namespace) -> dict[str, Any]:
    bodies = {"body_text": args.text, "body_html": args.html}
    document = {"action": "send", "recipient": args.to, "subject": args.subject}
    document |= {name: value for name, value in bodies.items() if value}
    if args.attach:
        document["attachments"] = [_attachment(path) for path in args.attach]
    return document


def _attachment(path: Path) -> dict[str, str]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"--attach {path}: {error.strerror}") from error
    return {
        "filename": path.name,
        "content_type": mimetypes.guess_type(path)[0] or "application/octet-stream",
        "content_base64": base64.b64encode(content).decode(),
    }
