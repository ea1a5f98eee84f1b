"""The mails that are worth a look, each with all that happened to it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from harness import maildir
from harness.errors import RunError
from harness.report.course import DEFERRED, attempts, plain
from harness.results import when

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from harness.facts import Facts
    from harness.history import Event
    from harness.report.course import Course
    from harness.runs import Run

BROKEN_MAILS = 10  # of each broken promise so many are told, of every other kind fewer
OTHER_MAILS = 5
STEPS = 60
# The function's log says these of every mail that the ledger has an attempt of: told once is enough.
_TOLD_BY_LEDGER = frozenset({"delivered", "deferred", "failed", "expired"})
_LOG_FIELDS = ("result", "reply", "reason", "detail", "status", "error", "retry_in_seconds")


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One thing that happened to a mail.

    Attributes:
        at: When, Unix seconds.
        mark: By which mark the picture shows it; empty for none.
        what: In a few words.
        detail: What else there is to say.
        mail: Where the mail lies that was captured, relative to the report.
    """

    at: float
    mark: str
    what: str
    detail: str = ""
    mail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Journey:
    """One mail.

    Attributes:
        workload: Its X-Workload-Id.
        subject: Its subject, as published.
        note: Why it is shown.
        steps: What happened, in order.
        left_out: How many steps more there were.
    """

    workload: str
    subject: str
    note: str
    steps: Sequence[Step]
    left_out: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Mails that are shown for one reason.

    Attributes:
        title: The reason.
        total: How many there are.
        broken: Whether a promise was broken.
        journeys: Those that are shown.
    """

    title: str
    total: int
    broken: bool
    journeys: Sequence[Journey]


def tell(
    run: Run,
    results: Mapping[str, Any],
    *,
    facts: Facts,
    course: Course,
    events: Iterable[Event],
    lines: Iterable[Event],
) -> list[Group]:
    """Pick the mails, each for the worst reason there is, and tell what happened to them."""
    picked: dict[str, tuple[dict[str, str], int, bool]] = {}
    seen: set[str] = set()
    for title, mails, broken in _reasons(results, facts, course):
        limit = BROKEN_MAILS if broken else OTHER_MAILS
        new = [(workload, note) for workload, note in mails.items() if workload not in seen][:limit]
        seen.update(workload for workload, _ in new)
        if new:
            picked[title] = (dict(new), len(mails), broken)
    steps = _steps(run, facts, events, lines, seen)
    return [
        Group(
            title=title,
            total=total,
            broken=broken,
            journeys=[_journey(workload, note, facts, steps[workload]) for workload, note in mails.items()],
        )
        for title, (mails, total, broken) in picked.items()
    ]


def _journey(workload: str, note: str, facts: Facts, steps: list[Step]) -> Journey:
    mail = facts.published.get(workload)
    subject = mail.document.get("subject", "") if mail and mail.document else ""
    steps.sort(key=lambda step: step.at)
    return Journey(
        workload=workload, subject=str(subject), note=note, steps=steps[:STEPS], left_out=max(0, len(steps) - STEPS)
    )


def _reasons(results: Mapping[str, Any], facts: Facts, course: Course) -> Iterator[tuple[str, Mapping[str, str], bool]]:
    for breach in results["breaches"]:
        known = {
            name: what for name, what in breach["mails"].items() if name in facts.published or name in facts.accepted
        }
        yield breach["what"], known, True
    letters = {letter.workload: _why(letter.attributes) for letter in facts.letters if letter.workload}
    log = attempts(facts)
    tries = {workload: sum(each["result"] in DEFERRED for each in told) for workload, told in log.items()}
    often = sorted((workload for workload, count in tries.items() if count > 1), key=lambda name: -tries[name])
    slowest = sorted(course.arrivals, key=lambda each: -each.seconds)
    ambiguous = [each.workload for each in course.arrivals if each.kind == "ambiguous"]
    yield "ambiguous", dict.fromkeys(ambiguous, "nobody could know whether the server had taken it (RFC 1047)"), False
    yield "dead-lettered", letters, False
    yield "still pending", dict.fromkeys(results["sets"].get("pending", ()), "still in the queue at the end"), False
    yield "tried most often", {name: f"{tries[name]} sends came to nothing" for name in often}, False
    yield "slowest", {each.workload: f"{each.seconds:.2f} s" for each in slowest}, False


def _why(attributes: Mapping[str, str]) -> str:
    return ": ".join(attributes[name] for name in ("failure-reason", "failure-detail") if attributes.get(name))


def _steps(
    run: Run, facts: Facts, events: Iterable[Event], lines: Iterable[Event], mails: set[str]
) -> defaultdict[str, list[Step]]:
    """All steps of these mails."""
    found: defaultdict[str, list[Step]] = defaultdict(list)
    in_ledger = set()
    for event in events:
        workload = event.get("workload", "")
        if workload in mails and (step := _event(run, event)):
            found[workload].append(step)
    for letter in facts.letters:
        if letter.workload in mails:
            at = when({"timestamp": letter.attributes.get("failed-at")}) or float(facts.finished.get("t", 0.0))
            found[letter.workload].append(
                Step(at=at, mark="dead", what="Dead-lettered", detail=_why(letter.attributes) or "without a reason")
            )
    for workload, log in attempts(facts).items():
        if workload in mails:
            in_ledger.add(workload)
            found[workload] += [_attempt(each) for each in log]
    for line in lines:
        workload = facts.ids.get(str(line.get("id")), "")
        if workload in mails and not (workload in in_ledger and line.get("stage") in _TOLD_BY_LEDGER):
            more = {name: line[name] for name in _LOG_FIELDS if line.get(name) not in (None, "")}
            mark = str(line.get("result", "")) if line.get("stage") in _TOLD_BY_LEDGER else ""
            what = f"ion: {line.get('stage')}"
            found[workload].append(Step(at=when(line), mark=_MARKS.get(mark, ""), what=what, detail=plain(more)))
    return found


# Marks of the ledger's attempts; one that was delivered is marked where the server took the mail.
_MARKS = {
    "deferred": "deferred",
    "turned-away": "deferred",
    "ambiguous": "ambiguous",
    "abandoned": "ambiguous",
    "rejected": "rejected",
    "released": "released",
}


def _attempt(attempt: Mapping[str, Any]) -> Step:
    took = f"after {attempt['seconds']:.2f} s" if attempt.get("seconds") else ""
    return Step(
        at=float(attempt["at"]),
        mark=_MARKS.get(attempt["result"], ""),
        what=f"Ledger: {attempt['result']}",
        detail=", ".join(part for part in (attempt.get("text", ""), took) if part),
    )


def _event(run: Run, event: Event) -> Step | None:
    at, error = float(event["t"]), str(event.get("error", ""))
    match event["event"]:
        case "publish.attempted":
            attempt = event.get("attempt", 1)
            return Step(at=at, mark="published", what="Published", detail="" if attempt == 1 else f"attempt {attempt}")
        case "publish.acknowledged":
            return Step(at=at, mark="", what="SNS took it", detail=str(event.get("message_id", "")))
        case "publish.failed":
            return Step(at=at, mark="rejected", what="SNS did not take it", detail=error)
        case "publish.unknown":
            return Step(at=at, mark="released", what="SNS gave no answer", detail=error)
        case "smtp.transaction" if event["result"] == "accepted":
            heard = event["replied"] and str(event["reply"]).startswith("2")
            what = "The server took it" if heard else "The server took it, and ion was not told so"
            to = f"to {', '.join(event['recipients'])}"
            detail = f"{event['reply'] or 'no reply was sent'}; {to}; transaction {event['transaction']}"
            mark = "delivered" if heard else "ambiguous"
            return Step(at=at, mark=mark, what=what, detail=detail, mail=_link(run, str(event.get("key", ""))))
    return None


def _link(run: Run, key: str) -> str:
    """Where a captured mail lies, as an address relative to the report; empty where it is no more."""
    try:
        return quote(maildir.find(run.mail, key).relative_to(run.directory).as_posix()) if key else ""
    except (RunError, ValueError, OSError):
        return ""
