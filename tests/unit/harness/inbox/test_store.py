import json
import mailbox
import sqlite3

import pytest

from harness.inbox.rows import trace
from harness.inbox.store import Store
from ion import message, request


def subjects(store):
    store.refresh()
    return [mail.subject for mail in store.find().mails]


def test_mail_is_listed_newest_first_as_it_arrives(captured, store):
    """A mail is there once it is in the Maildir, before those that came earlier."""
    captured.mail("first")
    assert subjects(store) == ["first"]
    captured.mail("second")
    assert subjects(store) == ["second", "first"]


def test_the_envelope_is_kept_apart_from_the_headers(captured, store):
    """Who a mail went to is the envelope's to say; a recipient that no header names is a blind copy."""
    captured.keep(
        b"From: Shop <shop@example.com>\r\nTo: Ann <ANN@example.com>\r\n\r\nx",
        sender="bounce@example.com",
        to=("ann@example.com", "bob@example.com"),
    )
    store.refresh()
    [mail] = store.find().mails
    assert (mail.sender, mail.recipients, mail.username) == (
        "bounce@example.com",
        ["ann@example.com", "bob@example.com"],
        "login",
    )
    assert [each["Address"] for each in mail.people["From"]] == ["shop@example.com"]
    assert [each["Address"] for each in mail.people["Bcc"]] == ["bob@example.com"]


def test_an_envelope_may_come_after_its_mail(captured, store):
    """A mail is listed at once, and has its envelope when the history has it."""
    key = captured.mail("early")
    captured.run.history.rename(captured.run.history.with_suffix(".late"))
    store.refresh()
    assert store.find().mails[0].recipients == []
    captured.run.history.with_suffix(".late").rename(captured.run.history)
    store.refresh()
    assert (store.find().mails[0].key, store.find().mails[0].recipients) == (key, ["ann@example.com"])


@pytest.mark.parametrize("damage", ["missing", "another version", "no database", "cut short"])
def test_an_index_that_is_missing_or_useless_is_made_anew(captured, damage):
    """The Maildir is the truth: whatever becomes of the index, the mail is found again."""
    captured.mail("kept")
    with Store(captured.run) as store:
        assert subjects(store) == ["kept"]
    path = captured.run.directory / "inbox.sqlite"
    match damage:
        case "missing":
            path.unlink()
        case "another version":
            db = sqlite3.connect(path)
            db.execute("PRAGMA user_version = 999")
            db.execute("DROP TABLE event")
            db.close()
        case "no database":
            path.write_bytes(b"nonsense" * 1000)
        case "cut short":
            path.write_bytes(path.read_bytes()[:5000])
    with Store(captured.run) as store:
        assert subjects(store) == ["kept"]
        assert store.find().mails[0].recipients == ["ann@example.com"]


def test_an_index_is_kept_from_one_time_to_the_next(captured):
    """What has been read is not read again."""
    captured.mail("kept")
    with Store(captured.run) as store:
        store.refresh()
        number = store.find().mails[0].number
    captured.mail("later")
    with Store(captured.run) as store:
        assert subjects(store) == ["later", "kept"]
        assert store.find().mails[1].number == number


def test_read_and_deleted_are_flags_that_mail_readers_know(captured, store):
    """Read and deleted marks are the Maildir's own, and a deleted mail's bytes stay."""
    captured.mail("one")
    captured.mail("two")
    store.refresh()
    two, one = store.find().mails
    store.mark([one], seen=True)
    store.mark([two], trashed=True)
    assert (store.counts().total, store.counts().unread) == (1, 0)
    assert store.get(two.id) is None
    flags = {each["Subject"]: each.get_flags() for each in mailbox.Maildir(captured.run.mail, create=False)}
    assert flags == {"one": "S", "two": "T"}
    store.mark([one], seen=False)
    assert store.counts().unread == 1


