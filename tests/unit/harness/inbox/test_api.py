import hashlib

import pytest

from harness.history import History
from harness.inbox import api
from harness.inbox.chaos import Chaos
from harness.sink import Sink
from tests.support.captured import PNG, Running


@pytest.fixture
def client(captured, serve):
    """A client of an inbox with three mails, the newest with files."""
    captured.mail("one", X_Tags="red")
    captured.mail("two", to=("Bob <bob@example.com>",))
    captured.html('<p>Hi <img src="cid:logo">', subject="three", files=(("a b.pdf", b"%PDF", "application/pdf"),))
    return serve()


def ids(client, **query):
    path = "/search" if "query" in query else "/messages"
    return [message["ID"] for message in client.json(path, **query)["messages"]]


def test_messages_are_listed_as_mailpit_lists_them(client):
    """The list has Mailpit's fields, the newest mail first."""
    page = client.json("/messages", start=1, limit=1)
    counts = {"total": 3, "unread": 3, "count": 1, "messages_count": 3, "messages_unread": 3, "start": 1}
    assert {name: page[name] for name in counts} == counts
    [message] = page["messages"]
    assert page["tags"] == ["red"]
    assert (message["Subject"], message["Read"], message["Attachments"]) == ("two", False, 0)
    assert message["To"] == [{"Name": "Bob", "Address": "bob@example.com"}]
    assert message["From"] == {"Name": "Ion", "Address": "ion@example.com"}
    assert message["Snippet"] == "The text of two."
    assert message["Created"].endswith("Z")


def test_a_search_counts_what_it_finds(client):
    """A search answers with its own counts beside those of all."""
    page = client.json("/search", query="to:bob")
    assert (page["total"], page["messages_count"], [m["Subject"] for m in page["messages"]]) == (3, 1, ["two"])


def test_a_message_has_its_bodies_and_files_and_is_read_then(client):
    """A mail comes with text, HTML, inline images and attachments, and counts as read from then on."""
    message = client.json(f"/message/{ids(client)[0]}")
    assert (message["Subject"], message["Text"]) == ("three", "Only text.\n")
    assert message["HTML"].startswith("<p>Hi <img")
    assert message["ReturnPath"] == "ion@example.com"
    [inline], [attachment] = message["Inline"], message["Attachments"]
    assert (inline["ContentID"], inline["ContentType"], inline["Size"]) == ("logo", "image/png", len(PNG))
    assert attachment["FileName"] == "a b.pdf"
    assert attachment["Checksums"]["SHA256"] == hashlib.sha256(b"%PDF").hexdigest()
    assert client.json("/messages")["unread"] == 2


def test_latest_is_the_newest_mail_or_the_newest_that_a_search_finds(client):
    """`latest` stands for an id, and `query` narrows it."""
    assert client.json("/message/latest")["Subject"] == "three"
    assert client.json("/message/latest", query="to:bob")["Subject"] == "two"
    assert client.get("/api/v1/message/latest", query="nowhere").status_code == 404


def test_headers_are_named_as_mailpit_names_them(client):
    """Headers come as lists, their names spelled as Go spells them."""
    headers = client.json("/message/latest/headers")
    assert headers["Mime-Version"] == ["1.0"]
    assert headers["Subject"] == ["three"]


def test_the_raw_mail_is_byte_for_byte_what_came(client, captured):
    """The raw mail is the file's bytes, as a text that no browser takes for anything else."""
    key = captured.keep(b"Subject: raw\r\n\r\n<script>\xff\r\n")
    answer = client.get("/api/v1/message/latest/raw")
    assert answer.content == (captured.run.mail / "new" / key).read_bytes()
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert client.get("/api/v1/message/latest/raw", dl=1).headers["Content-Disposition"].startswith("attachment")


