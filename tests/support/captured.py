"""A run as a scenario leaves it, made by hand: mail, history and the function's log."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any

from harness import maildir, runs
from harness.inbox.live import Letter
from ion import message, request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c626001000000ffff"
    "03000006000557bfabd40000000049454e44ae426082"
)
SENDER = "ion@example.com"


class Captured:
    """One run's directory, growing."""

    def __init__(self, root: Path, scenario: str = "up") -> None:
        self.run = runs.create(scenario, root=root / "runs")
        maildir.create(self.run.mail)
        self.run.history.touch()
        self._count = 0

    def record(self, event: str, **fields: Any) -> None:
        """An event of the history."""
        with self.run.history.open("a") as file:
            file.write(json.dumps({"t": time.time(), "event": event, **fields}) + "\n")

    def log(self, stage: str, **fields: Any) -> None:
        """A line of the function's log."""
        line = {"level": "INFO", "timestamp": datetime.now(UTC).isoformat(), "stage": stage, **fields}
        with self.run.function_log.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def keep(
        self, raw: bytes, *, sender: str = SENDER, to: tuple[str, ...] = ("ann@example.com",), **fields: Any
    ) -> str:
        """A mail that the sink took, byte for byte; returns its key in the Maildir."""
        key = maildir.add(self.run.mail, raw)
        self._count += 1
        self.record(
            "smtp.transaction",
            **{
                "session": 1,
                "transaction": f"1.{self._count}",
                "result": "accepted",
                "stage": "kept",
                "sender": sender,
                "recipients": list(to),
                "refused": [],
                "reply": "250 2.0.0 kept",
                "replied": True,
                "user": "login",
                "key": key,
                "size": len(raw),
                **fields,
            },
        )
        return key

    def mail(self, subject: str = "Hello", *, to: tuple[str, ...] = ("ann@example.com",), **headers: str) -> str:
        """A plain mail with such a subject; returns its key."""
        made = EmailMessage()
        made["From"], made["To"], made["Subject"] = "Ion <ion@example.com>", ", ".join(to), subject
        body = headers.pop("body", f"The text of {subject}.")
        for name, value in headers.items():
            made[name.replace("_", "-")] = value
        made.set_content(body)
        return self.keep(bytes(made), to=to)

    def html(
        self, html: str, *, subject: str = "HTML", files: tuple[tuple[str, bytes, str], ...] = (), drawn: bytes = b""
    ) -> str:
        """A mail with an HTML body as it is, an inline image `cid:logo`, and files: name, content, type."""
        made = EmailMessage()
        made["From"], made["To"], made["Subject"] = "ion@example.com", "ann@example.com", subject
        made.set_content("Only text.")
        made.add_alternative(html, subtype="html")
        part = made.get_payload()[1]  # type: ignore[index]
        part.add_related(PNG, "image", "png", cid="<logo>", filename="logo.png", disposition="inline")  # type: ignore[union-attr, arg-type]
        if drawn:
            part.add_related(drawn, "image", "svg+xml", cid="<drawn>", disposition="inline")  # type: ignore[union-attr, arg-type]
        for name, content, kind in files:
            made.add_attachment(content, *kind.split("/"), filename=name)
        return self.keep(bytes(made))

    def published(self, document: dict[str, Any], *, workload: str = "w-1", ion_id: str = "id-1") -> str:
        """A mail that went all the way: published, sent by ion, settled; returns its key."""
        body = json.dumps({"action": "send", **document, "headers": {"X-Workload-Id": workload}})
        self.record("publish.attempted", workload=workload, attempt=1, body=body)
        self.record("publish.acknowledged", workload=workload, attempt=1, message_id="sns-1")
        parsed = request.parse(body)
        assert isinstance(parsed, request.SendRequest)
        made = message.build(parsed, mail_id=ion_id, default_sender=SENDER, date=time.time())
        self.log("deferred", id=ion_id, attempt=1, reply="451 4.7.1 later", retry_in_seconds=2)
        message_id = next(line for line in made.message.decode().splitlines() if line.startswith("Message-ID"))[12:]
        key = self.keep(made.message, sender=made.sender, to=made.recipients, workload=workload, message_id=message_id)
        self.log("delivered", id=ion_id, attempt=2, reply="250 2.0.0 kept")
        return key


class Running:
    """Stands for what runs: keeps what is published to it, and delivers it unless told otherwise."""

    def __init__(self, captured: Captured) -> None:
        self.published: list[Mapping[str, Any]] = []
        self.redriven: list[list[str]] = []
        self.deliver = True
        self.dead = [
            Letter.of(
                json.dumps({"action": "send", "recipient": "ann@example.com", "subject": "Lost"}),
                {"ion-id": "id-9", "failure-reason": "rejected", "failure-detail": "550 5.1.1 nobody here"},
            )
        ]
        self._captured = captured

    def publish(self, document: Mapping[str, Any]) -> str:
        """Take a document."""
        self.published.append(document)
        if self.deliver:
            fields = {name: document[name] for name in ("recipient", "subject", "body_text", "id") if name in document}
            threading.Timer(0.2, self._captured.published, [fields], {"ion_id": document["id"]}).start()
        return "sns-1"

    def redrive(self, ids: Sequence[str] = ()) -> None:
        """Take a request to redrive."""
        self.redriven.append(list(ids))

    def letters(self) -> list[Letter]:
        """The dead letters."""
        return self.dead

    def entry(self, ion_id: str) -> dict[str, Any]:
        """The ledger's record."""
        return {"id": ion_id, "status": "delivered"}