def test_what_a_mail_reader_does_is_seen(captured, store):
    """A mail that mutt has read, or removed, is read here, or gone."""
    captured.mail("read")
    key = captured.mail("removed")
    store.refresh()
    box = mailbox.Maildir(captured.run.mail, create=False)
    box.remove(key)
    [(left, mail)] = box.items()
    mail.set_subdir("cur")
    mail.set_flags("RS")
    box[left] = mail
    store.refresh()
    assert [(mail.subject, mail.seen) for mail in store.find().mails] == [("read", True)]
    assert store.raw(store.find().mails[0])


def test_two_stores_of_one_run_agree(captured, store):
    """The terminal and the page may be open at once."""
    captured.mail("one")
    with Store(captured.run) as other:
        assert subjects(store) == subjects(other) == ["one"]
        before = other.version()
        store.mark(store.find().mails, seen=True)
        assert other.version() != before
        assert other.counts().unread == 0


def test_a_history_that_is_torn_or_odd_does_not_matter(captured, store):
    """Lines that are no events, and the one that is still being written, are passed over."""
    captured.mail("one")
    with captured.run.history.open("a") as file:
        file.write('nonsense\n[]\n{"event": 7}\n{"t": "x", "event": "y"}\n{"t": 1, "event": "\\ud800"}\n{"t": 1, "ev')
    with captured.run.function_log.open("ab") as file:
        file.write(b'\xff\xfe\nSTART RequestId\n{"stage": 1}\n{"timestamp": "never", "stage": "x", "id": "y"}\n')
    assert subjects(store) == ["one"]
    with captured.run.history.open("a") as file:
        file.write('ent": "run.finished"}\n')
    store.refresh()
    assert store.count_events("name = 'run.finished'") == 1


def test_a_mail_is_known_by_the_id_that_ion_has_for_it(captured, store):
    """The id that a publisher gave leads to the mail, and the mail to the id."""
    key = captured.published(
        {"recipient": "ann@example.com", "subject": "s", "body_text": "t", "id": "order/1"}, ion_id="order/1"
    )
    store.refresh()
    mail = store.get("order/1")
    assert (mail.key, store.ion_id(mail.trace)) == (key, "order/1")


def test_the_trace_is_the_one_that_ion_writes():
    """What ties a Message-ID to an id here is what ion's message has in it."""
    parsed = request.parse(json.dumps({"action": "send", "recipient": "a@b.c", "subject": "", "body_text": ""}))
    made = message.build(parsed, mail_id="x/ü", default_sender="a@b.c", date=0)
    assert f"Message-ID: <{trace('x/ü')}@b.c>".encode() in made.message


def test_names_that_are_no_mails_are_left_alone(captured, store):
    """Hidden files and names that are no UTF-8 do not disturb."""
    (captured.run.mail / "new" / ".hidden").write_bytes(b"Subject: no\r\n\r\n")
    with (captured.run.mail / "new" / "\udcff").open("wb") as file:
        file.write(b"Subject: no\r\n\r\n")
    captured.mail("yes")
    assert subjects(store) == ["yes"]


def test_a_large_maildir_is_taken_in_by_and_by(captured, store):
    """A page need not wait for all of it: a bounded refresh says that there is more, and the next one goes on."""
    for number in range(250):
        (captured.run.mail / "new" / f"{1_700_000_000 + number}.x").write_bytes(b"Subject: %d\r\n\r\n" % number)
    assert not store.refresh(seconds=0)
    assert 0 < store.counts().total < 250
    assert store.refresh()
    assert [store.counts().total, store.find().mails[0].subject] == [250, "249"]


def test_neighbours_are_those_of_the_search(captured, store):
    """From a mail one gets to the next newer and the next older one that fit."""
    for subject in ("a1", "b", "a2"):
        captured.mail(subject)
    store.refresh()
    newest, middle, oldest = store.find().mails
    assert store.neighbours(middle) == (newest.id, oldest.id)
    assert store.neighbours(newest) == ("", middle.id)
