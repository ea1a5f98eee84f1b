import io
import json

import pytest
from rich.console import Console

from harness.live import Lines, Terminal
from harness.tally import Tally


def send(*recipients):
    return json.dumps({"action": "send", "recipient": list(recipients), "subject": "", "body_text": ""})


def accepted(workload, *recipients, at=0.0):
    return {
        "t": at,
        "event": "smtp.transaction",
        "transaction": "1.1",
        "result": "accepted",
        "replied": True,
        "reply": "250 ok",
        "sender": "",
        "recipients": recipients,
        "workload": workload,
    }


@pytest.fixture
def tally():
    """One mail to two people, taken by SNS."""
    made = Tally()
    body = send("a@example.com", "b@example.com")
    made.take({"t": 0.0, "event": "publish.attempted", "workload": "w-1", "body": body})
    made.take({"t": 0.1, "event": "publish.acknowledged", "workload": "w-1"})
    return made


def test_a_mail_is_delivered_once_all_its_recipients_have_it(tally):
    """Recipients may come in several transactions; a copy too many does not count twice."""
    assert (tally.acknowledged, tally.outstanding, tally.delivered) == (1, 1, 0)
    tally.take(accepted("w-1", "a@example.com"))
    assert (tally.outstanding, tally.delivered) == (1, 0)
    tally.take(accepted("w-1", "b@EXAMPLE.com"))
    tally.take(accepted("w-1", "b@example.com"))
    assert (tally.outstanding, tally.delivered, tally.accepted) == (0, 1, 3)


def test_poison_stays_outstanding_and_orders_do_not(tally):
    """A run waits for poison's dead letter, and for nothing to come of a redrive request."""
    for workload, body in (("poison", "no JSON"), ("order", '{"action": "redrive"}')):
        tally.take({"t": 0.0, "event": "publish.attempted", "workload": workload, "body": body})
        tally.take({"t": 0.0, "event": "publish.acknowledged", "workload": workload})
    assert tally.outstanding == 2


def test_progress_changes_with_every_delivery_and_with_the_queues(tally):
    """What the run's patience depends on."""
    seen = [tally.progress]
    tally.take(accepted("w-1", "a@example.com"))
    seen.append(tally.progress)
    tally.take({"t": 1.0, "event": "depth", "visible": 1, "in_flight": 2, "delayed": 0, "dead": 0})
    seen.append(tally.progress)
    assert len(set(seen)) == 3


def test_the_rate_forgets(tally):
    """Mails a second of the last three seconds."""
    for at in (1.0, 9.0, 9.5, 10.0):
        tally.take(accepted("w-1", "a@example.com", at=at))
    assert tally.rate(10.0) == 1.0


@pytest.mark.parametrize("kind", [Terminal, Lines])
def test_a_view_shows_the_tally(kind, tally, monkeypatch):
    """A terminal and a log both get the counts."""
    monkeypatch.setattr("harness.live.LINE_SECONDS", 0.01)
    output = io.StringIO()
    with kind(Console(file=output, force_terminal=kind is Terminal, width=100)).showing(tally):
        tally.take({"t": 0.2, "event": "phase", "name": "delivering"})
        tally.take({"t": 0.3, "event": "fault.started", "name": "outage"})
    shown = output.getvalue()
    assert "delivering" in shown
    assert "outage" in shown
