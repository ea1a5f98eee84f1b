import hashlib
import json

import pytest

from harness import checker
from harness.errors import RunError
from harness.expectations import alarm_fired
from harness.verdict import Promise, Verdict

SENDER = "ion@example.com"
TO = "ann@example.com"


class Story:
    """A hand-made history of one mail after the other, each good unless it is told otherwise."""

    def __init__(self, *, reason="drained", **finished):
        self.events = [{"t": 0.0, "event": "run.started", "default_sender": SENDER}]
        self.finished = {"reason": reason, **finished}
        self.mails = {}
        self.clock = 0.0
        self.depth = {"visible": 0, "in_flight": 0, "delayed": 0, "dead": 0}

    def tell(self, event, **fields):
        """One more event, a second later."""
        self.clock += 1
        self.events.append({"t": self.clock, "event": event, **fields})

    def publish(self, workload="w-1", *, outcomes=("acknowledged",), **fields):
        """A mail is published, with what came of each attempt."""
        document = {"action": "send", "recipient": TO, "subject": "Hi", "body_text": "Hello"}
        body = json.dumps(document | {"headers": {"X-Workload-Id": workload}} | fields)
        for outcome in outcomes:
            self.tell("publish.attempted", workload=workload, attempt=1, body=body)
            self.tell(f"publish.{outcome}", workload=workload, attempt=1)
        return body

    def accept(self, workload="w-1", *recipients, replied=True, message_id="<1@ion>", message=None, **changes):
        """The sink accepts a mail."""
        message = mail(workload, message_id=message_id, **changes) if message is None else message
        key = f"key-{len(self.mails)}"
        self.mails[key] = message
        self.tell(
            "smtp.transaction",
            transaction=f"1.{len(self.mails)}",
            result="accepted",
            replied=replied,
            reply="250 ok" if replied else "",
            sender=SENDER,
            recipients=recipients or [TO],
            workload=workload,
            message_id=message_id,
            key=key,
            sha256=hashlib.sha256(message).hexdigest(),
        )

    def bury(self, body, **attributes):
        """A message is in the dead-letter queue."""
        reasons = {"failure-reason": "rejected", "failure-detail": "550 no such user"}
        attributes = {name.replace("_", "-"): value for name, value in attributes.items()}
        self.tell("deadletter", message_id="m-1", body=body, attributes=reasons | attributes)

    def check(self):
        """What the checker says, the run's end included."""
        self.tell("depth", **self.depth)
        self.tell("run.finished", **self.finished)
        return checker.check(self.events, self.mails.__getitem__)


def mail(workload, *, message_id="<1@ion>", to=TO, subject="Hi", text="Hello", extra=""):
    return (
        f"From: {SENDER}\r\nTo: {to}\r\nSubject: {subject}\r\nDate: Thu, 1 Jan 1970 00:00:00 +0000\r\n"
        f"Message-ID: {message_id}\r\nX-Workload-Id: {workload}\r\n{extra}MIME-Version: 1.0\r\n"
        f"Content-Type: text/plain\r\n\r\n{text}\r\n"
    ).encode()


@pytest.fixture
def story():
    """A story to be continued, in which one good mail has been delivered already."""
    made = Story()
    made.publish("good")
    made.accept("good", message_id="<0@ion>")
    return made


def promises(report):
    return {breach.promise: breach for breach in report.breaches}


def test_a_good_run_is_valid(story):
    """Everything published has arrived once and unchanged."""
    report = story.check()
    assert report.verdict is Verdict.VALID
    assert report.summary == "valid: 1 published, 1 delivered, 0 lost, 0 duplicated"


def test_a_lost_mail_is_found(story):
    """SNS took it, and it is nowhere."""
    story.publish()
    report = story.check()
    assert report.verdict is Verdict.INVALID
    assert report.sets["lost"] == ["w-1"]
    assert "ann@example.com" in promises(report)[Promise.CONSERVATION].mails["w-1"]


