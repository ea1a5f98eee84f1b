"""What a history says, read once into what the checker and the results speak of."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from harness import content

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.history import Event

ALL = frozenset({"*"})
"""In place of recipients: all of them."""


@dataclass(kw_only=True, slots=True)
class Publication:
    """One mail of the workload, and how its publishing went.

    Attributes:
        workload: Its X-Workload-Id.
        body: What was published.
        began: When it was first tried.
        attempted: How often it was tried.
        acknowledged: How often SNS took it.
        failed: How often SNS said that it did not.
        document: The body as an object; None where it is none.
        recipients: The mailboxes that it is to reach; none where the document is not one to send.
    """

    workload: str
    body: str
    began: float
    attempted: int = 0
    acknowledged: int = 0
    failed: int = 0
    document: Mapping[str, Any] | None = None
    recipients: frozenset[str] = frozenset()

    @classmethod
    def of(cls, event: Event) -> Self:
        """From the first attempt."""
        body = event.get("body", "")
        made = cls(workload=event["workload"], body=body, began=event["t"])
        try:
            document = json.loads(body)
            if isinstance(document, dict):
                made.document = document
                if document.get("action") == "send":
                    made.recipients = content.recipients(document)
        except (ValueError, TypeError, AttributeError, RecursionError):
            pass  # poison: published on purpose, to be dead-lettered
        return made

    @property
    def control(self) -> bool:
        """Whether it is an order to ion (a redrive) and no mail."""
        return self.document is not None and self.document.get("action") == "redrive"

    @property
    def least(self) -> int:
        """How many copies of it are owed: with an id one, without one for each time that SNS took it."""
        return min(self.acknowledged, 1) if self._keyed else self.acknowledged

    @property
    def most(self) -> int:
        """How many copies of it there may be, where SNS took it each time that it gave no answer."""
        taken = self.attempted - self.failed
        return min(taken, 1) if self._keyed else taken

    @property
    def _keyed(self) -> bool:
        return self.document is not None and bool(self.document.get("id"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Transaction:
    """One SMTP transaction, as the sink wrote it down.

    Attributes:
        at: When it ended.
        began: When it began.
        number: The sink's number of it.
        result: `accepted`, `refused` or `dropped`.
        confirmed: Whether the client was sent a 2xx reply to the final dot.
        sender: The envelope sender.
        recipients: The mailboxes that were accepted.
        workload: The mail's X-Workload-Id.
        message_id: Its Message-ID.
        key: Its key in the Maildir.
        sha256: Of its bytes.
        refused: How many recipients were refused.
        stage: How far it came, as `faults.Stage` has it.
    """

    at: float
    began: float
    number: str
    result: str
    confirmed: bool
    sender: str
    recipients: tuple[str, ...]
    workload: str = ""
    message_id: str = ""
    key: str = ""
    sha256: str = ""
    refused: int = 0
    stage: str = ""

    @classmethod
    def of(cls, event: Event) -> Self:
        """From the event."""
        return cls(
            at=event["t"],
            began=event["began"] if "began" in event else event["t"],
            stage=event.get("stage", ""),
            refused=len(event.get("refused", ())),
            number=event["transaction"],
            result=event["result"],
            confirmed=event["replied"] and event["reply"].startswith("2"),
            sender=event["sender"],
            recipients=tuple(content.mailbox(each) for each in event["recipients"]),
            **{name: event.get(name, "") for name in ("workload", "message_id", "key", "sha256")},
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Letter:
    """One message that was in the dead-letter queue at the end.

    Attributes:
        message_id: SQS's.
        workload: The mail's X-Workload-Id; empty where nobody published such a body.
        attributes: Its message attributes.
    """

    message_id: str
    workload: str
    attributes: Mapping[str, str]

    @property
    def recipients(self) -> frozenset[str]:
        """The mailboxes that it has failed for; `ALL` where it does not name them, or not every one."""
        named = self.attributes.get("failed-recipients", "")
        if not named or named.endswith("..."):
            return ALL
        return frozenset(content.mailbox(each) for each in named.split(", "))


@dataclass(frozen=True, kw_only=True, slots=True)
class Depth:
    """The queues at one time."""

    at: float
    visible: int
    in_flight: int
    delayed: int
    dead: int

    @classmethod
    def of(cls, event: Event) -> Self:
        """From the event."""
        return cls(at=event["t"], **{name: event[name] for name in ("visible", "in_flight", "delayed", "dead")})

    @property
    def waiting(self) -> int:
        """All that the input queue holds."""
        return self.visible + self.in_flight + self.delayed


@dataclass(kw_only=True)
class Facts:
    """A run, from its history.

    Attributes:
        started: The event that began it; empty if there is none.
        finished: The event that ended it; empty if it was killed.
        published: The workload, by X-Workload-Id.
        transactions: In the order in which they ended.
        letters: The dead-letter queue at the end.
        ledger: The ledger's items at the end, by id.
        depths: The queues over time.
        faults: The fault.started and fault.ended events.
        planned: The fault.planned events.
        alarms: The names of the alarms that fired: `wake-up`, `dead letters`.
        troubles: What went wrong in the harness itself.
    """

    started: Event = field(default_factory=dict)
    finished: Event = field(default_factory=dict)
    published: dict[str, Publication] = field(default_factory=dict)
    transactions: list[Transaction] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    ledger: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    depths: list[Depth] = field(default_factory=list)
    faults: list[Event] = field(default_factory=list)
    planned: list[Event] = field(default_factory=list)
    alarms: set[str] = field(default_factory=set)
    troubles: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, events: Iterable[Event]) -> Self:
        """Read a history; events that it does not know are none of its business.

        Raises:
            KeyError: An event lacks what it must have.
        """
        seen: dict[str, list[Event]] = defaultdict(list)
        for event in events:
            seen[event["event"]].append(event)
        published: dict[str, Publication] = {}
        for event in seen["publish.attempted"]:
            published.setdefault(event["workload"], Publication.of(event)).attempted += 1
        for event in seen["publish.acknowledged"]:
            published[event["workload"]].acknowledged += 1
        for event in seen["publish.failed"]:
            published[event["workload"]].failed += 1
        bodies = {each.body: each.workload for each in published.values()}
        return cls(
            started=(seen["run.started"] or [{}])[0],
            finished=(seen["run.finished"] or [{}])[-1],
            published=published,
            transactions=[Transaction.of(event) for event in seen["smtp.transaction"]],
            letters=[
                Letter(
                    message_id=event["message_id"],
                    workload=bodies.get(event["body"], ""),
                    attributes=event["attributes"],
                )
                for event in seen["deadletter"]
            ],
            ledger={event["item"]["id"]: event["item"] for event in seen["ledger"]},
            depths=[Depth.of(event) for event in seen["depth"]],
            faults=sorted(seen["fault.started"] + seen["fault.ended"], key=lambda event: float(event["t"])),
            planned=seen["fault.planned"],
            alarms={event["name"] for event in seen["alarm"] if event["state"] == "ALARM"},
            troubles=[event["text"] for event in seen["smtp.trouble"]],
        )

    @property
    def cut_short(self) -> bool:
        """Whether the run was killed or interrupted, so that it had no time for all that was to come."""
        return not self.finished or self.finished["reason"] == "interrupted"

    @property
    def send_seconds(self) -> float:
        """How long a send may take, as far as the run's settings say; a lease outlasts it."""
        return float(self.started.get("settings", {}).get("smtp.transaction_timeout_seconds", 0))

    @cached_property
    def accepted(self) -> dict[str, list[Transaction]]:
        """The accepted transactions of each X-Workload-Id."""
        found: dict[str, list[Transaction]] = {}
        for each in self.transactions:
            if each.result == "accepted":
                found.setdefault(each.workload, []).append(each)
        return found

    @cached_property
    def sent_as(self) -> dict[str, Mapping[str, Any]]:
        """The ledger's items by the Message-ID that their mail is sent with."""
        return {item["message_id"]: item for item in self.ledger.values() if item.get("message_id")}

    @cached_property
    def ids(self) -> dict[str, str]:
        """X-Workload-Ids by the id that ion has for the mail, as far as anything tells."""
        found: dict[str, str] = {}
        for workload, mail in self.published.items():
            if mail.document and "id" in mail.document:
                found.setdefault(str(mail.document["id"]), workload)
        for workload, transactions in self.accepted.items():
            for item in (self.sent_as.get(each.message_id) for each in transactions):
                found |= {item["id"]: workload} if item else {}
        for letter in self.letters:
            if letter.workload and "ion-id" in letter.attributes:
                found.setdefault(letter.attributes["ion-id"], letter.workload)
        return found
