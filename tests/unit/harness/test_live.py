import io
import json
import re
import time

import pytest
from rich.console import Console

from harness.live import Lines, Terminal, tell, view
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


@pytest.fixture
def shown(tally, monkeypatch):
    """What a view shows of a run: its output while a fault lasts, and all of it when the run is over."""

    def show(kind, **terminal):
        monkeypatch.setattr("harness.live.LINE_SECONDS", 0.01)
        output = io.StringIO()

        def wait_for(words):
            end = time.monotonic() + 60
            while words not in output.getvalue() and time.monotonic() < end:
                time.sleep(0.01)

        with kind(Console(file=output, width=100, _environ={}, **terminal)).showing(tally):
            tally.take({"t": 0.0, "event": "run.started", "mails": 4, "summary": "the server [dies]"})
            tally.take({"t": 0.2, "event": "phase", "name": "delivering"})
            tally.take({"t": 0.3, "event": "depth", "visible": 2, "in_flight": 1, "delayed": 0, "dead": 0})
            tally.take({"t": 0.3, "event": "alarm", "name": "wake-up", "state": "ALARM"})
            wait_for("wake-up")  # so that what shows the fault has been begun after all this
            tally.take({"t": 0.3, "event": "fault.started", "name": "out [of] order"})
            wait_for("out [of] order")
            during = output.getvalue()
            tally.take({"t": 0.4, "event": "fault.ended", "name": "out [of] order"})
        return during, output.getvalue()

    return show


def test_a_terminal_shows_the_way_of_the_mails_and_what_goes_wrong(shown):
    """A bar for each part of the way, the fault in red while it lasts, and neither when there is none."""
    during, whole = shown(Terminal, force_terminal=True, color_system="standard")
    words = "delivering", "the server [dies]", "published", "of 4", "waiting", "in flight", "delivered", "wake-up"
    assert [word for word in words if word not in during] == []
    assert "\x1b[1;31mout [of] order" in during
    last = whole[whole.rindex("over") :]
    assert "━" in last
    assert "out [of] order" not in last


def test_without_colours_a_terminal_shows_the_same_words(shown):
    """NO_COLOR, or a terminal that has none."""
    during, whole = shown(Terminal, force_terminal=True, no_color=True)
    assert "out [of] order" in during
    assert not re.search("\x1b\\[[0-9;]*3[0-9]", whole)


def test_a_log_gets_plain_lines(shown):
    """Each with all there is to say, and nothing that only a terminal understands."""
    during, whole = shown(Lines)
    line = during.splitlines()[-1]
    assert line.endswith(
        "s  phase delivering, published 1, visible 2, in flight 1, delivered 0, rate 0/s, alarm fired wake-up, "
        "faults out [of] order"
    )
    assert "\x1b" not in whole


def test_a_dumb_terminal_gets_lines(monkeypatch):
    """It could not renew anything."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert isinstance(view(quiet=False), Terminal)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(view(quiet=False), Lines)


@pytest.mark.parametrize(("verdict", "code"), [("valid", 32), ("unknown", 33), ("invalid", 31), ("broken", 31)])
def test_a_verdict_has_its_colour_in_a_terminal(verdict, code, monkeypatch, capsys):
    """Green, yellow, red; the text after it has none."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    tell(f"{verdict}: 3 [published]\n  mail: /x", verdict)
    assert capsys.readouterr().out == f"\x1b[1;{code}m{verdict}\x1b[0m: 3 [published]\n  mail: /x\n"


def test_a_verdict_is_plain_elsewhere(capsys):
    """In a pipe, however long the line."""
    tell(f"valid: {'x' * 300}", "valid")
    assert capsys.readouterr().out == f"valid: {'x' * 300}\n"