def test_a_lost_recipient_is_found(story):
    """One of two recipients got nothing: the mail is lost, and the evidence names her."""
    story.publish(recipient=[TO, "bob@example.com"])
    story.accept(to=f"{TO}, bob@example.com")
    report = story.check()
    assert report.sets["lost"] == ["w-1"]
    assert "bob@example.com" in promises(report)[Promise.CONSERVATION].mails["w-1"]


def test_a_mail_that_sns_never_took_is_not_owed(story):
    """A publish that failed for good, or of which nobody knows, may be missing."""
    story.publish("w-1", outcomes=["failed", "failed"])
    story.publish("w-2", outcomes=["unknown"])
    report = story.check()
    assert report.verdict is Verdict.VALID
    assert report.counts["attempted"] == 3
    assert report.counts["acknowledged"] == 1


def test_what_has_shown_up_is_owed_to_everybody(story):
    """Nobody knows whether SNS took it, until one of two recipients has it: then the other is owed it, too."""
    story.publish(recipient=[TO, "bob@example.com"], outcomes=["unknown"])
    story.accept(to=f"{TO}, bob@example.com")
    assert story.check().sets["lost"] == ["w-1"]


def test_a_phantom_is_found(story):
    """A mail that nobody published is unexpected."""
    story.accept("from-nowhere")
    report = story.check()
    assert report.sets["unexpected"] == ["from-nowhere"]
    assert Promise.CONSERVATION in promises(report)


def test_a_mail_that_sns_refused_and_that_was_sent_is_a_phantom(story):
    """What was never taken cannot arrive."""
    story.publish(outcomes=["failed"])
    story.accept()
    assert story.check().sets["unexpected"] == ["w-1"]


def test_a_recipient_whom_nobody_named_is_found(story):
    """A mail that reaches a stranger is as bad as a phantom."""
    story.publish()
    story.accept("w-1", TO, "mallory@example.com")
    report = story.check()
    assert report.sets["unexpected"] == ["w-1"]
    assert "mallory@example.com" in promises(report)[Promise.CONSERVATION].mails["w-1"]


def test_a_duplicate_is_found(story):
    """The same recipient accepted twice, the first time with a reply, is a plain duplicate."""
    story.publish()
    story.accept()
    story.accept()
    report = story.check()
    assert report.verdict is Verdict.INVALID
    assert report.duplicates == 1
    assert report.sets["sent_again"] == ["w-1"]


def test_a_duplicate_after_a_lost_reply_is_counted_apart(story):
    """The sink never sent its reply, so ion could not know: ambiguous, and no breach."""
    story.publish()
    story.accept(replied=False)
    story.accept()
    report = story.check()
    assert report.verdict is Verdict.VALID
    assert (report.duplicates, report.ambiguous) == (0, 1)
    assert report.summary.endswith("0 duplicated, 1 ambiguous")


@pytest.mark.parametrize("result", ["ambiguous", "abandoned"])
def test_a_duplicate_that_the_ledger_knows_as_ambiguous_is_counted_apart(story, result):
    """The ledger has an attempt between the two of which nobody knows how it ended."""
    story.publish()
    story.accept()
    between = story.clock + 0.5
    story.accept()
    log = [{"at": between, "result": result}]
    story.tell("ledger", item={"id": "m", "status": "delivered", "message_id": "<1@ion>", "log": log})
    report = story.check()
    assert report.verdict is Verdict.VALID
    assert (report.duplicates, report.ambiguous) == (0, 1)


@pytest.mark.parametrize(("timeout", "verdict"), [("1", Verdict.VALID), ("30", Verdict.INVALID)])
def test_a_mail_taken_from_a_living_worker_was_not_abandoned(story, timeout, verdict):
    """A lease outlasts a send: what the ledger calls abandoned sooner is no excuse for a second copy."""
    story.events[0]["settings"] = {"smtp.transaction_timeout_seconds": timeout}
    story.publish()
    story.accept()
    log = [{"at": story.clock + 0.5, "result": "abandoned"}]
    story.accept()
    story.tell("ledger", item={"id": "m", "status": "delivered", "message_id": "<1@ion>", "log": log})
    assert story.check().verdict is verdict


