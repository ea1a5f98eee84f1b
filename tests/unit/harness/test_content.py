"""The comparison of what arrived with what was published, held to what ion makes of documents of every kind."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given

from harness import content
from ion.message import build
from ion.request import SendRequest, parse
from tests.unit.ion.documents import sends

SENDER = "ion@example.com"


@given(sends())
@example(
    {
        "action": "send",
        "recipient": "ann@example.com",
        "subject": "",
        "body_text": "",
        "attachments": [{"filename": "<a>", "content_base64": ""}],
    }
)
def test_what_ion_makes_of_a_document_is_no_different(document: dict[str, Any]) -> None:
    """Whatever a document says, the mail made of it is found to say the same, and to leak no bcc."""
    request = parse(json.dumps(document))
    assert isinstance(request, SendRequest)
    message = build(request, mail_id="7", default_sender=SENDER, date=0.0).message
    assert content.differences(document, message, default_sender=SENDER) == []
    assert content.leaks(document, message) == []
