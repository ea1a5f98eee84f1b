"""Writes report.html: all of a run on one page that opens offline, runs no script and loads nothing.

What a server or a mail says is somebody else's text: it is escaped everywhere, and what could turn the text around it
or hide in it is made visible.
"""

from __future__ import annotations

import html
import re
import shlex
import sys
import time
from collections import Counter, defaultdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import history
from harness.errors import HistoryError
from harness.report.course import AMBIGUOUS, DEFERRED, Course, attempts
from harness.report.journeys import tell
from harness.results import log_lines, quantile, read_facts
from harness.verdict import Promise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.facts import Facts
    from harness.history import Event
    from harness.report.pictures import Picture
    from harness.runs import Run

TEMPLATES = Path(__file__).parent / "templates"
TEXT_MAX_CHARACTERS = 600
MOST_ROWS = 12  # of a table of reasons
MOST_MAILS = 5  # named at a broken promise; results.json names them all
PROMISES = {
    Promise.CONSERVATION: "Every mail that was published is delivered, dead-lettered or still pending; none is lost, "
    "and nothing is sent that nobody published.",
    Promise.ONCE: "A mail reaches a recipient once, but where nobody could know whether a send had succeeded.",
    Promise.CONTENT: "What arrives is what was published, and no bcc address shows.",
    Promise.REASON: "Whatever is dead-lettered says why.",
    Promise.LIVENESS: "While mail waits and the server works, ion wakes by itself.",
}
# Control characters, those that turn the direction of text (Unicode Annex 9), and surrogates, which no file takes.
_TREACHEROUS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def write(run: Run, results: Mapping[str, Any]) -> bool:
    """Write a run's report; says on standard error what went wrong, and returns whether nothing did.

    Never raises: a verdict stands without its report. Where there can be no better page, a plain one says why.
    """
    trouble = ""
    try:
        page = render(run, results)
    except Exception as error:
        trouble = f"the report could not be made: {type(error).__name__}: {error}"
        summary = html.escape(str(results.get("summary", "")))
        page = f"<!doctype html><meta charset=utf-8><title>{summary}</title><p>{summary}<p>{html.escape(trouble)}"
    scratch = run.report.with_suffix(".html.new")
    try:
        scratch.write_text(page, encoding="utf-8", errors="replace")
        scratch.replace(run.report)
    except OSError as error:
        trouble = trouble or f"the report could not be written: {error}"
    if trouble:
        print(trouble, file=sys.stderr)
    return not trouble


def render(run: Run, results: Mapping[str, Any]) -> str:
    """The page."""
    import jinja2  # noqa: PLC0415 - a scenario's start need not wait for it

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_harmless,
    )
    environment.filters["sentence"] = lambda text: f"{text[:1].upper()}{text[1:]}"
    try:
        events = list(history.read(run.history))
    except HistoryError:
        events = []  # the results say so among their doubts
    facts = read_facts(events)
    lines = list(log_lines(run))
    course = Course.of(facts, events, lines)
    pictures, trouble = _pictures(course) if facts.published or facts.transactions else ({}, "")
    groups = tell(run, results, facts=facts, course=course, events=events, lines=lines)
    mails = (journey.workload for group in groups for journey in group.journeys)
    return environment.get_template("report.html").render(
        run=run,
        results=results,
        started=facts.started,
        date=_date(run.name),
        course=course,
        pictures=pictures,
        no_pictures=trouble,
        promises=[_promise(promise, results) for promise in PROMISES],
        expectations=results.get("expectations", []),
        broken=list(
            dict.fromkeys(breach["promise"] for breach in results["breaches"] if breach["promise"] in PROMISES)
        ),
        most_mails=MOST_MAILS,
        latencies=_latencies(course),
        groups=groups,
        anchors={workload: f"mail-{number}" for number, workload in enumerate(mails, start=1)},
        reasons=_reasons(facts),
        waits=_waits(facts),
        warnings=_warnings(lines),
        command=_command(run, facts.started),
        links=_links(run),
        made=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    )


def _harmless(value: Any) -> Any:
    """What the template prints: no text longer than a person reads, and none that plays tricks."""
    if hasattr(value, "__html__") or not isinstance(value, str):
        return value
    text = _TREACHEROUS.sub("\ufffd", value)
    return text if len(text) <= TEXT_MAX_CHARACTERS else f"{text[: TEXT_MAX_CHARACTERS - 1]}…"


