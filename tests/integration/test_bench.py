"""The bench, with a handful of mails: it must still run when somebody wants figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def found(emulator, tmp_path_factory):
    """What a run of every kind of cell leaves, by file name, and what it printed."""
    directory = tmp_path_factory.mktemp("bench")
    done = subprocess.run(
        [sys.executable, "-m", "harness", "bench", "--mails", "20", "--cells", "sqs,baseline:1:5,ion:2:5,smtp:2:5"],
        cwd=directory,
        env={**os.environ, "AWS_ENDPOINT_URL": emulator.endpoint_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = (directory / "var/bench").iterdir()
    return {"printed": done.stdout, **{path.name: path.read_text() for path in run.glob("bench.*")}}


def test_every_contender_sends_every_mail(found):
    """Twenty mails in each cell, over as many connections as were asked for, four round trips each and a few more."""
    cells = {one["cell"]["name"]: one for one in json.loads(found["bench.json"])["measurements"]}
    assert {name: (one["mails"], one["connections"]) for name, one in cells.items()} == {
        "sqs": (20, 0),
        "baseline": (20, 1),
        "ion": (20, 2),
        "smtp": (20, 2),
    }
    for name in ("baseline", "ion", "smtp"):
        assert 4 * 20 < cells[name]["replies"] < 5 * 20


def test_calls_are_counted_by_kind(found):
    """The baseline deletes one by one and keeps no ledger; ion deletes in groups, be they of one, and keeps one."""
    calls = {one["cell"]["name"]: one["aws_calls"] for one in json.loads(found["bench.json"])["measurements"]}
    assert calls["baseline"]["sqs.DeleteMessage"] == 20
    assert "dynamodb.TransactWriteItems" not in calls["baseline"]
    assert calls["sqs"]["sqs.DeleteMessageBatch"] >= 2
    assert calls["ion"]["dynamodb.TransactWriteItems"] >= 3  # two batches claimed, one group settled at the least
    assert 2 <= calls["ion"]["sqs.DeleteMessageBatch"] <= 20  # a group is what is done by then: on a fast machine, one
    assert "sqs.DeleteMessage" not in calls["ion"]
    assert calls["smtp"] == {}


def test_table_and_picture_are_left(found):
    """The table is printed and kept, the picture names the contenders."""
    assert found["bench.md"] in found["printed"]
    assert "| 5 ms       | **ion**    | 2" in found["bench.md"]
    assert "ion, 2 connections" in found["bench.svg"]


def test_nothing_is_left_in_localstack(found, emulator):
    """A LocalStack that outlives the bench is as it was."""
    queues = emulator.client("sqs").list_queues(QueueNamePrefix="bench").get("QueueUrls", [])
    tables = emulator.client("dynamodb").list_tables()["TableNames"]
    alarms = emulator.client("cloudwatch").describe_alarms(AlarmNamePrefix="bench")["MetricAlarms"]
    assert [queues, [name for name in tables if name.startswith("bench")], alarms] == [[], [], []]