@pytest.mark.parametrize(
    ("file", "disposition", "kind"),
    [
        (("a.pdf", b"%PDF", "application/pdf"), "attachment", "application/pdf"),
        (("a.html", b"<script>alert(1)</script>", "text/html"), "attachment", "text/html"),
        (("a.svg", b"<svg onload=alert(1)>", "image/svg+xml"), "attachment", "image/svg+xml"),
        (("a.png", b"<html>", "image/png"), "attachment", "image/png"),
        (("a.png", PNG, "text/html"), "inline", "image/png"),
    ],
)
def test_a_part_is_a_file_to_save_unless_it_is_a_raster_image(client, captured, file, disposition, kind):
    """Only what begins as a raster image is shown, whatever a part calls itself; the rest is saved and runs nothing."""
    captured.html("<p>x", files=(file,))
    answer = client.get("/api/v1/message/latest/part/2")
    assert answer.content == file[1]
    assert answer.headers["Content-Disposition"].startswith(f'{disposition}; filename="{file[0]}"')
    assert answer.headers["Content-Type"].partition(";")[0] == kind
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"


def test_a_part_that_there_is_not_is_not_found(client):
    """A wrong part or mail is a 404."""
    assert client.get("/api/v1/message/latest/part/99").status_code == 404
    assert client.get("/api/v1/message/no-such-id").status_code == 404


def test_mails_are_marked_read_and_unread(client):
    """Some, those of a search, or all."""
    newest = ids(client)[0]
    assert client("PUT", "/api/v1/messages", json={"IDs": [newest], "Read": True}).text == "ok"
    assert client.json("/messages")["unread"] == 2
    client("PUT", "/api/v1/messages", json={"Search": "to:bob", "Read": True})
    assert client.json("/messages")["unread"] == 1
    client("PUT", "/api/v1/messages", json={"Read": False})
    assert client.json("/messages")["unread"] == 3
    assert client("PUT", "/api/v1/messages", json={"IDs": [newest], "Search": "x"}).status_code == 400


def test_mails_are_deleted_one_by_one_by_search_or_all(client):
    """Deletion takes ids, a search, or everything, as Mailpit's does."""
    client("DELETE", "/api/v1/messages", json={"IDs": [ids(client)[0], "no-such-id"]})
    assert client.json("/messages")["total"] == 2
    client("DELETE", "/api/v1/search", params={"query": "to:bob"})
    assert client.json("/messages")["total"] == 1
    assert client("DELETE", "/api/v1/messages").text == "ok"
    assert client.json("/messages")["total"] == 0


def test_ids_are_taken_in_any_spelling(client):
    """A client that writes `ids`, or sends a form, deletes what it names, and not everything."""
    newest, middle, _ = ids(client)
    client("DELETE", "/api/v1/messages", json={"ids": [newest]})
    client("PUT", "/api/v1/messages", data={"ids": [middle], "Read": True})
    assert (client.json("/messages")["total"], client.json("/messages")["unread"]) == (2, 1)
    client("DELETE", "/api/v1/messages", data={"ids": [middle]})
    assert client.json("/messages")["total"] == 1
    as_curl_does = {"Content-Type": "application/x-www-form-urlencoded"}
    client("PUT", "/api/v1/messages", headers=as_curl_does, data='{"Read": true}')
    assert client.json("/messages")["unread"] == 0
    assert client("DELETE", "/api/v1/messages", headers=as_curl_does, data="nonsense=1").status_code == 400


def test_a_deletion_that_is_not_understood_deletes_nothing(client):
    """Where Mailpit would delete all, a broken body or an empty search is refused."""
    assert client("DELETE", "/api/v1/messages", data="{broken").status_code == 400
    assert client("DELETE", "/api/v1/messages", json={"IDs": "x"}).status_code == 400
    assert client("DELETE", "/api/v1/search", params={"query": "to:"}).status_code == 400
    assert client("DELETE", "/api/v1/search", params={"query": "before:soon"}).status_code == 400
    assert client.json("/messages")["total"] == 3


@pytest.mark.parametrize("query", [{"start": "x"}, {"limit": -1}, {"limit": "9" * 30}, {"before": "x"}])
def test_a_page_that_makes_no_sense_is_refused(client, query):
    """Wrong numbers are answered with 400."""
    assert client.get("/api/v1/messages", **query).status_code == 400


