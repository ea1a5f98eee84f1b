"""What a run came to: the checker's report with figures and evidence, for results.json and for a person to read."""

from __future__ import annotations

import itertools
import json
import textwrap
from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from harness import checker, history, maildir, scenario
from harness.errors import HistoryError
from harness.facts import Facts
from harness.verdict import Report

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.history import Event
    from harness.runs import Run

EVIDENCE_MAILS = 10  # of each breach, so many mails have their story told
STORY_LINES = 40
LINE_CHARACTERS = 120


def check(run: Run) -> dict[str, Any]:
    """Check a run that is saved: its results."""
    try:
        events = list(history.read(run.history))
    except HistoryError as error:
        events = []
        report = Report(doubts=[str(error)])
    else:
        expect = scenario.load(run.scenario).expect if run.scenario in scenario.names() else ()
        report = checker.check(events, lambda key: maildir.read(run.mail, key), expect=expect)
    facts = read_facts(events)
    return {
        "verdict": report.verdict,
        "summary": report.summary,
        "scenario": run.scenario,
        "run": run.name,
        "seed": facts.started.get("seed"),
        "artifact": facts.started.get("artifact"),
        "settings": facts.started.get("settings"),
        "machine": facts.started.get("machine"),
        "finished": {name: value for name, value in facts.finished.items() if name not in {"t", "event"}},
        "counts": report.counts,
        "speed": _speed(facts),
        "phases": _phases(events),
        "breaches": [
            {
                "promise": breach.promise,
                "what": breach.what,
                "mails": breach.mails,
                "evidence": _evidence(run, events, facts, list(breach.mails)[:EVIDENCE_MAILS]),
            }
            for breach in report.breaches
        ],
        "doubts": report.doubts,
        "expectations": report.expectations,
        "sets": {
            name: ids for name, ids in report.sets.items() if name not in {"attempted", "acknowledged", "delivered"}
        },
        "mail": str(run.mail),
        "history": str(run.history),
        "logs": str(run.logs),
    }


def text(run: Run, results: Mapping[str, Any]) -> str:
    """For a person: the verdict first, then what it rests on."""
    lines = [results["summary"]]
    for breach in results["breaches"]:
        lines.append(f"  broken: {breach['promise']}: {breach['what']} ({len(breach['mails'])})")
        lines += [f"    {mail}: {brief(what)}" for mail, what in list(breach["mails"].items())[:3]]
    lines += [f"  in doubt: {doubt}" for doubt in results["doubts"]]
    speed = results["speed"]
    if speed:
        latency = speed["latency_seconds"]
        lines.append(
            f"  {speed['mails_per_second']:.1f} mails/s; from publish to delivery: median {latency['median']:.2f} s, "
            f"95% {latency['p95']:.2f} s, 99% {latency['p99']:.2f} s, longest {latency['max']:.2f} s"
        )
    counts = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in results["counts"].items() if count)
    lines.append(f"  counts: {counts or 'none'}")
    if results["artifact"]:
        lines.append(f"  artifact: SHA-256 {results['artifact']['sha256']}")
    lines += [f"  mail: {run.mail}", f"  results: {run.results_file}", f"  report: {run.report}"]
    lines.append(f"  logs: {run.logs}")
    return "\n".join(lines)


def brief(what: str) -> str:
    """What was wrong with a mail, as long as a line bears: all of it is in the results."""
    return textwrap.shorten(what, LINE_CHARACTERS, placeholder=" ...")


def read_facts(events: Iterable[Event]) -> Facts:
    """The facts; none where the history lacks what it must have."""
    try:
        return Facts.of(events)
    except (KeyError, TypeError, ValueError):
        return Facts()  # the checker has said so


def _speed(facts: Facts) -> dict[str, Any]:
    """Mails a second, and how long each took from the first attempt to publish it to its first acceptance."""
    took = []
    ends = []
    for workload, transactions in facts.accepted.items():
        if workload in facts.published:
            first = min(each.at for each in transactions)
            took.append(first - facts.published[workload].began)
            ends.append(first)
    if not took:
        return {}
    took.sort()
    span = max(ends) - min(mail.began for mail in facts.published.values())
    return {
        "mails_per_second": len(took) / max(span, 0.001),
        "seconds": span,
        "latency_seconds": {
            "median": quantile(took, 0.5),
            "p95": quantile(took, 0.95),
            "p99": quantile(took, 0.99),
            "max": took[-1],
        },
    }


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least so large a share of the values does not exceed."""
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def _phases(events: Sequence[Event]) -> dict[str, float]:
    """How long each phase took, in seconds, but for the checking that goes on now."""
    starts = [(event["t"], event["name"]) for event in events if event.get("event") == "phase"]
    return {name: round(end - began, 3) for (began, name), (end, _) in itertools.pairwise(starts)}


def _evidence(run: Run, events: Iterable[Event], facts: Facts, mails: Sequence[str]) -> dict[str, list[Any]]:
    """The story of each of these mails: its events and the function's log lines about it, in the order of time."""
    ids = facts.ids
    stories: dict[str, list[Any]] = defaultdict(list)
    for event in events:
        workload = event.get("workload") or ids.get(event.get("item", {}).get("id", ""), "")
        if workload in mails:
            stories[workload].append({name: value for name, value in event.items() if name not in {"workload", "body"}})
    for line in log_lines(run):
        workload = ids.get(str(line.get("id")), "")
        if workload in mails:
            stories[workload].append(line)
    return {workload: sorted(story, key=when)[:STORY_LINES] for workload, story in stories.items()}


def when(line: Mapping[str, Any]) -> float:
    """When it happened: an event says so in seconds, a log line in words."""
    if "t" in line:
        return float(line["t"])
    try:
        return datetime.fromisoformat(line["timestamp"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return 0.0


def log_lines(run: Run) -> Iterable[dict[str, Any]]:
    """The function's own log lines; what it and its platform print besides is passed over."""
    if not run.function_log.exists():
        return
    with run.function_log.open(errors="replace") as file:
        for line in file:
            if line.startswith("{"):
                try:
                    found = json.loads(line)
                except ValueError:
                    continue
                if isinstance(found, dict):
                    yield found