def test_an_ambiguity_before_both_sends_excuses_nothing(story):
    """The ledger's doubt was about an attempt before the first of the two."""
    story.publish()
    before = story.clock - 5
    story.accept()
    story.accept()
    log = [{"at": before, "result": "ambiguous"}]
    story.tell("ledger", item={"id": "m", "status": "delivered", "message_id": "<1@ion>", "log": log})
    assert story.check().duplicates == 1


def test_an_older_ambiguity_excuses_no_later_duplicate(story):
    """An excuse counts between the two sends only; a third copy needs one of its own."""
    story.publish()
    story.accept(replied=False)
    story.accept()
    story.clock += 10
    story.accept()
    report = story.check()
    assert report.verdict is Verdict.INVALID
    assert (report.duplicates, report.ambiguous) == (1, 1)


def test_a_resend_under_another_message_id_is_a_duplicate(story):
    """To its reader it is another mail, so even a lost reply does not excuse it."""
    story.publish()
    story.accept(replied=False, message_id="<1@ion>")
    story.accept(message_id="<2@ion>")
    assert story.check().duplicates == 1


def test_a_mail_published_twice_without_an_id_is_two_mails(story):
    """Without an idempotency key nobody can know a repeat from a second mail."""
    story.publish(outcomes=["unknown", "acknowledged"])
    story.accept(message_id="<1@ion>")
    story.accept(message_id="<2@ion>")
    assert story.check().verdict is Verdict.VALID


def test_a_mail_published_twice_with_an_id_is_one(story):
    """With an idempotency key a repeat must not be sent."""
    story.publish(outcomes=["unknown", "acknowledged"], id="order-1")
    story.accept(message_id="<1@ion>")
    story.accept(message_id="<2@ion>")
    assert story.check().duplicates == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"text": "Hullo"}, "text"),
        ({"subject": "Ho"}, "subject"),
        ({"to": "bob@example.com"}, "to"),
        ({"extra": "Reply-To: eve@example.com\r\n"}, "reply_to"),
        ({"extra": "X-Injected: yes\r\n"}, "headers"),
    ],
)
def test_a_changed_mail_is_found(story, change, named):
    """Whatever differs from what was published is named."""
    story.publish()
    story.accept(**change)
    report = story.check()
    assert report.sets["changed"] == ["w-1"]
    assert promises(report)[Promise.CONTENT].mails["w-1"].startswith(f"{named}: expected")


def test_a_missing_attachment_is_found(story):
    """An attachment that was published and did not arrive is a changed mail."""
    story.publish(attachments=[{"filename": "a.txt", "content_type": "text/plain", "content_base64": "aGk="}])
    story.accept()
    assert "files" in promises(story.check())[Promise.CONTENT].mails["w-1"]


def test_a_leaked_bcc_is_found(story):
    """A bcc address in any header is a leak, whatever the header's name."""
    story.publish(
        bcc="Carl <carl@example.com>", headers={"X-Workload-Id": "w-1", "X-Note": "=?utf-8?q?carl=40example.com?="}
    )
    story.accept("w-1", TO, "carl@example.com", extra="X-Note: =?utf-8?q?carl=40example.com?=\r\n")
    report = story.check()
    assert report.sets["leaked"] == ["w-1"]
    assert "carl@example.com" in promises(report)[Promise.CONTENT].mails["w-1"]


def test_a_resend_with_other_bytes_is_found(story):
    """A resend is the same mail byte for byte."""
    story.publish()
    story.accept(replied=False)
    story.accept(extra="Content-Transfer-Encoding: 7bit\r\n")
    assert story.check().sets["changed"] == ["w-1"]


def test_a_dead_letter_with_a_reason_is_an_end(story):
    """Dead-lettered by name for one recipient and delivered to the other: everybody is accounted for."""
    body = story.publish(recipient=[TO, "bob@example.com"])
    story.accept(to=f"{TO}, bob@example.com")
    story.bury(body, failed_recipients="bob@example.com")
    report = story.check()
    assert report.verdict is Verdict.VALID
    assert report.sets["dead_lettered"] == ["w-1"]


