"""A simulated run as a story: what happened when, in words, and which promise broke."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from harness.simulation.plan import DAY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from harness.history import Event
    from harness.simulation.run import Result

# What the story leaves out of what ion says of itself: it is told otherwise, or says nothing.
_UNTOLD = ("drained", "ended: ", "strikes: ", "redrive")


def tell(result: Result, *, calls: bool = False) -> str:
    """The story of a traced run; `calls` tells every single call to AWS too."""
    began = result.events[0]["t"]
    events = sorted(_worth_telling(result.events, calls=calls), key=lambda event: float(event["t"]))
    lines = [f"{_when(event['t'] - began)}  {words}" for event in events if (words := _words(event))]
    plan = result.plan
    head = (
        f"seed {plan.seed}: {len(plan.publications)} published, {len(plan.faults)} faults; at most {plan.max_attempts} "
        f"attempts, {plan.connections} connections, {plan.concurrency} functions, visibility {plan.visibility} s"
    )
    return "\n".join([head, *lines, result.broken or "every promise was kept"])


def trace(result: Result) -> str:
    """The whole history of a run, a JSON object a line; byte for byte the same for the same plan."""
    return "".join(json.dumps(event, separators=(",", ":")) + "\n" for event in result.events)


def _when(seconds: float) -> str:
    days, rest = divmod(seconds, DAY_SECONDS)
    return f"day {days + 1:.0f} {rest // 3600:02.0f}:{rest // 60 % 60:02.0f}:{rest % 60:06.3f}"


def _worth_telling(events: Iterable[Event], *, calls: bool) -> Iterator[Event]:
    """Without calls, and without the wake-ups of the function that found nothing to do."""
    woken: dict[int, Event] = {}
    for event in events:
        name, process = event["event"], event.get("process", 0)
        if name == "function.started":
            woken[process] = event
            continue
        idle = name == "function.ended" and event["how"] == "returned" and process in woken
        if idle and not calls:
            del woken[process]
            continue
        if (name == "call" and not calls) or (name == "told" and event["what"].startswith(_UNTOLD)):
            continue
        if process in woken:
            yield woken.pop(process)
        yield event


def _words(event: Event) -> str:  # noqa: PLR0911 - a line a kind of event
    name = event["event"]
    match name:
        case "publish.attempted":
            return f"{event['workload']} is published{_to(event['body'])}"
        case "function.started":
            return f"process {event['process']} runs: it was woken because {_WHY[event['why']]}"
        case "function.ended":
            error = f": {event['error']}" if event["how"] == "failed" else ""
            return f"process {event['process']} {_HOW[event['how']]}{error}"
        case "smtp.transaction":
            return _transaction(event)
        case "told":
            return _told(event)
        case "deadletter":
            said = {"failed-recipients": "nobody", **event["attributes"]}
            names = ("ion-id", "failure-reason", "failed-recipients")
            return f"left in the dead-letter queue: {', '.join(said.get(name, '?') for name in names)}"
        case "ledger":
            log = ", ".join(line["result"] for line in event["item"]["log"])
            return f"left in the ledger: {event['item']['id']}: {event['item']['status']} ({log})"
        case _:
            return _PLAIN.get(name, "").format_map(event)


_PLAIN = {
    "publish.failed": "SNS refuses {workload}",
    "publish.unknown": "SNS takes {workload}, and its publisher does not hear of it",
    "fault.started": "from now on: {what}",
    "fault.ended": "over: {what}",
    "phase": "all faults have healed",
    "call": "process {process}: {operation}, {when}",
    "depth": "left in the queue: {visible} visible, {in_flight} hidden",
}
_WHY = {"published": "something was published", "alarm": "the alarm went off"}
_HOW = {"returned": "is done", "failed": "fails", "killed": "dies", "timed out": "has run out of time and is killed"}


def _to(body: str) -> str:
    try:
        document = json.loads(body)
    except ValueError:
        return ", and is no JSON"
    key = f" under the id {document['id']}" if "id" in document else ""
    return f" to {', '.join(document['recipient'])}{key}" if "recipient" in document else ""


def _transaction(event: Event) -> str:
    if event["result"] == "accepted":
        lost = "" if event["replied"] else ", and its reply is lost"
        return f"the server takes {event['workload']} for {', '.join(event['recipients'])}{lost}"
    return f"the server does not take {event['workload']}: {event['reply'] or 'the connection ends'}"


def _told(event: Event) -> str:
    who = f"process {event['process']}: " if event["process"] else ""
    details = [f"{event[name]}" for name in ("id", "reason", "detail", "reply", "error") if event.get(name)]
    if event.get("retry_in_seconds") is not None:
        details.append(f"again in {event['retry_in_seconds']} s")
    return f"{who}{event['what']}{': ' if details else ''}{', '.join(details)}"
