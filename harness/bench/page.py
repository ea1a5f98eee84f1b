"""The measurements as Markdown, for a terminal and for docs/performance.md."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.bench.measurement import Measurement, Table

# The goals; they are reported and never a pass condition.
GOAL_RATIO, GOAL_CALLS_A_MAIL = 10, 0.6
GOAL_READY_SECONDS, GOAL_INIT_SECONDS, GOAL_ARTIFACT_MB = 10, 1.5, 3
GOAL_MEMORY_GROWTH = 1.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Where and when, and what is measured once.

    Attributes:
        date: When, UTC.
        machine: Processors and memory, and what runs on them.
        load: What else went on: processes that wanted to run at the beginning, on the average of a minute.
        ready_seconds: From nothing to LocalStack with the stack in it.
        init_seconds: The Lambda function's Init Duration.
        artifact_mb: The artifact's size.
    """

    date: str
    machine: str
    load: float
    ready_seconds: float
    init_seconds: float
    artifact_mb: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """All that a run of the bench found.

    Attributes:
        facts: Where, when, and what is measured once.
        table: The cells.
        memory: Drains of few and of many mails, for the memory they take.
    """

    facts: Facts
    table: Table
    memory: Sequence[Measurement] = ()


def markdown(findings: Findings) -> str:
    """All there is to tell."""
    facts, table, memory = findings.facts, findings.table, findings.memory
    parts = [
        f"Measured on {facts.date}: {facts.machine}; load average at the start {facts.load:.1f}.",
        _rows(
            ["round trip", "what", "connections", "mails", "mails/s", "times baseline", "of ceiling"],
            [_speed(table, one) for one in table.measurements],
        ),
        _rows(
            [
                "round trip",
                "what",
                "connections asked for",
                "made",
                "round trips a mail",
                "AWS calls a mail",
                "by kind",
            ],
            [_counts(one) for one in table.measurements],
        ),
        _rows(["goal", "wanted", "measured", ""], list(_goals(findings))),
    ]
    if memory:
        rows = [[f"{one.mails:,}", f"{one.seconds:.0f} s", f"{one.peak_memory_mb:.0f} MB"] for one in memory]
        parts.append(_rows(["mails in one drain", "time", "most memory resident"], rows))
    return "\n\n".join(parts) + "\n"


def document(findings: Findings) -> dict[str, Any]:
    """The same as JSON has it."""
    table = findings.table
    return {
        **asdict(findings.facts),
        "measurements": [
            {**one.document(), "times_baseline": table.ratio(one), "share_of_ceiling": table.share(one)}
            for one in table.measurements
        ],
        "memory": [one.document() for one in findings.memory],
    }


def _speed(table: Table, one: Measurement) -> list[str]:
    ratio, share = table.ratio(one), table.share(one)
    return [
        *_name(one),
        f"{one.mails:,}",
        f"{one.rate:.1f}",
        "" if ratio is None else f"{ratio:.2f}",
        "" if share is None else f"{share:.0%}",
    ]


def _counts(one: Measurement) -> list[str]:
    kinds = sorted(one.aws_calls.items(), key=lambda item: -item[1])
    return [
        *_name(one),
        f"{one.connections}" if one.cell.connections else "",
        f"{one.replies / one.mails:.2f}" if one.cell.connections else "",
        f"{one.calls_a_mail:.2f}" if one.aws_calls else "",
        ", ".join(f"{kind.partition('.')[2]} {count / one.mails:.3f}" for kind, count in kinds),
    ]


def _name(one: Measurement) -> list[str]:
    names = {"smtp": "SMTP alone", "sqs": "SQS alone", "ion": "**ion**"}
    away = f"{one.cell.round_trip_ms} ms" if one.cell.connections else ""
    return [away, names.get(one.cell.name, one.cell.name), str(one.cell.connections or "")]


def _goals(findings: Findings) -> Iterable[list[str]]:
    facts, table, memory = findings.facts, findings.table, findings.memory
    far, full = table.find("ion", 32, 25), table.find("ion", 32, 0)
    if far and (ratio := table.ratio(far)) is not None:
        wanted = f"≥ {GOAL_RATIO} times baseline"
        yield _goal("25 ms, 32 connections", wanted, f"{ratio:.1f} times", met=ratio >= GOAL_RATIO)
    for near in table.measurements:  # the goal names no number of connections, so it holds for each
        if (near.cell.name, near.cell.round_trip_ms) == ("ion", 0) and (ratio := table.ratio(near)) is not None:
            name = f"0 ms, {near.cell.connections} connection{'s' * (near.cell.connections > 1)}"
            yield _goal(name, "≥ 1 times baseline", f"{ratio:.2f} times", met=ratio >= 1)
    if full:
        wanted, calls = f"≤ {GOAL_CALLS_A_MAIL}", full.calls_a_mail
        yield _goal("AWS calls a mail, full batches", wanted, f"{calls:.2f}", met=calls <= GOAL_CALLS_A_MAIL)
    if len(memory) > 1:
        growth = memory[-1].peak_memory_mb / memory[0].peak_memory_mb
        name = f"memory, {memory[0].mails:,} to {memory[-1].mails:,} mails"
        yield _goal(name, "flat", f"{growth:.2f} times", met=growth <= GOAL_MEMORY_GROWTH)
    for name, most, measured, unit in (
        ("LocalStack and the stack ready", GOAL_READY_SECONDS, facts.ready_seconds, "s"),
        ("cold start (Init Duration)", GOAL_INIT_SECONDS, facts.init_seconds, "s"),
        ("artifact", GOAL_ARTIFACT_MB, facts.artifact_mb, "MB"),
    ):
        yield _goal(name, f"< {most} {unit}", f"{measured:.2f} {unit}", met=measured < most)


def _goal(name: str, wanted: str, measured: str, *, met: bool) -> list[str]:
    return [name, wanted, measured, "met" if met else "missed"]


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns stand below each other in a terminal too."""
    widths = [max(len(row[n]) for row in [head, *rows]) for n in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(f"| {' | '.join(cell.ljust(w) for cell, w in zip(line, widths, strict=True))} |" for line in lines)