def test_a_dead_letter_whose_list_of_recipients_was_cut_stands_for_all(story):
    """Message attributes have no room for fifty long addresses."""
    body = story.publish(recipient=[TO, "bob@example.com"])
    story.bury(body, failed_recipients=f"{TO}, bob@exa...")
    assert story.check().verdict is Verdict.VALID


@pytest.mark.parametrize("lacking", ["failure-reason", "failure-detail"])
def test_a_dead_letter_without_a_reason_is_found(story, lacking):
    """A dead letter says why, in a code and in words."""
    story.bury(story.publish(), **{lacking: ""})
    assert lacking in promises(story.check())[Promise.REASON].mails["w-1"]


def test_a_dead_letter_without_a_reason_in_the_ledger_is_found(story):
    """The ledger says why, too."""
    story.bury(story.publish(), ion_id="m")
    story.tell("ledger", item={"id": "m", "status": "failed"})
    assert "ledger" in promises(story.check())[Promise.REASON].mails["w-1"]


def test_a_dead_letter_for_somebody_who_got_the_mail_is_found(story):
    """Delivered or dead-lettered, never both."""
    body = story.publish()
    story.accept()
    story.bury(body, failed_recipients=TO)
    assert "got it" in promises(story.check())[Promise.CONSERVATION].mails["w-1"]


@pytest.mark.parametrize(
    ("log", "verdict"),
    [
        (["abandoned", "deferred"], Verdict.VALID),
        (["ambiguous", "deferred"], Verdict.VALID),
        (["deferred", "abandoned"], Verdict.INVALID),
    ],
)
def test_a_dead_letter_for_somebody_of_whom_ion_never_heard_is_none_too_many(story, log, verdict):
    """The attempt that delivered the mail ended without a word; the others failed, and so it was given up."""
    body = story.publish()
    story.accept()
    lines = [{"at": story.clock + n, "result": result} for n, result in enumerate(log, start=1)]
    item = {"id": "m", "status": "failed", "reason": "attempts-exhausted", "message_id": "<1@ion>", "log": lines}
    story.tell("ledger", item=item)
    story.bury(body, failed_recipients=TO, ion_id="m")
    assert story.check().verdict is verdict


def test_poison_must_be_dead_lettered(story):
    """What is no document is owed a dead letter."""
    for workload, body in (("p-1", "no JSON"), ("p-2", "[1]")):
        story.tell("publish.attempted", workload=workload, attempt=1, body=body)
        story.tell("publish.acknowledged", workload=workload, attempt=1)
    story.bury("no JSON")
    assert story.check().sets["lost"] == ["p-2"]


def test_a_dead_letter_that_nobody_published_is_found(story):
    """A body that changed on its way to the dead-letter queue is one that nobody published."""
    story.bury("something else")
    assert Promise.CONSERVATION in promises(story.check())


def test_a_redrive_request_is_no_mail(story):
    """Orders to ion are not counted among the mails."""
    story.publish("order", action="redrive")
    report = story.check()
    assert report.verdict is Verdict.VALID
    assert report.counts["acknowledged"] == 1


def test_mail_that_is_still_queued_is_pending_and_the_verdict_unknown():
    """As much as the queue still holds may yet arrive."""
    story = Story(reason="timeout")
    story.publish("good")
    story.accept("good")
    story.publish("w-1")
    story.depth["in_flight"] = 1
    report = story.check()
    assert report.verdict is Verdict.UNKNOWN
    assert report.sets["pending"] == ["w-1"]
    assert not report.sets["lost"]


def test_more_mail_missing_than_the_queue_holds_is_lost():
    """Two are missing and the queue holds one: one is lost, and false outweighs unknown."""
    story = Story(reason="timeout")
    story.publish("good")
    story.accept("good")
    story.publish("w-1")
    story.publish("w-2")
    story.depth["visible"] = 1
    report = story.check()
    assert report.verdict is Verdict.INVALID
    assert (len(report.sets["pending"]), len(report.sets["lost"])) == (1, 1)


