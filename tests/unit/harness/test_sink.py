import asyncio
import hashlib
import mailbox
import smtplib
import socket
import ssl
import threading
import time

import pytest

from harness import maildir
from harness.faults import Misbehaviour, Stage
from harness.history import History, read
from harness.sink import HOST, Sink

MAIL = b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nX-Workload-Id: w-1\r\nMessage-ID: <1@ion>\r\n\r\n.a dot\r\n\xff\r\n"


class Fault:
    """Misbehaves at one stage, and remembers every visit."""

    def __init__(self, stage, misbehaviour):
        self.stage, self.misbehaviour, self.visits = stage, misbehaviour, []

    async def at(self, visit):
        self.visits.append(visit)
        return self.misbehaviour if visit.stage is self.stage else None


class Bench:
    """A sink and its clients."""

    def __init__(self, directory, **options):
        self.history = History(directory / "history.jsonl")
        self.sink = Sink(history=self.history, mail=directory / "mail", **options)
        self.mail = directory / "mail"

    def connect(self):
        """A client that is logged in."""
        trust = ssl.create_default_context(cadata=self.sink.ca_pem) if self.sink.ca_pem else None
        if self.sink.tls == "implicit":
            client = smtplib.SMTP_SSL("localhost", self.sink.port, context=trust, timeout=60)
        else:
            client = smtplib.SMTP("localhost", self.sink.port, timeout=60)
        try:
            if self.sink.tls == "starttls":
                client.starttls(context=trust)
            if self.sink.username:
                client.login(self.sink.username, self.sink.password)
        except BaseException:
            client.close()
            raise
        return client

    def send(self, *recipients, message=MAIL):
        """One mail over one connection."""
        client = self.connect()
        try:
            return client.sendmail("from@example.com", recipients or ["to@example.com"], message)
        finally:
            client.close()

    def events(self, name):
        """The history's events of that name, complete once the sink has stopped."""
        self.sink.stop()
        return [event for event in read(self.history.path) if event["event"] == name]

    def transaction(self):
        """The only transaction."""
        [found] = self.events("smtp.transaction")
        return found


@pytest.fixture
def bench(tmp_path):
    """Makes benches, and ends them."""
    made = []

    def make(**options):
        made.append(Bench(tmp_path, **options))
        made[-1].sink.start()
        return made[-1]

    yield make
    for each in made:
        each.sink.stop()
        each.history.close()


@pytest.mark.parametrize(("tls", "username"), [("starttls", "me"), ("implicit", "me"), ("none", "me"), ("none", "")])
def test_mail_is_kept_byte_for_byte(bench, tls, username):
    """Over any kind of connection the mail in the Maildir is the mail that was sent, also for Python's own reader."""
    made = bench(tls=tls, username=username)
    made.send()
    event = made.transaction()
    assert mailbox.Maildir(made.mail).get_bytes(event["key"]) == MAIL
    assert maildir.read(made.mail, event["key"]) == MAIL
    assert (event["tls"], event["user"]) == (tls != "none", username)


def test_an_accepted_transaction_is_written_down(bench):
    """The history has envelope, key, hash, size, ids and that the reply was sent."""
    made = bench()
    made.send("a@example.com", "b@example.com")
    event = made.transaction()
    assert event["result"] == "accepted"
    assert event["replied"]
    assert event["reply"].startswith("250 ")
    assert (event["sender"], event["recipients"]) == ("from@example.com", ["a@example.com", "b@example.com"])
    assert (event["sha256"], event["size"]) == (hashlib.sha256(MAIL).hexdigest(), len(MAIL))
    assert (event["workload"], event["message_id"], event["subject"]) == ("w-1", "<1@ion>", "Grüße")
    assert event["began"] <= event["t"]


def test_a_wrong_password_is_refused(bench):
    """The login is checked, and the session says that nobody logged in."""
    made = bench(username="someone")
    client = smtplib.SMTP("localhost", made.sink.port, timeout=60)
    client.starttls(context=ssl.create_default_context(cadata=made.sink.ca_pem))
    with pytest.raises(smtplib.SMTPAuthenticationError):
        client.login("someone", "wrong")
    assert client.docmd("MAIL FROM:<a@example.com>")[0] == 530
    client.close()
    assert made.events("smtp.session")[0]["user"] == ""


def test_mail_before_starttls_is_refused(bench):
    """A sink that speaks STARTTLS takes nothing in the clear."""
    made = bench()
    with smtplib.SMTP("localhost", made.sink.port, timeout=60) as client:
        client.ehlo()
        assert client.docmd("MAIL FROM:<a@example.com>")[0] == 530


def test_the_sinks_own_refusals_are_written_down(bench):
    """A recipient that aiosmtpd itself refuses is in the history with its reply."""
    made = bench()
    made.send("a@example.com", "no@@address")
    event = made.transaction()
    assert event["recipients"] == ["a@example.com"]
    assert [(each["recipient"], each["reply"][:3]) for each in event["refused"]] == [("no@@address", "553")]


def test_a_mail_over_the_size_limit_is_refused(bench):
    """SIZE is announced and kept."""
    made = bench(size_limit=100)
    with pytest.raises(smtplib.SMTPResponseException) as refused:
        made.send(message=MAIL + b"x" * 60 + b"\r\n" + b"y" * 60 + b"\r\n")
    assert refused.value.smtp_code == 552
    event = made.transaction()
    assert (event["result"], event["reply"][:3]) == ("refused", "552")


