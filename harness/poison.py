"""What nobody should publish, and somebody will: bodies that ion must refuse without harm to the mail beside them."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

from harness.workload import WORKLOAD_HEADER, Mail

if TYPE_CHECKING:
    from collections.abc import Iterator

POISON = "-poison-"
"""In the name of each."""

_GOOD: dict[str, Any] = {"action": "send", "recipient": "ann@example.com", "subject": "hello", "body_text": "hello"}


def _bad(**fields: Any) -> str:
    return json.dumps(_GOOD | fields)


_BODIES = (
    "this is not JSON",
    "{",
    "null",
    '"a string"',
    "[" * 2_000,
    '{"action": "send", "action": "redrive"}',
    json.dumps({}),
    json.dumps({"action": "send"}),
    json.dumps({"action": "fly to the moon"}),
    json.dumps({"action": ["send"]}),
    _bad(recipient="nobody"),
    _bad(recipient=[]),
    _bad(recipient=[f"p{n}@example.com" for n in range(51)]),
    _bad(recipient="ann@example.com\r\nRCPT TO:<eve@example.com>"),
    _bad(subject="hello\r\nBcc: eve@example.com"),
    _bad(headers={"X-Injected": "yes\r\n\r\n<script>"}),
    _bad(headers={"Bcc": "eve@example.com"}),
    _bad(sender="<>"),
    _bad(attachments=[{"filename": "../../etc/passwd", "content_base64": "AAAA"}]),
    _bad(attachments=[{"filename": "a.bin", "content_base64": "not base64!"}]),
    _bad(expires_at="tomorrow"),
    _bad(expires_at="2020-01-01T00:00:00Z"),
    _bad(surprise=True),
    _bad(body_text=None),
    _bad(id="ion:breaker"),
    _bad(body_text="x" * 200_000, colour="too much of nothing"),
)


def poison(count: int, *, run: str) -> Iterator[Mail]:
    """So many bodies, each unlike all others by the name of its workload where that does not change its nature."""
    for number, body in itertools.islice(enumerate(itertools.cycle(_BODIES)), count):
        workload = f"{run}{POISON}{number:04d}"
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            yield Mail(workload=workload, body=f"{body} {workload}")
            continue
        if isinstance(document, dict) and len(document) > 1:
            document["headers"] = {WORKLOAD_HEADER: workload, **document.get("headers", {})}
            yield Mail(workload=workload, body=json.dumps(document))
        else:
            yield Mail(workload=workload, body=body + " " * (number + 1))
