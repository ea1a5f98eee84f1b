import json

from harness import content, workload
from ion.message import build
from ion.request import SendRequest, parse


def mails(count, seed=7, run="run"):
    return list(workload.generate(count, seed=seed, run=run))


def test_a_seed_gives_the_same_mails_however_many():
    """A mail depends on its seed and number only."""
    assert mails(20) == mails(50)[:20]
    assert mails(20) != mails(20, seed=8)


def test_ids_belong_to_the_run():
    """Two runs of one seed share no id, so that a ledger which outlives both does not mix them up."""
    first, second = (
        {key for mail in mails(50, run=run) for key in (mail.workload, json.loads(mail.body).get("id")) if key}
        for run in ("a", "b")
    )
    assert not first & second


def test_the_mix_has_every_shape():
    """Five hundred mails hold each kind of mail that the contract knows."""
    documents = [json.loads(mail.body) for mail in mails(500)]
    shapes = {
        "text": lambda d: "body_html" not in d,
        "HTML": lambda d: "body_text" not in d,
        "both": lambda d: "body_text" in d and "body_html" in d,
        "non-ASCII": lambda d: not d["subject"].isascii(),
        "several": lambda d: isinstance(d["recipient"], list),
        "file": lambda d: any("content_id" not in each for each in d.get("attachments", [])),
        "image": lambda d: any("content_id" in each for each in d.get("attachments", [])),
        "no id": lambda d: "id" not in d,
        **{name: lambda d, name=name: name in d for name in ("cc", "bcc", "reply_to", "sender", "id", "tags")},
    }
    assert [name for name, has in shapes.items() if not any(map(has, documents))] == []


def test_every_mail_keeps_the_contract_and_arrives_as_published():
    """Ion takes each document, and the mail it makes of it has the content that was published."""
    for mail in mails(300):
        request = parse(mail.body)
        assert isinstance(request, SendRequest)
        envelope = build(request, mail_id=mail.workload, default_sender="ion@example.com", date=0)
        document = json.loads(mail.body)
        assert {content.mailbox(each) for each in envelope.recipients} == content.recipients(document)
        assert content.differences(document, envelope.message, default_sender="ion@example.com") == []
        assert content.leaks(document, envelope.message) == []
