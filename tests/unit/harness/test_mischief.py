import asyncio
import smtplib
import ssl
import threading
import time

import pytest

from harness.faults import Stage, Visit
from harness.history import History, read
from harness.mischief import Mischief, Misdeed
from harness.sink import Sink

MAIL = b"Subject: hello\r\n\r\nhello\r\n"
TO = [f"p{number}@example.com" for number in range(20)]


class Bench:
    """A sink that misbehaves, and a client."""

    def __init__(self, directory):
        self.history = History(directory / "history.jsonl")
        self.mischief = Mischief(seed=1)
        self.sink = Sink(history=self.history, mail=directory / "mail", faults=self.mischief)

    def begin(self, **misdeed):
        self.mischief.begin("trouble", [Misdeed(**misdeed)])

    def connect(self):
        client = smtplib.SMTP("localhost", self.sink.port, timeout=60)
        try:
            client.starttls(context=ssl.create_default_context(cadata=self.sink.ca_pem))
            client.login(self.sink.username, self.sink.password)
        except BaseException:
            client.close()
            raise
        return client

    def send(self, *recipients):
        """One mail over one connection; returns who was refused."""
        client = self.connect()
        try:
            return client.sendmail("from@example.com", recipients or TO[:1], MAIL)
        finally:
            client.close()

    def results(self):
        self.sink.stop()
        return [event["result"] for event in read(self.history.path) if event["event"] == "smtp.transaction"]


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    with made.sink:
        yield made


@pytest.mark.parametrize(
    ("stage", "error"),
    [
        (Stage.GREETING, smtplib.SMTPConnectError),
        (Stage.STARTTLS, smtplib.SMTPResponseException),
        (Stage.AUTH, smtplib.SMTPAuthenticationError),
        (Stage.MAIL, smtplib.SMTPSenderRefused),
        (Stage.RCPT, smtplib.SMTPRecipientsRefused),
        (Stage.DATA, smtplib.SMTPDataError),
        (Stage.DOT, smtplib.SMTPDataError),
    ],
)
def test_a_reply_is_given_at_its_stage_until_the_fault_ends(bench, stage, error):
    """While it lasts, clients get the misdeed's reply; afterwards they get through."""
    bench.begin(stages=(stage,), reply="454 4.3.0 not now")
    with pytest.raises(error, match="not now"):
        bench.send()
    bench.mischief.end("trouble")
    assert bench.send() == {}
    assert bench.mischief.struck["trouble"] > 0


def test_a_drop_after_the_mail_is_kept_makes_a_duplicate(bench):
    """The client hears nothing and sends again; the server has the mail twice."""
    bench.begin(stages=(Stage.KEPT,), drop=True, times=1)
    with pytest.raises(smtplib.SMTPServerDisconnected):
        bench.send()
    bench.send()
    assert bench.results() == ["accepted", "accepted"]


def test_a_share_of_recipients_is_the_same_each_time(bench):
    """Whom a permanent fault has struck it strikes again; others never."""
    bench.begin(stages=(Stage.RCPT,), reply="550 5.1.1 no such user", share=0.3)
    refused = set(bench.send(*TO))
    assert 0 < len(refused) < len(TO)
    assert set(bench.send(*TO)) == refused


def test_a_misdeed_strikes_as_often_as_asked(bench):
    """With `times`, so many are struck and then no more."""
    bench.begin(stages=(Stage.RCPT,), reply="452 4.2.2 mailbox full", times=3)
    assert set(bench.send(*TO)) == set(TO[:3])


def test_a_pattern_chooses_recipients(bench):
    """Only those whose address matches are refused."""
    bench.begin(stages=(Stage.RCPT,), reply="550 5.1.1 no such user", pattern="^p1@")
    assert set(bench.send(*TO)) == {"p1@example.com"}


def test_a_greylist_refuses_at_first_and_accepts_later(bench):
    """Each sender and recipient is put off for so long from their first attempt."""
    bench.begin(stages=(Stage.RCPT,), reply="451 4.7.1 come back later", greylist_seconds=0.3)
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        bench.send()
    deadline = time.monotonic() + 60
    while True:
        try:
            assert bench.send() == {}
            break
        except smtplib.SMTPRecipientsRefused:
            assert time.monotonic() < deadline


def test_a_share_of_recipients_can_be_greylisted(bench):
    """The others are accepted at once."""
    bench.begin(stages=(Stage.RCPT,), reply="451 4.7.1 come back later", greylist_seconds=60, share=0.3)
    assert 0 < len(bench.send(*TO)) < len(TO)


def test_a_rate_limit_strikes_what_goes_beyond(bench):
    """Of twenty recipients at once a server of two a second takes a few at most, and two at least."""
    bench.begin(stages=(Stage.RCPT,), reply="451 4.7.1 slow down", per_second=2)
    began = time.monotonic()
    taken = len(TO) - len(bench.send(*TO))
    assert 2 <= taken <= 2 + 2 * (time.monotonic() - began)


def test_a_delay_delays(bench):
    """A delay, with jitter or without, is the least that a command takes."""
    bench.begin(stages=(Stage.MAIL,), delay_seconds=0.2, jitter_seconds=0.1)
    began = time.monotonic()
    bench.send()
    assert time.monotonic() - began >= 0.2


def test_a_drip_gives_the_whole_reply_slowly(bench):
    """Byte by byte, and still a reply that the client understands."""
    bench.begin(stages=(Stage.MAIL,), drip_seconds=0.01)
    began = time.monotonic()
    assert bench.send() == {}
    assert time.monotonic() - began >= 0.1


def test_a_hang_ends_with_the_fault(bench):
    """The server says nothing until the fault is over, and goes on then as if nothing had been."""
    bench.begin(stages=(Stage.MAIL,), hang=True)
    client = threading.Thread(target=bench.send)
    client.start()
    deadline = time.monotonic() + 60
    while not bench.mischief.struck["trouble"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    client.join(0.2)
    assert client.is_alive()
    bench.mischief.end("trouble")
    client.join(60)
    assert bench.results() == ["accepted"]


def test_misdeeds_add_up_until_one_answers(bench):
    """A delay lets the next misdeed have its say; each counts under its own name."""
    bench.mischief.begin("slow", [Misdeed(stages=(Stage.MAIL,), delay_seconds=0.01)])
    bench.mischief.begin("busy", [Misdeed(stages=(Stage.MAIL,), reply="451 4.3.2 busy")])
    with pytest.raises(smtplib.SMTPSenderRefused):
        bench.send()
    assert bench.mischief.struck == {"slow": 1, "busy": 1}


def strikes(seed, **misdeed):
    """Which of a hundred visits without a recipient are struck."""

    async def visit():
        mischief = Mischief(seed=seed)
        mischief.begin("x", [Misdeed(reply="451 no", **misdeed)])
        return [await mischief.at(Visit(session=1, stage=Stage.MAIL)) is not None for _ in range(100)]

    return asyncio.run(visit())


def test_the_seed_decides_whom_a_share_strikes():
    """The same seed strikes the same visits, another one others."""
    assert strikes(1, share=0.3) == strikes(1, share=0.3) != strikes(2, share=0.3)
    assert 10 < sum(strikes(1, share=0.3)) < 50
