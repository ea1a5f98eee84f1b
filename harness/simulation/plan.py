"""What is to happen in one simulated world: who publishes what and when, and what goes wrong.

A plan is drawn from a seed with plain chance, so that a seed is the same plan wherever it is drawn; what is drawn here
is in the plan, whole, and everything else that the world leaves to chance comes from the plan's seed. Times are seconds
from the beginning.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import NamedTuple

DAY_SECONDS = 86_400.0
# What belongs together happens within so long.
EPISODE_SECONDS = 1_200.0

STAGES = ("MAIL", "RCPT", "DATA", "final dot")


class Kind(NamedTuple):
    """A kind of fault.

    Attributes:
        what: What it does, as the story tells it; `{detail}` is the fault's own.
        details: What the detail is drawn from.
        longest: The longest that it lasts, in seconds.
        shares: What its share is drawn from.
    """

    what: str
    details: tuple[str, ...] = ("",)
    longest: float = 900.0
    shares: tuple[float, ...] = (0.1, 0.3, 1.0)


# The vocabulary of faults. Whoever adds one makes it strike where its service is simulated (docs/simulation.md).
KINDS: dict[str, Kind] = {
    "smtp.refuses": Kind("the SMTP server refuses connections", longest=4 * 3600),
    "smtp.greets": Kind("the SMTP server greets with {detail}", ("421", "554"), longest=4 * 3600),
    "smtp.login": Kind("the SMTP server refuses the login", longest=4 * 3600),
    "smtp.closes": Kind("the SMTP server says 421 at {detail}", STAGES),
    "smtp.defers": Kind("the SMTP server says 451 at {detail}", STAGES),
    "smtp.rejects": Kind("the SMTP server says 554 at {detail}", STAGES),
    "smtp.forgets": Kind("the SMTP server wants a login (530) at {detail}", STAGES[:2]),
    "smtp.drops": Kind("the SMTP server drops the connection at {detail}", STAGES),
    "smtp.keeps": Kind("the SMTP server keeps a mail and drops the connection before its reply"),
    "smtp.slow": Kind("the SMTP server takes up to {detail} s for a reply", ("3", "15", "60")),
    "smtp.greylists": Kind("the SMTP server greylists", longest=3600, shares=(0.5, 1.0)),
    "smtp.limits": Kind("the SMTP server takes {detail} mails a connection, then says 421", ("1", "3")),
    "sqs.fails": Kind("SQS calls fail"),
    "sqs.loses": Kind("SQS calls take effect, and their answers are lost"),
    "sqs.refuses": Kind("SQS refuses single entries of a batch"),
    "sqs.repeats": Kind("SQS leaves a message visible that it hands out", shares=(0.02, 0.1)),
    "sqs.undeletes": Kind("SQS misses deletions", shares=(0.1, 0.3)),
    "sqs.slow": Kind("SQS calls take up to {detail} s", ("2", "40")),
    "ledger.fails": Kind("the ledger is throttled"),
    "ledger.loses": Kind("the ledger takes writes, and its answers are lost"),
    "ledger.halves": Kind("the ledger takes a part of what it is given, and fails"),
    "ledger.slow": Kind("the ledger takes up to {detail} s", ("2", "40")),
    "sns.fails": Kind("SNS refuses what is published"),
    "sns.loses": Kind("SNS takes what is published, and its answer is lost"),
    "sns.late": Kind("SNS delivers up to {detail} s late", ("5", "600")),
    "sns.twice": Kind("SNS delivers twice"),
    "lambda.dies": Kind("the function's process dies", longest=1800),
    "lambda.stalls": Kind("the function's process stands still for up to {detail} s", ("10", "120"), shares=(0.3, 1.0)),
    "lambda.throttled": Kind("Lambda throttles the function", longest=3600),
    "lambda.cold": Kind("the function starts cold each time, in up to {detail} s", ("3", "10")),
    "lambda.deployed": Kind("a new version of the function is deployed", longest=1.0, shares=(1.0,)),
    "alarm.fails": Kind("the alarm cannot be set to OK", longest=20.0),
    "alarm.late": Kind("metrics come up to {detail} s late", ("60", "900"), longest=7200),
}


# Drawn more often than others: what makes other faults dangerous.
OFTEN = ("lambda.dies",) * 4 + ("lambda.stalls",) * 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """Something that goes wrong for a while.

    Attributes:
        kind: A key of `KINDS`.
        at: When it begins.
        seconds: How long it lasts.
        share: How often it strikes where it could.
        detail: What its kind leaves open.
    """

    kind: str
    at: float
    seconds: float
    share: float = 1.0
    detail: str = ""

    @property
    def what(self) -> str:
        """What it does, in words."""
        share = "" if self.share == 1.0 else f" ({self.share:.0%} of the time)"
        return KINDS[self.kind].what.format(detail=self.detail) + share


@dataclass(frozen=True, kw_only=True, slots=True)
class Publication:
    """Something that somebody publishes.

    Attributes:
        at: When.
        to: The recipients' local parts, which say how the server takes them: `gone...` it refuses for good, `busy2...`
            it puts off twice, `spam...` it refuses after the message; anybody else it takes. None at all: poison.
        key: The id that the publisher gives it: none, one of its `own`, or by mistake one that others have (`shared`).
        times: How often it is published.
        expires_after: Seconds after which it is not to be sent any more; 0: never.
        large: Whether it is so long that its dead letter may be too large for a queue.
        redrive: Instead of a mail, a redrive: `all`, `rejected` (those with that reason) or `max` (two at most).
    """

    at: float
    to: tuple[str, ...] = ("ann",)
    key: str = ""
    times: int = 1
    expires_after: float = 0.0
    large: bool = False
    redrive: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One simulated world.

    Attributes:
        seed: Where all further chance comes from.
        days: How long it lasts before everything heals.
        max_attempts: ion's `retry.max_attempts`.
        connections: ion's `smtp.max_connections`.
        visibility: ion's `queue.visibility_timeout_seconds`.
        concurrency: The function's reserved concurrency.
        publications: What is published.
        faults: What goes wrong.
    """

    seed: int
    days: float = 1.0
    max_attempts: int = 10
    connections: int = 8
    visibility: int = 120
    concurrency: int = 1
    publications: tuple[Publication, ...] = ()
    faults: tuple[Fault, ...] = ()