def _pictures(course: Course) -> tuple[Mapping[str, Picture], str]:
    try:
        from harness.report import pictures  # noqa: PLC0415 - matplotlib takes a second to load

        return pictures.draw(course), ""
    except Exception as error:
        return {}, f"{type(error).__name__}: {error}"


def _date(name: str) -> str:
    try:
        began = datetime.strptime(name[:16], "%Y%m%dT%H%M%SZ")  # noqa: DTZ007 - UTC, and printed as such
    except ValueError:
        return name
    return f"{began.day} {began:%B %Y, %H:%M:%S} UTC"


def _promise(promise: Promise, results: Mapping[str, Any]) -> dict[str, Any]:
    broken = [breach for breach in results["breaches"] if breach["promise"] == promise]
    sound = results["verdict"] == "valid" or not results["doubts"]
    state = "broken" if broken else "kept" if sound else "open"
    return {"name": promise.value, "text": PROMISES[promise], "state": state, "breaches": broken}


def _latencies(course: Course) -> list[tuple[str, Sequence[float]]]:
    """Of all delivered mails and of each kind: how many, and quantiles in seconds."""
    kinds = {
        "all": "all that reached anybody",
        "straight": "at the first attempt",
        "retried": "after a retry or a redrive",
        "ambiguous": "with an ambiguous send",
    }
    rows: list[tuple[str, Sequence[float]]] = []
    for kind, words in kinds.items():
        took = sorted(each.seconds for each in course.arrivals if kind in {"all", each.kind})
        if took and (kind == "all" or len(took) < len(course.arrivals)):
            shares = [quantile(took, share) for share in (0.5, 0.9, 0.95, 0.99)]
            rows.append((words, [len(took), took[0], *shares, took[-1]]))
    return rows


def _reasons(facts: Facts) -> list[dict[str, Any]]:
    """Why mails were dead-lettered: by code, and the commonest words of each."""
    details: dict[str, Counter[str]] = defaultdict(Counter)
    for letter in facts.letters:
        details[letter.attributes.get("failure-reason", "")][letter.attributes.get("failure-detail", "")] += 1
    rows = [
        {"reason": reason, "count": sum(words.values()), "details": words.most_common(3), "kinds": len(words)}
        for reason, words in details.items()
    ]
    return sorted(rows, key=lambda row: -row["count"])


def _waits(facts: Facts) -> dict[str, Any]:
    """What kept mails from being delivered, by result and words, the commonest first."""
    found = Counter(
        (attempt["result"], attempt.get("text", ""))
        for log in attempts(facts).values()
        for attempt in log
        if attempt["result"] in DEFERRED | AMBIGUOUS | {"rejected", "released"}
    )
    return {"rows": found.most_common(MOST_ROWS), "more": max(0, len(found) - MOST_ROWS)}


def _warnings(lines: Sequence[Event]) -> list[dict[str, Any]]:
    """What the function warned of, by the word for it."""
    found: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for line in lines:
        if line.get("level") in {"WARNING", "ERROR", "CRITICAL"}:
            found[str(line["level"]), str(line.get("stage", ""))].append(line)
    commonest = sorted(found.items(), key=lambda pair: -len(pair[1]))[:MOST_ROWS]
    return [
        {
            "level": level.lower(),
            "stage": stage,
            "count": len(some),
            "example": next((str(some[-1][name]) for name in ("error", "detail", "message") if some[-1].get(name)), ""),
        }
        for (level, stage), some in commonest
    ]


def _command(run: Run, started: Event) -> str:
    """How to run the same again."""
    options = {
        "--seed": started.get("seed"),
        "--mails": started.get("mails"),
        "--connections": started.get("settings", {}).get("smtp.max_connections"),
        "--rate": started.get("rate"),
        "--duration": started.get("duration"),
    }
    said = " ".join(f"{name} {value}" for name, value in options.items() if value is not None)
    return f"make scenario {shlex.quote(run.scenario)} ARGS={shlex.quote(said)}"


def _links(run: Run) -> list[tuple[str, str]]:
    """What lies beside the report."""
    paths = {
        "captured mail (Maildir)": run.mail / "new",
        "history.jsonl": run.history,
        "results.json": run.results_file,
        "the function's log": run.function_log,
        "LocalStack's log": run.localstack_log,
    }
    return [(name, path.relative_to(run.directory).as_posix()) for name, path in paths.items() if path.exists()]
