"""A mail's story: when it was published, what each attempt came to, where it stands."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.errors import LocalStackError
from harness.inbox.live import Letter

if TYPE_CHECKING:
    from harness.history import Event
    from harness.inbox.live import Live
    from harness.inbox.store import Store, Summary

_EVENTS_OF_A_MAIL = (
    "((trace <> '' AND trace = ?) OR (workload <> '' AND workload = ?) OR (message_id <> '' AND message_id = ?)"
    " OR (key <> '' AND key = ?))"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One thing that happened.

    Attributes:
        at: When, Unix seconds.
        what: In a few words.
        detail: What else there is to say; the server's words among it.
        tone: `good`, `bad`, `wait` or `plain`.
    """

    at: float
    what: str
    detail: str = ""
    tone: str = "plain"


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """All that is known of a mail besides itself.

    Attributes:
        ion_id: The id that ion has for it; empty where nothing tells.
        document: What was published; empty where the history does not have it.
        steps: What happened, in order.
        attempts: How often it was sent, or tried to be.
        copies: How many mails with its Message-ID arrived, this one included.
        ledger: The ledger's record, now while ion runs here, else at the run's end; empty where there is none.
        letters: Its dead letters.
    """

    ion_id: str
    document: str
    steps: list[Step]
    attempts: int
    copies: int
    ledger: dict[str, Any] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)


def tell(store: Store, mail: Summary, live: Live | None) -> Story:
    """Put a mail's story together."""
    events = store.events(_EVENTS_OF_A_MAIL, (mail.trace, mail.workload, mail.message_id, mail.key))
    ion_id = store.ion_id(mail.trace)
    ledger: dict[str, Any] = next((event["item"] for event in reversed(events) if event["event"] == "ledger"), {})
    if live is not None and ion_id:
        with contextlib.suppress(LocalStackError):  # it may just be ending
            ledger = live.entry(ion_id) or ledger
    accepted = [event for event in events if event["event"] == "smtp.transaction" and event.get("key")]
    sent = sum(event["event"] in _ATTEMPTS for event in events)
    steps = [step for event in events if (step := _step(event, mail))]
    if not any(event.get("key") == mail.key for event in accepted):
        steps.append(Step(at=mail.received, what="Found in the Maildir", detail=mail.key))
    return Story(
        ion_id=ion_id,
        document=next((str(event["body"]) for event in events if "body" in event and "workload" in event), ""),
        steps=sorted(steps, key=lambda step: step.at),
        attempts=max(sent, len(accepted), int(ledger.get("attempts", 0)), 1),
        copies=max(1, len(accepted)),
        ledger=ledger,
        letters=[Letter.of(event["body"], event["attributes"]) for event in events if event["event"] == "deadletter"],
    )


_ATTEMPTS = frozenset({"function.delivered", "function.deferred", "function.failed"})


def _step(event: Event, mail: Summary) -> Step | None:
    at, name = float(event["t"]), str(event["event"])
    match name.partition(".")[::2]:
        case "publish", outcome:
            return _published(at, outcome, event)
        case "smtp", "transaction":
            return _transaction(at, event, mail)
        case "function", stage:
            return _function(at, stage, event)
        case "deadletter", _:
            said = event.get("attributes", {})
            detail = f"{said.get('failure-reason', '')}: {said.get('failure-detail', '')}"
            return Step(at=at, what="In the dead-letter queue at the run's end", detail=detail, tone="bad")
        case "ledger", _:
            return Step(at=at, what="At the run's end, the ledger says", detail=str(event["item"].get("status", "")))
    return None


def _published(at: float, outcome: str, event: Event) -> Step | None:
    attempt = f"attempt {event.get('attempt', 1)}"
    match outcome:
        case "attempted":
            return Step(at=at, what="Published", detail=attempt)
        case "acknowledged":
            return Step(at=at, what="SNS took it", detail=f"as {event.get('message_id', '')}", tone="good")
        case "failed":
            return Step(at=at, what="SNS did not take it", detail=str(event.get("error", "")), tone="bad")
        case "unknown":
            return Step(at=at, what="No answer from SNS", detail=str(event.get("error", "")), tone="wait")
    return None


def _transaction(at: float, event: Event, mail: Summary) -> Step:
    session = f"session {event.get('session')}, transaction {event.get('transaction')}"
    reply = str(event.get("reply", "")) or "no reply was sent"
    if event.get("key") == mail.key:
        return Step(at=at, what="The server took this mail", detail=f"{reply} ({session})", tone="good")
    if event.get("key"):
        again = set(mail.recipients) & set(event.get("recipients", ()))
        what = "The server took it once more" if again else "The server took it for others"
        return Step(at=at, what=what, detail=f"{reply} ({session})", tone="bad" if again else "plain")
    return Step(at=at, what=f"The server {event.get('result')} it", detail=f"{reply} ({session})", tone="bad")


def _function(at: float, stage: str, event: Event) -> Step:
    tone = {"delivered": "good", "deferred": "wait", "repeat": "plain"}.get(stage, "bad")
    words = [str(event.get("reply") or event.get("detail") or event.get("error") or "")]
    if event.get("reason"):
        words.append(str(event["reason"]))
    if event.get("retry_in_seconds") is not None:
        words.append(f"again in {event['retry_in_seconds']} s")
    attempt = f", attempt {event['attempt']}" if event.get("attempt") else ""
    detail = "; ".join(word for word in words if word)
    return Step(at=at, what=f"ion: {stage}{attempt}", detail=detail, tone=tone)
