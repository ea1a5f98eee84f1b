"""What a scenario expects of its run beside the promises: that its faults did strike, and what they led to.

An expectation looks at the facts of a run and the checker's report, and returns what is wrong, or nothing. Its name is
what the results call it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.faults import Stage
from harness.poison import POISON

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.facts import Facts
    from harness.verdict import Report

SENDING = {Stage.DATA, Stage.DOT, Stage.KEPT}


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """Something that must be so at the end of a run.

    Attributes:
        name: What it is, in words.
        wrong: Given the facts and the checker's report: what is wrong; empty where it is so.
    """

    name: str
    wrong: Callable[[Facts, Report], str]


def faults_struck() -> Expectation:
    """Every fault that must has come and struck, and if there are any faults, one at least. All scenarios expect it."""

    def wrong(facts: Facts, _: Report) -> str:
        ended = {event["name"]: event["struck"] for event in facts.faults if event["event"] == "fault.ended"}
        idle = [event["name"] for event in facts.planned if not ended.get(event["name"])]
        must = {event["name"] for event in facts.planned if event.get("must_strike", True)}
        if must.intersection(idle) or (facts.planned and len(idle) == len(facts.planned)):
            return f"never struck: {', '.join(idle)}"
        return ""

    return Expectation(name="every fault struck", wrong=wrong)


def all_delivered() -> Expectation:
    """Every mail that SNS took was delivered to everybody."""

    def wrong(_: Facts, report: Report) -> str:
        missing = len(report.sets["acknowledged"]) - len(report.sets["delivered"])
        return f"{missing} mails were not" if missing else ""

    return Expectation(name="every mail is delivered", wrong=wrong)


def dead_letters(reason: str, *, share: float = 0.0) -> Expectation:
    """Dead letters carry this reason and no other, and so large a share of the mails came to that, at least one."""

    def wrong(facts: Facts, report: Report) -> str:
        reasons = Counter(letter.attributes.get("failure-reason", "none") for letter in facts.letters)
        others = {name: count for name, count in reasons.items() if name != reason}
        if others:
            return f"other reasons: {others}"
        least = max(1, share * len(report.sets["acknowledged"]))
        return f"{reasons[reason]}, and not {least:.0f} or more" if reasons[reason] < least else ""

    return Expectation(name=f"dead letters say {reason}", wrong=wrong)


def no_dead_letters() -> Expectation:
    """Nothing was given up."""

    def wrong(facts: Facts, _: Report) -> str:
        reasons = Counter(letter.attributes.get("failure-reason", "none") for letter in facts.letters)
        return str(dict(reasons)) if reasons else ""

    return Expectation(name="the dead-letter queue is empty", wrong=wrong)


def attempts_unspent(*, allowed: int = 0) -> Expectation:
    """No attempt was spent but on transactions that the server refused, or cut when the message was on its way.

    Args:
        allowed: So many more: a reply that the server sent just before it cut the connection may be lost on its way.
    """

    def wrong(facts: Facts, _: Report) -> str:
        spent = sum(max(0, int(item.get("attempts", 0)) - 1) for item in facts.ledger.values())
        lost = [each for each in facts.transactions if not each.confirmed]
        disturbed = sum(each.result == "refused" or each.stage in SENDING for each in lost)
        return f"{spent}, and {disturbed} transactions went wrong" if spent > disturbed + allowed else ""

    return Expectation(name="an outage or a deadline costs nobody an attempt", wrong=wrong)


def alarm_fired(name: str = "wake-up") -> Expectation:
    """An alarm went to ALARM at least once: `wake-up` (the input queue's) or `dead letters`."""

    def wrong(facts: Facts, _: Report) -> str:
        return "" if name in facts.alarms else "it never did"

    return Expectation(name=f"the alarm fired: {name}", wrong=wrong)


def refused(*, share: float = 0.0) -> Expectation:
    """The server refused or dropped transactions or recipients: so many a mail published, at least one."""

    def wrong(facts: Facts, report: Report) -> str:
        count = sum(each.result != "accepted" or each.refused > 0 for each in facts.transactions)
        least = max(1, share * len(report.sets["acknowledged"]))
        return f"only {count} of the {least:.0f} or more that there should be" if count < least else ""

    return Expectation(name="the server refused", wrong=wrong)


def repeated() -> Expectation:
    """Mails were published more than once."""

    def wrong(facts: Facts, _: Report) -> str:
        return "" if any(mail.acknowledged > 1 for mail in facts.published.values()) else "none was"

    return Expectation(name="mails were published more than once", wrong=wrong)


def poison_buried() -> Expectation:
    """Bodies that ion must refuse were published, and they, and nothing else, are dead letters."""

    def wrong(facts: Facts, _: Report) -> str:
        poison = {name for name in facts.published if POISON in name}
        buried = {letter.workload for letter in facts.letters}
        if not poison:
            return "none was published"
        missing, good = len(poison - buried), len(buried - poison)
        return f"{missing} are no dead letters, {good} dead letters are good mail" if missing or good else ""

    return Expectation(name="all poison is dead-lettered, and nothing else", wrong=wrong)


def held_up(fault: str) -> Expectation:
    """Mail was waiting while a fault whose name begins so lasted: there was something that it could spoil."""

    def wrong(facts: Facts, _: Report) -> str:
        begun: dict[str, float] = {}
        for event in facts.faults:
            if event["event"] == "fault.started":
                begun[event["name"]] = event["t"]
            elif event["name"].startswith(fault):
                window = (begun[event["name"]], event["t"])
                if any(depth.waiting and window[0] <= depth.at <= window[1] for depth in facts.depths):
                    return ""
        return "none was"

    return Expectation(name=f"mail waited: {fault}", wrong=wrong)


def recovered_within(seconds: float) -> Expectation:
    """The last mail was delivered so soon after the last fault ended."""

    def wrong(facts: Facts, _: Report) -> str:
        healed = max((event["t"] for event in facts.faults if event["event"] == "fault.ended"), default=0.0)
        last = max((each.at for each in facts.transactions if each.result == "accepted"), default=0.0)
        return f"it took {last - healed:.0f} s" if healed and last - healed > seconds else ""

    return Expectation(name=f"all is delivered {seconds:g} s after the last fault", wrong=wrong)


def check(expectations: Sequence[Expectation], facts: Facts, report: Report) -> list[dict[str, str]]:
    """Each expectation's name and what is wrong with it, if anything."""
    found = []
    for expectation in (faults_struck(), *expectations):
        try:
            wrong = expectation.wrong(facts, report)
        except Exception as error:
            wrong = f"cannot be said: {type(error).__name__}: {error}"
        found.append({"name": expectation.name, "wrong": wrong})
    return found