def test_a_full_disk_is_answered_with_452(bench):
    """A mail that cannot be kept is refused for now, and that is written down."""
    made = bench()
    (made.mail / "tmp").rmdir()
    with pytest.raises(smtplib.SMTPDataError) as refused:
        made.send()
    assert refused.value.smtp_code == 452
    assert made.transaction()["result"] == "refused"


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
        (Stage.KEPT, smtplib.SMTPDataError),
    ],
)
def test_a_fault_can_answer_in_the_servers_place(bench, stage, error):
    """The reply that a fault gives is what the client gets, and what the history has."""
    made = bench(faults=Fault(stage, Misbehaviour(reply="454 4.7.1 not now")))
    with pytest.raises(error, match="not now"):
        made.send()
    events = made.events("smtp.transaction")
    if stage in {Stage.GREETING, Stage.STARTTLS, Stage.AUTH}:
        assert events == []
    else:
        [event] = events
        assert event["result"] == ("accepted" if stage is Stage.KEPT else "refused")
        assert "454 4.7.1 not now" in [event["reply"], *(each["reply"] for each in event["refused"])]


@pytest.mark.parametrize("stage", list(Stage))
def test_a_fault_can_cut_the_connection_at_every_stage(bench, stage):
    """The client sees its connection end, and the history has how far it came."""
    made = bench(faults=Fault(stage, Misbehaviour(drop=True)))
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionResetError, ssl.SSLError)):
        made.send()
    [session] = made.events("smtp.session")
    assert (session["stage"], session["end"]) == (stage, "dropped")


def test_a_mail_kept_without_a_reply_says_so(bench):
    """Cut after acceptance: the mail is there, the reply was not sent. This is what makes a duplicate."""
    made = bench(faults=Fault(Stage.KEPT, Misbehaviour(drop=True)))
    with pytest.raises(smtplib.SMTPServerDisconnected):
        made.send()
    event = made.transaction()
    assert (event["result"], event["replied"]) == ("accepted", False)
    assert maildir.read(made.mail, event["key"]) == MAIL


def test_a_421_ends_the_session(bench):
    """After a 421 the server hangs up, and the transaction was refused with it."""
    made = bench(faults=Fault(Stage.RCPT, Misbehaviour(reply="421 4.3.2 going down")))
    client = made.connect()
    client.mail("from@example.com")
    assert client.rcpt("to@example.com")[0] == 421
    with pytest.raises(smtplib.SMTPServerDisconnected):
        client.noop()
    client.close()
    event = made.transaction()
    assert (event["result"], event["reply"][:3], event["replied"]) == ("refused", "421", True)


def test_faults_know_where_they_are(bench):
    """A fault sees session, sender, recipients and size as far as the server knows them."""
    fault = Fault(None, None)
    made = bench(faults=fault)
    made.send("a@example.com", "b@example.com")
    second = next(visit for visit in fault.visits if visit.recipient == "b@example.com")
    assert (second.session, second.sender, second.recipients) == (1, "from@example.com", ("a@example.com",))
    assert [visit.size for visit in fault.visits if visit.stage is Stage.DOT] == [len(MAIL)]


def test_a_hang_ends_with_the_client(bench):
    """A fault that never answers is given up when the client leaves, and the sink goes on."""

    class Hang:
        def __init__(self):
            self.began, self.ended = threading.Event(), threading.Event()

        async def at(self, visit):
            if visit.stage is Stage.GREETING:
                self.began.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    self.ended.set()

    hang = Hang()
    made = bench(faults=hang)
    with socket.create_connection((HOST, made.sink.port), timeout=60):
        assert hang.began.wait(60)
        assert not hang.ended.is_set()
    assert hang.ended.wait(60)
    made.sink.faults = None
    made.send()


def test_a_closed_sink_refuses_and_an_opened_one_serves_on_the_same_port(bench):
    """Closing refuses new connections, keeps standing ones and keeps the port."""
    made = bench()
    standing = made.connect()
    made.sink.close()
    with pytest.raises(ConnectionRefusedError):
        made.connect()
    standing.sendmail("from@example.com", ["a@example.com"], MAIL)
    made.sink.drop_all()
    with pytest.raises(smtplib.SMTPServerDisconnected):
        standing.noop()
    standing.close()
    made.sink.open()
    made.send()
    assert len(made.events("smtp.transaction")) == 2


def test_a_given_up_transaction_is_written_down(bench):
    """A client that leaves between RCPT and DATA leaves a dropped transaction behind."""
    made = bench()
    client = made.connect()
    client.mail("from@example.com")
    client.rcpt("to@example.com")
    client.close()
    event = made.transaction()
    assert (event["result"], event["stage"], event["replied"]) == ("dropped", "rcpt", False)


def test_non_ascii_addresses_arrive_as_they_are(bench):
    """SMTPUTF8 is spoken (RFC 6531)."""
    made = bench()
    client = made.connect()
    client.sendmail("from@example.com", ["jörg@example.com"], MAIL, mail_options=["SMTPUTF8"])
    client.close()
    assert made.transaction()["recipients"] == ["jörg@example.com"]


def test_a_client_that_leaves_in_its_tls_handshake_is_no_trouble_of_the_sinks(bench):
    """A function killed just then says nothing about the sink: the session ends, and no trouble is written down."""
    made = bench()
    with (
        socket.create_connection(("localhost", made.sink.port), timeout=60) as client,
        client.makefile("rb") as replies,
    ):
        for command, lines in ((b"", 1), (b"EHLO me\r\n", None), (b"STARTTLS\r\n", 1)):
            client.sendall(command)
            while lines is None and not replies.readline().startswith(b"250 "):
                pass
            for _ in range(lines or 0):
                replies.readline()
        client.sendall(b"\x16\x03\x01")
    assert [event["end"] for event in _sessions(made)] == ["TLS handshake failed"]
    assert made.events("smtp.trouble") == []


def _sessions(made):
    deadline = time.monotonic() + 60
    while not (found := [each for each in read(made.history.path) if each["event"] == "smtp.session"]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found
