import json

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from harness import publisher
from harness.history import History, read
from harness.publisher import Publisher
from harness.workload import Mail


class Sns:
    """Takes batches; each call first does what the next line of its script says."""

    def __init__(self, *script):
        self.script = list(script)
        self.batches = []

    def publish_batch(self, *, TopicArn, PublishBatchRequestEntries):  # noqa: N803 - AWS's names
        assert TopicArn == "arn"
        self.batches.append([entry["Message"] for entry in PublishBatchRequestEntries])
        failing = self.script.pop(0) if self.script else {}
        if isinstance(failing, Exception):
            raise failing
        ids = [entry["Id"] for entry in PublishBatchRequestEntries]
        return {
            "Successful": [{"Id": id_, "MessageId": f"m-{id_}"} for id_ in ids if id_ not in failing],
            "Failed": [{"Id": id_, **failing[id_]} for id_ in ids if id_ in failing],
        }


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Publishes bodies of these sizes; returns the history's publish events without their times."""
    monkeypatch.setattr(publisher, "BACKOFF_SECONDS", 0.001)

    def run(sns, *sizes, **options):
        with History(tmp_path / "history.jsonl") as history:
            mails = [Mail(workload=f"w-{n}", body=json.dumps(n).ljust(size)) for n, size in enumerate(sizes)]
            Publisher(sns, "arn", history, threads=1, **options).publish(mails)
        return [(each["event"].removeprefix("publish."), each["workload"]) for each in read(history.path)]

    return run


def test_what_sns_takes_is_acknowledged(publish):
    """A mail is attempted, then acknowledged."""
    assert publish(Sns(), 10) == [("attempted", "w-0"), ("acknowledged", "w-0")]


def test_batches_keep_the_limits_of_sns(publish):
    """Ten messages and 262,144 bytes at most, however the sizes fall."""
    sns = Sns()
    publish(sns, *[10] * 12, 200_000, 62_144, 5, 300_000, 10)
    sizes = [[len(body) for body in batch] for batch in sns.batches]
    assert sizes == [[10] * 10, [10, 10, 200_000], [62_144, 5], [300_000], [10]]


def test_only_the_failed_entries_are_tried_again(publish):
    """One entry of a batch fails and is tried again alone."""
    sns = Sns({"1": {"Code": "InternalError", "Message": "busy", "SenderFault": False}})
    events = publish(sns, 10, 10, 10)
    assert [len(batch) for batch in sns.batches] == [3, 1]
    assert [event for event in events if event[1] == "w-1"] == [
        ("attempted", "w-1"),
        ("failed", "w-1"),
        ("attempted", "w-1"),
        ("acknowledged", "w-1"),
    ]


def test_a_senders_fault_is_final(publish):
    """What SNS will never take is tried once."""
    sns = Sns({"0": {"Code": "InvalidParameter", "Message": "too long", "SenderFault": True}})
    assert publish(sns, 10) == [("attempted", "w-0"), ("failed", "w-0")]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ReadTimeoutError(endpoint_url="http://sns"), "unknown"),
        (ClientError({"Error": {"Code": "x"}, "ResponseMetadata": {"HTTPStatusCode": 503}}, "PublishBatch"), "unknown"),
        (EndpointConnectionError(endpoint_url="http://sns"), "failed"),
        (ClientError({"Error": {"Code": "Throttled"}, "ResponseMetadata": {"HTTPStatusCode": 400}}, "x"), "failed"),
    ],
)
def test_no_answer_is_unknown_and_tried_again(publish, error, outcome):
    """An answer that was lost leaves the publish in doubt; a connection that never stood does not."""
    events = publish(Sns(error), 10)
    assert events == [("attempted", "w-0"), (outcome, "w-0"), ("attempted", "w-0"), ("acknowledged", "w-0")]


def test_it_gives_up_after_its_attempts(publish):
    """A mail that SNS never takes is left alone in the end."""
    refused = EndpointConnectionError(endpoint_url="http://sns")
    assert publish(Sns(refused, refused, refused), 10, attempts=2).count(("failed", "w-0")) == 2


def test_an_error_of_its_own_is_raised(tmp_path):
    """What breaks in a thread is not lost there."""

    class Broken:
        def publish_batch(self, **_):
            raise ZeroDivisionError

    with History(tmp_path / "history.jsonl") as history, pytest.raises(ZeroDivisionError):
        Publisher(Broken(), "arn", history).publish([Mail(workload="w", body="{}")])