def test_what_is_sent_goes_through_ion_and_is_answered_with_its_mail(captured, serve, monkeypatch):
    """`send` publishes a document of the contract and answers with the id of the mail that arrives."""
    monkeypatch.setattr(api, "SEND_WAIT_SECONDS", 60)
    running = Running(captured)
    client = serve(live=running)
    answer = client(
        "POST",
        "/api/v1/send",
        json={
            "From": {"Email": "shop@example.com", "Name": 'The "Shop"'},
            "To": [{"Email": "ann@example.com", "Name": "Ann, B."}],
            "Bcc": ["hidden@example.com"],
            "Subject": "Hi",
            "Text": "Hello",
            "Tags": ["red"],
            "Headers": {"X-Kind": "test"},
            "Attachments": [{"Filename": "a.txt", "Content": "data:text/plain;base64,SGk="}],
        },
    )
    assert answer.status_code == 200, answer.text
    [document] = running.published
    assert document["recipient"] == ['"Ann, B." <ann@example.com>']
    assert document["sender"] == '"The \\"Shop\\"" <shop@example.com>'
    assert document["headers"] == {"X-Kind": "test", "X-Tags": "red"}
    assert document["attachments"] == [{"filename": "a.txt", "content_base64": "SGk=", "content_type": "text/plain"}]
    assert client.json(f"/message/{answer.json()['ID']}")["Subject"] == "Hi"
    assert client.json(f"/message/{document['id']}")["ID"] == answer.json()["ID"]


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({}, "From"),
        ({"From": {"Email": "a@example.com"}, "To": []}, "recipient"),
        ({"From": {"Email": "a@example.com"}, "To": [{"Email": "no address"}]}, "recipient"),
        ({"From": {"Email": "a@example.com"}, "To": [{"Email": "a@b.c"}], "Headers": {"Bcc": "x@y.z"}}, "Bcc"),
        ({"From": {"Email": "a@example.com"}, "To": [{"Email": "a@b.c"}], "Html": "x"}, "Html"),
        ({"From": {"Email": "a@example.com"}, "To": [{"Email": "a@b.c"}], "Attachments": [{}]}, "Attachments"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_the_field(captured, serve, body, complaint):
    """A mail that breaks the contract is answered with 400 and the field's name, and is not published."""
    running = Running(captured)
    answer = serve(live=running)("POST", "/api/v1/send", json=body)
    assert (answer.status_code, running.published) == (400, [])
    assert complaint in answer.json()["Error"]


def test_nothing_is_sent_where_nothing_runs(client):
    """On a saved run, `send` and `redrive` say what is missing."""
    body = {"From": {"Email": "a@example.com"}, "To": [{"Email": "a@b.c"}], "Text": "x"}
    assert "make up" in client("POST", "/api/v1/send", json=body).json()["Error"]
    assert client("POST", "/api/v1/dead-letters/redrive", json={}).status_code == 400


def test_dead_letters_are_told_and_redriven(captured, serve):
    """While ion runs, its dead letters are those of the queue, and a redrive asks for some or all."""
    running = Running(captured)
    client = serve(live=running)
    [letter] = client.json("/dead-letters")
    assert (letter["IonID"], letter["Reason"], letter["Detail"]) == ("id-9", "rejected", "550 5.1.1 nobody here")
    client("POST", "/api/v1/dead-letters/redrive", json={"IDs": ["id-9"]})
    client("POST", "/api/v1/dead-letters/redrive", json={})
    assert running.redriven == [["id-9"], []]


def test_dead_letters_of_a_saved_run_are_those_of_its_end(captured, serve):
    """A run that is over tells what its history says."""
    captured.record("deadletter", message_id="m", body="not json", attributes={"failure-reason": "malformed"})
    assert [letter["Reason"] for letter in serve().json("/dead-letters")] == ["malformed"]


def test_a_story_is_told_from_publish_to_ledger(captured, serve):
    """A mail's story has every step in order, the document, the attempts, and where the ledger stands."""
    captured.published({"recipient": "ann@example.com", "subject": "s", "body_text": "t"}, ion_id="id-1")
    story = serve(live=Running(captured)).json("/message/latest/story")
    assert [step["What"] for step in story["Steps"]] == [
        "Published",
        "SNS took it",
        "ion: deferred, attempt 1",
        "The server took this mail",
        "ion: delivered, attempt 2",
    ]
    assert (story["IonID"], story["Attempts"], story["Copies"]) == ("id-1", 2, 1)
    assert story["Document"]["subject"] == "s"
    assert story["Ledger"] == {"id": "id-1", "status": "delivered"}


def test_info_and_health_are_told(client):
    """Who asks what this is gets the counts, and probes get an answer."""
    info = client.json("/info")
    assert (info["Messages"], info["Unread"], info["Tags"]) == (3, 3, {"red": 1})
    assert info["RuntimeStats"]["SMTPAccepted"] == 3
    assert client.get("/livez").status_code == client.get("/readyz").status_code == 200


def test_chaos_sets_the_faults_of_the_sink(captured, serve, tmp_path):
    """Mailpit's triggers and ours make the real server misbehave, until they are turned off."""
    import smtplib  # noqa: PLC0415

    with (
        History(captured.run.history) as history,
        Sink(history=history, mail=captured.run.mail, tls="none", username="") as sink,
    ):
        client = serve(chaos=Chaos(sink))

        def send():
            with smtplib.SMTP("127.0.0.1", sink.port, timeout=60) as smtp:
                smtp.sendmail("a@example.com", ["b@example.com"], b"Subject: x\r\n\r\nx")

        def put(body):
            answer = client("PUT", "/api/v1/chaos", json=body)
            assert answer.status_code == 200, answer.text
            return answer.json()

        assert client.json("/chaos")["Sender"] == {"ErrorCode": 451, "Probability": 0}
        assert put({"Recipient": {"ErrorCode": 550, "Probability": 100}})["Recipient"]["Probability"] == 100
        with pytest.raises(smtplib.SMTPRecipientsRefused, match="550"):
            send()
        put({"Stages": {"dot": {"ErrorCode": 452, "Probability": 100}}})
        with pytest.raises(smtplib.SMTPDataError, match="452"):
            send()
        put({"Stages": {"kept": {"Drop": True, "Probability": 100}}})
        with pytest.raises(smtplib.SMTPServerDisconnected):
            send()
        put({"Closed": True})
        with pytest.raises(ConnectionRefusedError):
            send()
        put({})
        send()
        wrong = {"Sender": {"ErrorCode": 200, "Probability": 1}}
        assert client("PUT", "/api/v1/chaos", json=wrong).status_code == 400


def test_chaos_needs_a_sink(client):
    """Without the sink in this process there is nothing to set."""
    assert client.get("/api/v1/chaos").status_code == 400


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "10.0.0.1", ""]
)
def test_a_name_that_is_not_this_machine_is_refused(client, host):
    """A page that makes a name of its own point here (DNS rebinding) gets nothing."""
    assert client.get("/api/v1/messages", headers={}).status_code == 200
    assert client("GET", "/api/v1/messages", headers={"Host": host}).status_code in {400, 403}


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {"Content-Type": "application/x-www-form-urlencoded"}, 403),
        ("POST", {"Content-Type": "text/plain"}, 403),
        ("POST", {"Content-Type": "application/json", "Origin": "http://evil.example"}, 403),
        ("POST", {"Content-Type": "application/json", "Origin": "null"}, 403),
        ("POST", {"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"}, 403),
        ("POST", {"Content-Type": "application/json", "Sec-Fetch-Site": "same-site"}, 403),
        ("DELETE", {"Origin": "http://evil.example"}, 403),
        ("PUT", {"Origin": "http://localhost:1"}, 403),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),
        ("POST", {"Content-Type": "application/json"}, 400),
        ("DELETE", {}, 200),
        ("DELETE", {"Origin": "OWN", "Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_only_own_pages_and_programs_change_anything(client, method, headers, status):
    """Another site's page can neither change nor read; a program, and a page of ours, can."""
    headers = {name: client.address if value == "OWN" else value for name, value in headers.items()}
    path = {"POST": "/api/v1/send", "GET": "/api/v1/messages"}.get(method, "/api/v1/messages")
    assert client(method, path, headers=headers, data="{}" if method != "GET" else None).status_code == status


def test_every_answer_forbids_what_it_does_not_need(client):
    """Pages run only their own script, load only their own style, and may not be framed."""
    headers = client.get("/").headers
    policy = headers["Content-Security-Policy"]
    assert f"script-src {client.address}/static/;" in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-DNS-Prefetch-Control"] == "off"


def test_a_body_has_a_limit(client):
    """A body that is too large is not read to its end."""
    answer = client("DELETE", "/api/v1/messages", data=b" " * 6_000_000)
    assert answer.status_code == 413
