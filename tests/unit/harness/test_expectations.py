import json

import pytest

from harness import expectations
from harness.checker import check
from harness.expectations import (
    alarm_fired,
    all_delivered,
    attempts_unspent,
    dead_letters,
    held_up,
    no_dead_letters,
    poison_buried,
    recovered_within,
    refused,
    repeated,
)
from harness.facts import Facts
from harness.verdict import Report, Verdict


class Story:
    """The history of a run, event by event."""

    def __init__(self):
        self.events = [{"t": 0.0, "event": "run.started"}]

    def tell(self, event, *, t=1.0, **fields):
        self.events.append({"t": t, "event": event, **fields})
        return self

    def fault(self, name, *, begin=1.0, end=2.0, struck=1, **planned):
        self.tell("fault.planned", t=0.0, name=name, **planned)
        if begin is not None:
            self.tell("fault.started", t=begin, name=name).tell("fault.ended", t=end, name=name, struck=struck)
        return self

    def publish(self, workload, *, times=1):
        body = json.dumps({"action": "send", "recipient": "a@example.com", "id": workload})
        for _ in range(times):
            self.tell("publish.attempted", workload=workload, body=body)
            self.tell("publish.acknowledged", workload=workload)
        return body

    def transact(self, result="accepted", *, t=1.0, **fields):
        details = {"transaction": "1.1", "replied": True, "reply": "", "sender": "", "recipients": []} | fields
        return self.tell("smtp.transaction", t=t, result=result, **details)

    def bury(self, body, reason):
        return self.tell("deadletter", message_id="m", body=body, attributes={"failure-reason": reason})

    def depth(self, waiting, *, t):
        return self.tell("depth", t=t, visible=waiting, in_flight=0, delayed=0, dead=0)

    def wrong(self, expectation, **sets):
        return expectation.wrong(Facts.of(self.events), Report(sets=sets))


@pytest.fixture
def story():
    return Story()


def test_every_fault_has_to_strike(story):
    """One that never came, or came in vain, is named; one that need not strike is excused."""
    story.fault("a").fault("b", struck=0).fault("c", begin=None).fault("d", struck=0, must_strike=False)
    assert story.wrong(expectations.faults_struck()) == "never struck: b, c, d"
    good = Story().fault("a").fault("d", struck=0, must_strike=False)
    assert not good.wrong(expectations.faults_struck())


def test_of_faults_that_need_not_strike_one_has_to(story):
    """A schedule of which nothing struck has proved nothing; a scenario without any faults is another matter."""
    assert story.fault("a", struck=0, must_strike=False).wrong(expectations.faults_struck())
    assert not Story().wrong(expectations.faults_struck())


def test_all_delivered_misses_mails(story):
    """Those that SNS took and that were not delivered are counted."""
    assert story.wrong(all_delivered(), acknowledged=["a", "b"], delivered=["a"]) == "1 mails were not"
    assert not story.wrong(all_delivered(), acknowledged=["a"], delivered=["a"])


def test_dead_letters_have_one_reason(story):
    """Another reason is wrong, and so are too few."""
    assert story.wrong(dead_letters("rejected"), acknowledged=["a"])
    story.bury("x", "rejected")
    assert not story.wrong(dead_letters("rejected", share=0.5), acknowledged=["a", "b"])
    assert story.wrong(dead_letters("rejected", share=0.5), acknowledged=["a"] * 10)
    assert "malformed" in story.bury("y", "malformed").wrong(dead_letters("rejected"), acknowledged=["a"])
    assert story.wrong(no_dead_letters())
    assert not Story().wrong(no_dead_letters())


def test_attempts_spent_in_an_outage_are_counted(story):
    """More than one a mail are allowed as far as transactions were refused, or cut after the message had begun."""
    for number, attempts in enumerate((1, 1, 2, 3)):
        story.tell("ledger", item={"id": str(number), "attempts": attempts})
    story.transact(reply="250 ok").transact("dropped", stage="mail")
    story.transact("dropped", stage="dot").transact("refused", reply="451 no")
    assert story.wrong(attempts_unspent()) == "3, and 2 transactions went wrong"
    assert not story.wrong(attempts_unspent(allowed=1))


