"""The bench's figures, and the distance of its SMTP server."""

from __future__ import annotations

import smtplib
import ssl
import time

import pytest

from harness.bench.measurement import Cell, Measurement, Table, course
from harness.bench.page import Facts, Findings, document, markdown
from harness.bench.server import DistantSink
from harness.history import History

ROUND_TRIP_SECONDS = 0.05
FACTS = Facts(date="today", machine="a machine", load=0.5, ready_seconds=5, init_seconds=0.5, artifact_mb=2.5)


def measured(name, connections=0, round_trip_ms=0, *, rate=10.0, calls=None, memory=0.0):
    cell = Cell(name=name, connections=connections, round_trip_ms=round_trip_ms)
    return Measurement(cell=cell, mails=100, seconds=100 / rate, aws_calls=calls or {}, peak_memory_mb=memory)


@pytest.fixture
def sink(tmp_path):
    """A sink fifty milliseconds away."""
    with History(tmp_path / "history.jsonl") as history, DistantSink(history) as sink:
        sink.round_trip_seconds = ROUND_TRIP_SECONDS
        yield sink


@pytest.fixture
def client(sink):
    with smtplib.SMTP("127.0.0.1", sink.port) as client:
        client.starttls(context=ssl.create_default_context(cadata=sink.ca_pem))
        client.login(sink.username, sink.password)
        yield client


def test_no_reply_comes_before_its_round_trip(client):
    """Each exchange takes a round trip at the least, under TLS too."""
    for _ in range(3):
        began = time.monotonic()
        assert client.noop()[0] == 250
        assert time.monotonic() - began >= ROUND_TRIP_SECONDS


def test_last_reply_still_arrives(client):
    """A connection is closed only after all that was said before, the reply to QUIT, has arrived."""
    assert client.quit()[0] == 221
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.noop()


def test_server_counts_connections_replies_and_mails(sink, client):
    """A reply of several lines is one round trip; greeting, EHLO twice, STARTTLS and AUTH are five, a mail is four."""
    client.sendmail("ann@example.com", ["bob@example.com"], b"Subject: hello\r\n\r\nhello\r\n")
    assert sink.counts == {"connections": 1, "replies": 9, "mails": 1}


def test_ratio_is_to_the_baseline_at_the_same_distance():
    """Rates at one distance say nothing about another."""
    far = measured("ion", 32, 25, rate=50)
    table = Table(measurements=(measured("baseline", 1, 0, rate=100), measured("baseline", 1, 25, rate=5), far))
    assert table.ratio(far) == 10


def test_share_is_of_the_lower_ceiling():
    """Neither SMTP nor SQS alone lets more through; where one was not measured, nothing is said."""
    ion = measured("ion", 8, 5, rate=60)
    smtp, sqs = measured("smtp", 8, 5, rate=200), measured("sqs", rate=120)
    assert Table(measurements=(ion, smtp, sqs)).share(ion) == 0.5
    assert Table(measurements=(ion, sqs)).share(ion) is None


@pytest.mark.parametrize("cell", course([0, 25], [8, 32]), ids=str)
def test_cell_is_read_from_text(cell):
    """Every cell of a course can be asked for by itself."""
    text = f"{cell.name}:{cell.connections}:{cell.round_trip_ms}" if cell.connections else cell.name
    assert Cell.from_text(text) == cell


@pytest.mark.parametrize(
    "text", ["", "ion", "ion:8", "ion:0:25", "ion:8:-1", "ion:8:x", "baseline:2:0", "sqs:1:0", "x:1:0"]
)
def test_cell_that_cannot_be_is_refused(text):
    """A typing error is told before anything is started."""
    with pytest.raises(ValueError):  # noqa: PT011 - whatever its words
        Cell.from_text(text)


def test_course_has_each_contender_at_each_distance():
    """The baseline once, ion and its ceiling with each number of connections, SQS once for all."""
    cells = course([0, 25], [8, 1])
    assert [str(cell) for cell in cells[:6]] == [
        "sqs",
        "baseline over 1 at 0 ms",
        "ion over 1 at 0 ms",
        "ion over 8 at 0 ms",
        "smtp over 1 at 0 ms",
        "smtp over 8 at 0 ms",
    ]
    assert len(cells) == 11


@pytest.mark.parametrize("cell", course([0, 5, 25, 100], [1, 8, 32]), ids=str)
def test_mails_come_in_full_batches(cell):
    """Goals are for full batches, and no cell is so short that connecting is all it does."""
    assert cell.mails_for(4) % 10 == 0
    assert cell.mails_for(0.1) == 30


@pytest.mark.parametrize(("rate", "word"), [(100, "met"), (99, "missed")])
def test_goal_is_reported_as_met_or_missed(rate, word):
    """Ten times the baseline at 25 ms and 32 connections."""
    table = Table(measurements=(measured("baseline", 1, 25, rate=10), measured("ion", 32, 25, rate=rate)))
    text = markdown(Findings(facts=FACTS, table=table))
    (line,) = [line for line in text.splitlines() if "25 ms, 32 connections" in line]
    assert line.split("|")[-2].strip() == word


def test_goal_near_by_is_reported_for_every_number_of_connections():
    """A number of connections that meets the goal hides none that misses it."""
    ions = (measured("ion", 8, rate=9), measured("ion", 32, rate=11))
    text = markdown(Findings(facts=FACTS, table=Table(measurements=(measured("baseline", 1, rate=10), *ions))))
    assert [line.split("|")[-2].strip() for line in text.splitlines() if "| 0 ms, " in line] == ["missed", "met"]


def test_growing_memory_misses_its_goal():
    """Memory is flat if the long drain takes no more than a tenth more than the short one."""
    drains = (measured("ion", 32, memory=80), measured("ion", 32, memory=95))
    text = markdown(Findings(facts=FACTS, table=Table(measurements=()), memory=drains))
    (line,) = [line for line in text.splitlines() if "memory, " in line]
    assert "1.19 times" in line
    assert "missed" in line


def test_document_has_rates_and_ratios():
    """Whoever reads the JSON need not reckon."""
    table = Table(measurements=(measured("baseline", 1, 5, rate=10), measured("ion", 8, 5, rate=40, calls={"x": 50})))
    ion = document(Findings(facts=FACTS, table=table))["measurements"][1]
    assert (ion["mails_per_second"], ion["times_baseline"], ion["aws_calls_per_mail"]) == (40, 4, 0.5)
