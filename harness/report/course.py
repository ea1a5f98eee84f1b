"""What went on over time, as the pictures draw it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from harness.results import when

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from harness.facts import Depth, Facts
    from harness.history import Event

# What the ledger's attempt log calls a send that is to be tried again, and one of which nobody knows how it ended.
DEFERRED = frozenset({"deferred", "turned-away", "ambiguous", "abandoned"})
AMBIGUOUS = frozenset({"ambiguous", "abandoned"})
# Of a fault's plan, what its name and its time say already, and what is told deed by deed.
_SAID = frozenset({"t", "event", "name", "kind", "start", "after", "seconds", "heals", "must_strike", "does", "rules"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A fault while it lasted.

    Attributes:
        name: Its name.
        began: From when.
        ended: Until when; the run's end where no event ends it.
        detail: What it does, as it was planned.
        struck: How often it has struck, where an event says so.
        healed: Whether an event ends it.
    """

    name: str
    began: float
    ended: float
    detail: str = ""
    struck: int | None = None
    healed: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """A delivered mail.

    Attributes:
        workload: Its X-Workload-Id.
        at: When it was first published, or tried to be.
        seconds: From then until the server first took it.
        kind: `straight`, `retried` (or redriven), or `ambiguous` where a send ended without anybody knowing how.
    """

    workload: str
    at: float
    seconds: float
    kind: str


@dataclass(frozen=True, kw_only=True)
class Course:
    """A run over time; times are Unix seconds, in order.

    Attributes:
        began: The beginning.
        ended: The end.
        published: When SNS took a mail.
        delivered: When the server took one.
        deferred: When a send came to nothing for the time being.
        dead: When a mail was dead-lettered.
        depths: The queues.
        windows: The faults.
        alarms: When which alarm stood at ALARM.
        kills: When the function was killed, by the fault that did it.
        arrivals: The delivered mails in the order of their publishing.
    """

    began: float
    ended: float
    published: Sequence[float]
    delivered: Sequence[float]
    deferred: Sequence[float]
    dead: Sequence[float]
    depths: Sequence[Depth]
    windows: Sequence[Window]
    alarms: Sequence[Window]
    kills: Mapping[str, Sequence[float]]
    arrivals: Sequence[Arrival]

    @classmethod
    def of(cls, facts: Facts, events: Sequence[Event], lines: Iterable[Event]) -> Self:
        """From a run's history and the function's log lines."""
        published = [float(event["t"]) for event in events if event.get("event") == "publish.acknowledged"]
        delivered = [each.at for each in facts.transactions if each.result == "accepted"]
        told = {True: list[float](), False: list[float]()}  # dead-lettered or deferred, as the log has it
        for line in lines:
            if line.get("stage") == "dead-lettered" or line.get("result") in DEFERRED:
                told[line.get("stage") == "dead-lettered"].append(when(line))
        # A log may be missing; what the ledger and the queue held at the end says the same, redrives apart.
        dead = told[True] or [when({"timestamp": each.attributes.get("failed-at")}) for each in facts.letters]
        deferred = told[False] or [
            float(attempt["at"])
            for item in facts.ledger.values()
            for attempt in item.get("log", ())
            if attempt["result"] in DEFERRED
        ]
        times = [*published, *delivered, *(each.at for each in facts.depths), *(each["t"] for each in facts.faults)]
        times += [mail.began for mail in facts.published.values()]
        times += [each["t"] for each in (facts.started, facts.finished) if each]
        kills: dict[str, list[float]] = defaultdict(list)
        for event in events:
            if event.get("event") == "function.killed":
                kills[str(event.get("fault", ""))].append(float(event["t"]))
        began = float(facts.started.get("t", min(times, default=0.0)))
        ended = max(float(facts.finished.get("t", 0.0)), *times, began + 1.0)
        return cls(
            began=began,
            ended=ended,
            published=sorted(published),
            delivered=sorted(delivered),
            deferred=sorted(at for at in deferred if at),
            dead=sorted(at for at in dead if at),
            depths=facts.depths,
            windows=list(_windows(facts.faults, facts.planned, ended)),
            alarms=sorted(_alarms(events, ended), key=lambda each: each.began),
            kills=kills,
            arrivals=sorted(_arrivals(facts), key=lambda each: each.at),
        )

    @property
    def shade(self) -> list[tuple[float, float]]:
        """When there was a fault, of whatever name: from when until when."""
        found: list[tuple[float, float]] = []
        for each in sorted(self.windows, key=lambda window: window.began):
            if found and each.began <= found[-1][1]:
                found[-1] = (found[-1][0], max(found[-1][1], each.ended))
            else:
                found.append((each.began, each.ended))
        return found