def test_an_alarm_has_to_have_fired(story):
    """The one that is meant, and not only changed its state."""
    story.tell("alarm", name="wake-up", state="OK").tell("alarm", name="dead letters", state="ALARM")
    assert story.wrong(alarm_fired())
    assert not story.wrong(alarm_fired("dead letters"))


def test_refusals_are_transactions_refused_in_whole_or_in_part(story):
    """So many a mail, one at least."""
    story.transact()
    assert story.wrong(refused(), acknowledged=["a"])
    story.transact("dropped").transact(refused=["b@example.com"])
    assert not story.wrong(refused(share=0.2), acknowledged=["a"] * 10)
    assert story.wrong(refused(share=0.3), acknowledged=["a"] * 10)


def test_mails_have_to_be_repeated(story):
    """One mail that SNS took twice."""
    story.publish("a")
    assert story.wrong(repeated())
    story.publish("b", times=2)
    assert not story.wrong(repeated())


def test_poison_and_nothing_else_is_dead(story):
    """Poison that is no dead letter is wrong, and so is a good mail that is one."""
    assert story.wrong(poison_buried()) == "none was published"
    bad, good = story.publish("r-poison-1"), story.publish("good")
    assert story.wrong(poison_buried()).startswith("1 are no dead letters")
    story.bury(bad, "malformed")
    assert not story.wrong(poison_buried())
    assert story.bury(good, "malformed").wrong(poison_buried()).endswith("1 dead letters are good mail")


def test_mail_has_to_wait_while_a_fault_lasts(story):
    """A server that is down while nobody wants it proves nothing."""
    story.fault("server down", begin=10.0, end=20.0).depth(5, t=9.0).depth(0, t=15.0).depth(5, t=21.0)
    assert story.wrong(held_up("server down"))
    assert not story.depth(1, t=19.0).wrong(held_up("server down"))


def test_recovery_is_the_time_from_the_last_fault_to_the_last_mail(story):
    """No more than so many seconds."""
    story.fault("a", end=10.0).transact(t=25.0)
    assert story.wrong(recovered_within(14)) == "it took 15 s"
    assert not story.wrong(recovered_within(15))


def test_an_expectation_that_cannot_be_checked_is_not_met(story):
    """A fault of the expectation's own never passes for a success."""
    broken = expectations.Expectation(name="x", wrong=lambda *_: 1 / 0)
    [_, found] = expectations.check([broken], Facts.of(story.events), Report())
    assert found == {"name": "x", "wrong": "cannot be said: ZeroDivisionError: division by zero"}


@pytest.mark.parametrize(
    ("struck", "fired", "verdict"), [(1, True, "valid"), (0, True, "unknown"), (0, False, "invalid")]
)
def test_expectations_are_part_of_the_verdict(story, struck, fired, verdict):
    """A fault that never struck leaves all open; what did not happen as expected is a broken promise."""
    story.fault("a", struck=struck).depth(0, t=5.0)
    body = json.dumps({"action": "send", "recipient": "a@example.com"})
    story.tell("publish.attempted", workload="w", body=body).tell("publish.acknowledged", workload="w")
    story.transact(recipients=["a@example.com"], workload="w", reply="250 ok", sender="ion@example.com")
    story.tell("run.finished", reason="drained")
    if fired:
        story.tell("alarm", name="wake-up", state="ALARM")
    report = check(story.events, lambda _: b"", expect=[alarm_fired()])
    assert report.verdict == Verdict(verdict), (report.breaches, report.doubts)
    assert [each["name"] for each in report.expectations] == ["every fault struck", "the alarm fired: wake-up"]