def draw(seed: int, *, days: float = 1.0) -> Plan:
    """The plan of a seed."""
    dice = Random(f"plan/{seed}/{days!r}")  # noqa: S311 - chance, not secrecy
    publications: list[Publication] = []
    faults: list[Fault] = []
    end = days * DAY_SECONDS
    for day in range(max(1, round(days))):
        for _ in range(dice.choice((1, 1, 2))):
            at = min(end - EPISODE_SECONDS, (day + dice.random()) * DAY_SECONDS)
            publications += _publications(dice, max(0.0, at))
            faults += _faults(dice, max(0.0, at), end)
    return Plan(
        seed=seed,
        days=days,
        max_attempts=dice.choice((2, 3, 10)),
        connections=dice.choice((1, 2, 8)),
        visibility=dice.choice((65, 120)),
        concurrency=dice.choice((1, 1, 2, 3)),
        publications=tuple(sorted(publications, key=lambda one: one.at)),
        faults=tuple(sorted(faults, key=lambda one: one.at)),
    )


def _publications(dice: Random, at: float) -> list[Publication]:
    """A burst or a trickle, now and then a redrive after it."""
    count = 150 if _chance(dice, 0.005) else dice.choice((1, 2, 3, 5, 8, 13))
    pace = dice.choice((0.0, 0.0, 1.0, EPISODE_SECONDS / count))
    found = [_publication(dice, round(at + number * pace * dice.random(), 3)) for number in range(count)]
    if _chance(dice, 0.3):
        what = dice.choice(("all", "all", "rejected", "max"))
        found += [
            Publication(at=round(at + dice.random() * 3 * EPISODE_SECONDS, 3), redrive=what)
            for _ in range(dice.choice((1, 1, 2)))
        ]
    return found


def _publication(dice: Random, at: float) -> Publication:
    if _chance(dice, 0.03):
        return Publication(at=at, to=())
    names = ("ann", "ann", "ann", "ann", "ann", "bob", "gone", "busy1", "busy2", "busy3", "spam")
    return Publication(
        at=at,
        to=tuple(dice.choice(names) for _ in range(dice.choice((1, 1, 1, 2, 3)))),
        key=dice.choice(("own", "own", "own", "shared")) if _chance(dice, 0.4) else "",
        times=dice.choice((1, 1, 1, 1, 2)),
        expires_after=dice.choice((60.0, 1800.0)) if _chance(dice, 0.05) else 0.0,
        large=_chance(dice, 0.01),
    )


def _chance(dice: Random, share: float) -> bool:
    return dice.random() < share


def _faults(dice: Random, at: float, end: float) -> list[Fault]:
    found = []
    for _ in range(dice.choice((0, 1, 2, 3, 5, 8))):
        kind = dice.choice([*KINDS, *OFTEN])
        # Mostly there when the mail comes, and mostly short: what lasts long tells the same thing again and again.
        begin = max(0.0, at + dice.choice((-1.0, dice.random())) * dice.random() ** 2 * EPISODE_SECONDS)
        seconds = min(KINDS[kind].longest, 60.0) + KINDS[kind].longest * dice.random() ** 4
        found.append(
            Fault(
                kind=kind,
                at=round(begin, 3),
                seconds=round(min(seconds, end - begin), 3),
                share=dice.choice(KINDS[kind].shares),
                detail=dice.choice(KINDS[kind].details),
            )
        )
    return found


def document(publication: Publication, number: int, *, epoch: float) -> str:
    """The body that is published; `epoch` is the Unix time of the plan's beginning."""
    if publication.redrive:
        options: dict[str, dict[str, object]] = {"all": {}, "rejected": {"reason": "rejected"}, "max": {"max": 2}}
        # The number, so that no two bodies are the same: the history knows them by it.
        return json.dumps({"action": "redrive", **options[publication.redrive]}) + " " * number
    if not publication.to:
        return f"poison {number}"
    mail: dict[str, object] = {
        "action": "send",
        "recipient": [f"{name}-{number}-{place}@example.com" for place, name in enumerate(publication.to)],
        "subject": f"mail {number}",
        "body_text": "x\n" * (20_000 if publication.large else 1),
        "headers": {"X-Workload-Id": f"mail-{number}"},
    }
    if publication.key:
        mail["id"] = f"key-{number}" if publication.key == "own" else "key"
    if publication.expires_after:
        expires = datetime.fromtimestamp(int(epoch + publication.at + publication.expires_after), UTC)
        mail["expires_at"] = expires.isoformat()
    return json.dumps(mail)
