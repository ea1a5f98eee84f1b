import json
import subprocess
import sys
import threading

import pytest

from harness.cli import main
from harness.inbox.terminal import printable


@pytest.fixture
def inbox(captured, capsys):
    """Runs `python -m harness inbox` on the run; gives the exit code and what was printed."""

    def run(*arguments):
        code = main(["inbox", "--run", str(captured.run.directory), *arguments])
        return code, capsys.readouterr().out

    return run


def test_mails_are_listed(captured, inbox):
    """Without an action, each mail is a line, the newest first, unread ones marked."""
    captured.mail("one")
    captured.html("<p>x", subject="two", files=(("a.pdf", b"x", "application/pdf"),))
    code, out = inbox()
    first, second = out.splitlines()
    assert code == 0
    assert "*" in first
    assert first.endswith("two [1]")
    assert second.endswith("ann@example.com               one")


def test_a_search_lists_what_it_finds_as_json_too(captured, inbox):
    """A search takes Mailpit's syntax, and --json gives what the API gives."""
    captured.mail("one")
    captured.mail("two")
    assert "two" not in inbox("search", "subject:one")[1]
    found = json.loads(inbox("--json", "search", "-subject:one is:unread")[1])
    assert [each["Subject"] for each in found["messages"]] == ["two"]
    assert inbox("search", "before:soon")[0] == 64


def test_a_mail_is_shown_with_its_story(captured, inbox):
    """`show` has envelope, headers, text, files and what happened; an id may be cut short."""
    captured.published({"recipient": "ann@example.com", "subject": "Hi", "body_text": "The text"}, ion_id="id-1")
    _, listed = inbox()
    code, out = inbox("show", listed[:6])
    assert code == 0
    for line in ("Envelope:    ion@example.com -> ann@example.com", "Subject:     Hi", "ion id:      id-1", "The text"):
        assert line in out
    assert "ion: deferred, attempt 1: 451 4.7.1 later; again in 2 s" in out
    assert inbox("show", "nonsense")[0] == 64
    assert json.loads(inbox("show", "--json")[1])["Text"] == "The text\n"


def test_what_cannot_be_done_is_said(captured, tmp_path, capsys):
    """An empty run, a place that takes no files and a count that is none end with a sentence and exit code 64."""
    (tmp_path / "file").touch()
    command = ["inbox", "--run", str(captured.run.directory)]
    assert main([*command, "show"]) == 64
    assert "has no mail" in capsys.readouterr().err
    captured.html("<p>x")
    assert main([*command, "attachments", "--save", str(tmp_path / "file")]) == 64
    assert "cannot save" in capsys.readouterr().err
    for arguments in (("list", "--limit", "-1"), ("wait", "--count", "two")):
        with pytest.raises(SystemExit, match="64"):
            main([*command, *arguments])
        assert "is no whole number" in capsys.readouterr().err


def test_names_are_shown_as_people_read_them(captured, inbox):
    """Encoded words in an address are read, even beside an address that has no other spelling than UTF-8."""
    captured.keep("To: =?utf-8?b?WsOkaA==?= <jörg@example.org>, b@example.org\r\n\r\n".encode())
    assert "To:          Zäh <jörg@example.org>, b@example.org" in inbox("show")[1]
    assert inbox()[1].rstrip().endswith("(no subject)")


def test_raw_is_byte_for_byte(captured):
    """`raw` gives a pipe the very bytes."""
    raw = b"Subject: x\r\n\r\n\xff\x1b[2J\r\n"
    captured.keep(raw)
    command = [sys.executable, "-m", "harness", "inbox", "--run", str(captured.run.directory), "raw"]
    assert subprocess.run(command, capture_output=True, check=True, timeout=120).stdout == raw


def test_no_mail_can_speak_to_the_terminal(captured, inbox):
    """Escape sequences and marks that turn text around are shown as what they are: nothing."""
    captured.keep("Subject: a\x1b]0;owned\x07\x9b2J\u202eb\r\n\r\ntext\x1b[31m\x07\tok\r\n".encode())
    for arguments in ((), ("show",), ("--json",)):
        out = inbox(*arguments)[1]
        assert not set(out) & set("\x1b\x07\x9b\u202e")
    assert printable("a\tb\nc", lines=True) == "a\tb\nc"
    assert printable("a\nb") == "a\ufffdb"


def test_attachments_are_listed_and_saved(captured, inbox, tmp_path):
    """Files are saved under harmless names, and none over another."""
    captured.html("<p>x", files=(("../../a.txt", b"one", "text/x"), ("a.txt", b"two", "text/x")))
    target = tmp_path / "saved"
    found = json.loads(inbox("--json", "attachments", "--save", str(target))[1])
    assert [(each["FileName"], each["Size"]) for each in found][1:] == [("a.txt", 3), ("a.txt", 3)]
    assert {path.name: path.read_bytes() for path in target.glob("*.txt")} == {"a.txt": b"one", "a-2.txt": b"two"}
    assert "logo.png" in inbox("attachments")[1]


def test_a_difference_to_what_was_published_is_found(captured, inbox):
    """`diff` is silent on mails that are as published, and names what is not."""
    captured.published({"recipient": "ann@example.com", "subject": "Hi", "body_text": "x"})
    captured.mail("of unknown origin")
    assert inbox("diff") == (0, "1 of 2 compared, 0 differ; what the other 1 were published as is not known\n")
    captured.published({"recipient": "ann@example.com", "subject": "Ho", "body_text": "x"}, workload="w-2", ion_id="2")
    path = max((captured.run.mail / "new").iterdir())
    path.write_bytes(path.read_bytes().replace(b"Subject: Ho", b"Subject: Hu"))
    code, out = inbox("diff")
    assert code == 1
    assert "subject: expected 'Ho', found 'Hu'" in out


def test_duplicates_are_mails_that_one_recipient_got_twice(captured, inbox):
    """One Message-ID to two recipients is no duplicate; to one of them again it is."""
    raw = b"Message-ID: <1@x>\r\nSubject: s\r\n\r\n"
    captured.keep(raw, to=("ann@example.com",))
    captured.keep(raw, to=("bob@example.com",))
    assert inbox("duplicates") == (0, "no duplicates\n")
    captured.keep(raw, to=("carl@example.com", "bob@example.com"))
    code, out = inbox("duplicates")
    assert (code, out.splitlines()[0]) == (1, "bob@example.com got 2 of <1@x>:")


def test_waiting_ends_when_the_mail_is_there(captured, inbox):
    """`wait` returns once enough mails fit, and with 1 when the time is over."""
    assert inbox("wait", "--timeout", "0")[0] == 1
    threading.Timer(0.3, captured.mail, ["late"], {"to": ("ann@example.com",)}).start()
    code, out = inbox("--json", "wait", "--to", "ann@example.com", "--search", "late", "--timeout", "60")
    assert (code, json.loads(out)["Enough"]) == (0, True)
    assert inbox("wait", "--count", "2", "--timeout", "0")[0] == 1
    assert inbox("wait", "--to", "ann@example.co", "--timeout", "0")[0] == 1