def test_a_stall_with_messages_visible_breaks_liveness():
    """Nothing moves, messages are visible, no fault is active: nothing wakes the function."""
    story = Story(reason="stalled", stalled_seconds=60)
    story.publish("good")
    story.accept("good")
    story.publish("w-1")
    story.depth["visible"] = 1
    assert Promise.LIVENESS in promises(story.check())


def test_a_stall_for_a_faults_sake_proves_nothing():
    """A fault was still to come or to end: that the queue stood still may be its doing. It is named."""
    story = Story(reason="stalled", stalled_seconds=60, unfinished=["killed"])
    story.publish("good")
    story.accept("good")
    story.publish("w-1")
    story.depth["visible"] = 1
    report = story.check()
    assert report.verdict is Verdict.UNKNOWN
    assert "faults still to come or to end: killed" in report.doubts


def test_a_dead_letter_that_could_not_be_read_is_pending(story):
    """The dead-letter queue held one more than could be read: somebody has it in hand, and it is not lost."""
    story.publish("w-1")
    story.depth["dead"] = 1
    report = story.check()
    assert report.verdict is Verdict.UNKNOWN
    assert report.sets["pending"] == ["w-1"]


def test_nothing_delivered_is_never_valid():
    """A run in which all went to the dead-letter queue proves nothing about delivery."""
    story = Story()
    story.bury(story.publish())
    assert story.check().verdict is Verdict.UNKNOWN


def test_an_interrupted_run_is_unknown():
    """What had not arrived when the user stopped it is pending, not lost."""
    story = Story(reason="interrupted")
    story.publish("good")
    story.accept("good")
    story.publish("w-1")
    report = story.check()
    assert report.verdict is Verdict.UNKNOWN
    assert report.sets["pending"] == ["w-1"]


def test_a_run_that_was_killed_is_unknown(story):
    """A history without an end proves nothing."""
    assert checker.check(story.events, story.mails.__getitem__).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("finished", "verdict"),
    [
        ({"reason": "interrupted"}, Verdict.UNKNOWN),
        ({"reason": "stalled", "stalled_seconds": 60, "unfinished": ["server down"]}, Verdict.INVALID),
        ({"reason": "drained"}, Verdict.INVALID),
    ],
)
def test_what_a_run_had_no_time_for_is_a_doubt(finished, verdict):
    """Nobody can say that what is expected would not have come; where the run ended by itself, it can be said."""
    story = Story(**finished)
    story.publish("good")
    story.accept("good")
    story.tell("run.finished", **story.finished)
    report = checker.check(story.events, story.mails.__getitem__, expect=[alarm_fired()])
    assert report.verdict is verdict
    assert any("alarm" in doubt for doubt in report.doubts) == (verdict is Verdict.UNKNOWN)


def test_copies_of_an_interrupted_run_are_a_doubt():
    """The ledger, which knows whether a worker died in between, has not been read then."""
    story = Story(reason="interrupted")
    story.publish("good")
    story.accept("good")
    story.accept("good")
    report = story.check()
    assert report.verdict is Verdict.UNKNOWN
    assert any("without the ledger" in doubt for doubt in report.doubts)


def test_a_history_that_makes_no_sense_is_unknown(story):
    """A checker that crashes knows nothing, and says why."""
    story.tell("publish.acknowledged", workload="never attempted")
    report = story.check()
    assert report.verdict is Verdict.UNKNOWN
    assert "the checker failed: KeyError" in report.doubts[0]


def test_a_captured_mail_that_is_gone_or_altered_is_a_doubt(story):
    """Evidence that has been tampered with proves nothing either way."""
    story.mails["key-0"] += b"more"
    assert "changed the file" in story.check().doubts[0]

    def gone(key):
        raise RunError(f"no mail {key}")

    assert checker.check(story.events, gone).doubts == ["no mail key-0"]


def test_trouble_in_the_sink_is_a_doubt(story):
    """A bench that failed cannot vouch for anything."""
    story.tell("smtp.trouble", text="disk on fire")
    assert story.check().verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(("verdict", "code"), [("valid", 0), ("invalid", 1), ("unknown", 2)])
def test_verdicts_have_their_exit_codes(verdict, code):
    """0, 1 and 2."""
    assert Verdict(verdict).exit_code == code
