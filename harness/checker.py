"""Whether a run kept ion's promises: a pure function of its history and of the mail that it captured.

What went in must come out: each mail that SNS took ends delivered, dead-lettered with a reason, or still pending;
nothing else comes out; nothing comes out twice or changed. A verdict is valid, invalid or unknown. A broken promise
outweighs a doubt, a doubt outweighs all that went well, and a run in which nothing was delivered proves nothing.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from harness import content, expectations
from harness.errors import HarnessError
from harness.facts import ALL, Facts, Letter, Publication, Transaction
from harness.verdict import Breach, Promise, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from harness.expectations import Expectation
    from harness.history import Event

# What the ledger calls an attempt of which nobody knows whether the server took the mail.
AMBIGUOUS, ABANDONED = "ambiguous", "abandoned"
# The sink writes a transaction down a moment before the function knows of its end, or after.
SKEW_SECONDS = 1.0


def check(events: Iterable[Event], read_mail: Callable[[str], bytes], *, expect: Sequence[Expectation] = ()) -> Report:
    """Check a run. Never raises: a checker that crashes knows nothing.

    Args:
        events: The history.
        read_mail: The bytes of a captured mail, by its Maildir key; raises HarnessError where there is none.
        expect: What must be so beside the promises.
    """
    report = Report()
    try:
        facts = Facts.of(events)
        _doubt(facts, report)
        _conserve(facts, report)
        _once(facts, report)
        _compare(facts, report, read_mail)
        _reason(facts, report)
        _live(facts, report)
        _expect(facts, report, expect)
        if not report.sets["delivered"]:
            report.doubts.append("nothing was delivered, so nothing is proved")
    except Exception as error:
        report.doubts.append(f"the checker failed: {type(error).__name__}: {error}")
    return report


def _doubt(facts: Facts, report: Report) -> None:
    if not facts.finished:
        report.doubts.append("the run did not end: it was killed, or still goes on")
    elif facts.finished["reason"] != "drained":
        report.doubts.append(f"the run ended before the queue was empty: {facts.finished['reason']}")
        if facts.finished.get("unfinished"):
            report.doubts.append(f"faults still to come or to end: {', '.join(facts.finished['unfinished'])}")
    report.doubts += [f"the sink failed: {trouble}" for trouble in facts.troubles]


def _breach(report: Report, promise: Promise, what: str, mails: Mapping[str, str]) -> None:
    if mails:
        report.breaches.append(Breach(promise=promise, what=what, mails=dict(mails)))


def _conserve(facts: Facts, report: Report) -> None:
    """Sort each mail into its set, and find what came out that did not go in."""
    names = ("attempted", "acknowledged", "delivered", "dead_lettered", "pending", "lost", "unexpected")
    sets = report.sets = {name: list[str]() for name in names}
    letters: dict[str, list[Letter]] = defaultdict(list)
    for letter in facts.letters:
        letters[letter.workload].append(letter)
    open_mails: dict[str, str] = {}
    for workload, mail in facts.published.items():
        if mail.control:
            continue
        sets["attempted"].append(workload)
        if mail.acknowledged:
            sets["acknowledged"].append(workload)
        missing = _missing(mail, facts.accepted.get(workload, []), letters[workload])
        if missing:
            open_mails[workload] = f"neither delivered to nor dead-lettered for {', '.join(missing)}"
        elif letters[workload]:
            sets["dead_lettered"].append(workload)
        elif workload in facts.accepted:
            sets["delivered"].append(workload)
    sets["pending"], sets["lost"] = _sort_open(facts, open_mails)
    if sets["pending"]:
        report.doubts.append(f"{len(sets['pending'])} mails are still pending")
    _breach(report, Promise.CONSERVATION, "lost", {each: open_mails[each] for each in sets["lost"]})
    _breach(report, Promise.CONSERVATION, "delivered, and dead-lettered too", _both(facts, letters))
    unexpected = _unexpected(facts)
    sets["unexpected"] = list(unexpected)
    _breach(report, Promise.CONSERVATION, "sent, but not published so", unexpected)
    foreign = {letter.message_id: "a body that nobody published" for letter in letters[""]}
    _breach(report, Promise.CONSERVATION, "dead-lettered, but not published", foreign)


def _missing(mail: Publication, accepted: list[Transaction], letters: list[Letter]) -> list[str]:
    """The recipients who have neither got all copies that SNS took nor are named by a dead letter."""
    if not mail.recipients:  # poison: no one can get it
        return ["anybody"] if mail.acknowledged and not letters else []
    got = Counter(recipient for each in accepted for recipient in set(each.recipients))
    for letter in letters:
        got.update(mail.recipients if letter.recipients is ALL else letter.recipients)
    # What has shown up at all was taken by SNS, whatever the publisher heard.
    owed = max(mail.least, 1 if accepted or letters else 0)
    return sorted(recipient for recipient in mail.recipients if got[recipient] < owed)


def _both(facts: Facts, letters: Mapping[str, list[Letter]]) -> dict[str, str]:
    """Who has got a mail, as ion was told, and is named by its dead letter all the same."""
    found = {}
    for workload, mail in facts.published.items():
        if letters[workload] and mail.most == 1:  # of several copies one may have failed
            accepted = facts.accepted.get(workload, [])
            got = {recipient for each in accepted if _heard_of(facts, each) for recipient in each.recipients}
            current = [letter.recipients for letter in letters[workload] if not _answered(facts, letter)]
            named = got & frozenset().union(*current)
            if named:
                found[workload] = f"{', '.join(sorted(named))} got it"
    return found


def _heard_of(facts: Facts, sent: Transaction) -> bool:
    """Whether ion knew that a send had succeeded, which it may never learn (RFC 1047).

    The sink has sent its reply, and the attempt that the ledger has down for it is not one whose end nobody knows.
    """
    log = facts.sent_as.get(sent.message_id, {}).get("log", ())
    result = next((line["result"] for line in log if line["at"] >= sent.began), "")
    return sent.confirmed and result not in {AMBIGUOUS, ABANDONED}


def _answered(facts: Facts, letter: Letter) -> bool:
    """Whether the mail has been redriven from another letter of the same failure.

    SQS may take a letter and lose its answer, and a redrive may die before it deletes one: then there are two.
    """
    item = facts.ledger.get(letter.attributes.get("ion-id", ""), {})
    return int(item.get("generation", 0)) > int(letter.attributes.get("ion-redrives", 0))


def _sort_open(facts: Facts, open_mails: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """What neither came out nor was dead-lettered: pending as far as the queues can hold it, and lost beyond that.

    Which ones a queue still holds is not known; those that the ledger has down as waiting come first.
    """
    if not facts.depths or not facts.finished or facts.finished["reason"] == "interrupted":
        return list(open_mails), []
    waiting = [item for item in facts.ledger.values() if item.get("status") in {"sending", "deferred"}]
    known = {item.get(name, "") for item in waiting for name in ("id", "message_id")}

    def waits(workload: str) -> bool:
        document = facts.published[workload].document or {}
        sent_as = {each.message_id for each in facts.accepted.get(workload, [])}
        return document.get("id") in known or bool(sent_as & known)

    order = sorted(open_mails, key=lambda workload: not waits(workload))
    hidden = max(0, facts.depths[-1].dead - len(facts.letters))  # dead letters that could not be read
    held = facts.depths[-1].waiting + hidden
    return order[:held], order[held:]


def _unexpected(facts: Facts) -> dict[str, str]:
    found: dict[str, str] = {}
    for workload, transactions in facts.accepted.items():
        mail = facts.published.get(workload)
        if mail is None:
            found[workload or f"transaction {transactions[0].number}"] = "a mail that is not of this workload"
        elif not mail.most:
            found[workload] = "SNS refused it each time, and yet it was sent"
        else:
            strangers = {recipient for each in transactions for recipient in each.recipients} - mail.recipients
            if strangers:
                found[workload] = f"sent to {', '.join(sorted(strangers))}, whom the document does not name"
    return found


def _once(facts: Facts, report: Report) -> None:
    """Find the copies too many, mail by mail and recipient by recipient.

    Copies of one Message-ID are one mail sent again; copies under different ones are different mails to their reader.
    """
    twice: dict[str, str] = {}
    for workload, transactions in facts.accepted.items():
        copies: dict[str, dict[str, list[Transaction]]] = defaultdict(lambda: defaultdict(list))
        for each in transactions:
            for recipient in each.recipients:
                report.deliveries += 1
                copies[recipient][each.message_id].append(each)
        most = facts.published[workload].most if workload in facts.published else 1
        plain = 0
        for sent_as in copies.values():
            excused = sum(
                _uncertain(facts, earlier, later)
                for same in sent_as.values()
                for earlier, later in itertools.pairwise(same)
            )
            repeated = sum(len(same) - 1 for same in sent_as.values())
            report.ambiguous += excused
            plain += repeated - excused + max(0, len(sent_as) - max(1, most))
        if plain:
            report.duplicates += plain
            twice[workload] = f"{plain} copies too many reached {_names(copies)}"
    report.sets["sent_again"] = list(twice)
    if twice and facts.cut_short and not facts.ledger:
        report.doubts.append("without the ledger nobody can say which copies were sent for want of an answer")
        return
    _breach(report, Promise.ONCE, "sent again although the earlier send was known to have succeeded", twice)


def _names(copies: Mapping[str, Mapping[str, list[Transaction]]]) -> str:
    return ", ".join(name for name, sent_as in copies.items() if sum(map(len, sent_as.values())) > 1)


def _uncertain(facts: Facts, earlier: Transaction, later: Transaction) -> bool:
    """Whether nobody could know, before the later send, that the earlier one had succeeded (RFC 1047).

    Either the sink knows that it never sent its reply, or the ledger has, in between, an attempt down as ambiguous or
    as abandoned by a worker that ended without a word. What says so before a send could have ended is no excuse: no
    lease runs out that soon, so the mail was taken out of a living worker's hands.
    """
    if not earlier.confirmed:
        return True
    item = facts.sent_as.get(earlier.message_id, {})
    soonest = {AMBIGUOUS: earlier.at, ABANDONED: max(earlier.at, earlier.began + facts.send_seconds)}
    return any(
        line["result"] in soonest and soonest[line["result"]] - SKEW_SECONDS <= line["at"] <= later.at + SKEW_SECONDS
        for line in item.get("log", ())
    )


def _compare(facts: Facts, report: Report, read_mail: Callable[[str], bytes]) -> None:
    """Compare each captured mail with the document that it was published as."""
    sender = facts.started.get("default_sender", "")
    changed: dict[str, str] = {}
    leaked: dict[str, str] = {}
    for workload, transactions in facts.accepted.items():
        mail = facts.published.get(workload)
        if mail is None or mail.document is None or not mail.recipients:
            continue  # unexpected, and reported as such
        found = _resent_differently(transactions)
        hidden: list[str] = []
        for each in {each.sha256: each for each in transactions if each.key}.values():
            try:
                message = read_mail(each.key)
            except HarnessError as error:
                report.doubts.append(str(error))
                continue
            if hashlib.sha256(message).hexdigest() != each.sha256:
                report.doubts.append(f"mail {each.key} is not what the sink wrote: something has changed the file")
                continue
            found += content.differences(mail.document, message, default_sender=sender)
            if content.mailbox(each.sender) != content.mailbox(mail.document.get("sender", sender)):
                found.append(f"envelope sender: found {each.sender}")
            hidden += content.leaks(mail.document, message)
        if found:
            changed[workload] = "; ".join(found)
        if hidden:
            leaked[workload] = f"in the header for everybody to read: bcc to {', '.join(hidden)}"
    report.sets |= {"changed": list(changed), "leaked": list(leaked)}
    _breach(report, Promise.CONTENT, "arrived changed", changed)
    _breach(report, Promise.CONTENT, "a bcc address leaked", leaked)


def _resent_differently(transactions: list[Transaction]) -> list[str]:
    """What is sent again under one Message-ID must be the same, byte for byte."""
    hashes: dict[str, set[str]] = defaultdict(set)
    for each in transactions:
        hashes[each.message_id].add(each.sha256)
    return [f"sent again as {name} with other bytes" for name, found in hashes.items() if len(found) > 1]


def _reason(facts: Facts, report: Report) -> None:
    """Every dead letter says why, in a code and in words, and so does the ledger."""
    silent: dict[str, str] = {}
    for letter in facts.letters:
        lacking = [name for name in ("failure-reason", "failure-detail") if not letter.attributes.get(name)]
        item = facts.ledger.get(letter.attributes.get("ion-id", ""))
        if facts.ledger and not lacking and not (item and item.get("reason")) and not _answered(facts, letter):
            lacking = ["a reason in the ledger"]
        if lacking:
            silent[letter.workload or letter.message_id] = f"the dead letter lacks {' and '.join(lacking)}"
    report.sets["without_reason"] = list(silent)
    _breach(report, Promise.REASON, "dead-lettered without a reason", silent)


def _expect(facts: Facts, report: Report, expect: Sequence[Expectation]) -> None:
    """A run whose faults never struck has proved nothing; one that went otherwise than expected is wrong."""
    report.expectations = expectations.check(expect, facts, report)
    struck, *others = report.expectations
    if struck["wrong"]:
        report.doubts.append(f"{struck['name']}: {struck['wrong']}")
    missed = {each["name"]: each["wrong"] for each in others if each["wrong"]}
    if facts.cut_short:  # what is missing might have come yet
        report.doubts += [f"{name}: {what}" for name, what in missed.items()]
    else:
        _breach(report, Promise.EXPECTATION, "not as expected", missed)


def _live(facts: Facts, report: Report) -> None:
    """A run that waits in vain, with messages visible and every fault healed, shows that nothing wakes the function."""
    stalled = facts.finished.get("reason") == "stalled" and not facts.finished.get("unfinished")
    if stalled and facts.depths and facts.depths[-1].visible:
        last = facts.depths[-1]
        text = f"{last.visible} messages are visible, and nothing has moved for {facts.finished['stalled_seconds']:g} s"
        _breach(report, Promise.LIVENESS, "nothing wakes the function", {"queue": text})