def _windows(events: Iterable[Event], planned: Iterable[Event], end: float) -> Iterator[Window]:
    """Each fault from its beginning to its end; of several of one name, the one that began first ends first."""
    plans = {str(event.get("name", "fault")): event for event in planned}
    begun: dict[str, list[Event]] = defaultdict(list)
    found = []
    for event in events:
        name = str(event.get("name", "fault"))
        if event["event"] == "fault.started":
            begun[name].append(event)
        elif begun[name]:
            found.append((begun[name].pop(0), event))
    found += [(event, {}) for rest in begun.values() for event in rest]
    for start, stop in sorted(found, key=lambda pair: float(pair[0]["t"])):
        name = str(start.get("name", "fault"))
        yield Window(
            name=name,
            began=float(start["t"]),
            ended=float(stop.get("t", end)),
            detail=_does(plans.get(name, {})),
            struck=stop.get("struck"),
            healed=bool(stop),
        )


def _does(plan: Event) -> str:
    """What a fault does, in words: `at mail, rcpt: reply: 451 later, share: 0.2; at dot: ...`."""
    rest = {name: value for name, value in plan.items() if name not in _SAID}
    said = [plain(rest)] if rest else []
    for deed in [*plan.get("does", ()), *plan.get("rules", ())]:
        where = f"at {plain(deed['stages'])}: " if "stages" in deed else ""
        said.append(where + plain({name: value for name, value in deed.items() if name != "stages"}))
    return "; ".join(said)


def _alarms(events: Iterable[Event], end: float) -> Iterator[Window]:
    since: dict[str, float] = {}
    for event in events:
        if event.get("event") == "alarm":
            name = str(event["name"])
            if event["state"] == "ALARM":
                since.setdefault(name, float(event["t"]))
            elif name in since:
                yield Window(name=name, began=since.pop(name), ended=float(event["t"]), healed=True)
    for name, began in since.items():
        yield Window(name=name, began=began, ended=end, healed=False)


def _arrivals(facts: Facts) -> Iterator[Arrival]:
    results = {workload: {attempt["result"] for attempt in log} for workload, log in attempts(facts).items()}
    redriven = {facts.ids.get(name) for name, item in facts.ledger.items() if int(item.get("generation", 0))}
    for workload, transactions in facts.accepted.items():
        if workload not in facts.published:
            continue
        seen = results.get(workload, set[str]())
        first = min(each.at for each in transactions)
        began = facts.published[workload].began
        if seen & AMBIGUOUS or not all(each.confirmed for each in transactions):
            kind = "ambiguous"
        else:
            kind = "retried" if seen & DEFERRED or workload in redriven else "straight"
        yield Arrival(workload=workload, at=began, seconds=max(0.0, first - began), kind=kind)


def attempts(facts: Facts) -> dict[str, list[dict[str, Any]]]:
    """The ledger's attempt log of each mail that it can be told of."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for name, item in facts.ledger.items():
        if name in facts.ids:
            found[facts.ids[name]] += item.get("log", ())
    return found


def plain(value: Any) -> str:
    """Fields in words: `share: 0.5, recipients: a, b`."""
    match value:
        case dict():
            return ", ".join(f"{name.replace('_', ' ')}: {plain(each)}" for name, each in value.items())
        case list():
            return ", ".join(plain(each) for each in value)
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case None:
            return "none"
    return str(value)
