"""The program as a user runs it: real command line, real processes, real signals."""

from __future__ import annotations

import json
import mailbox
import os
import signal
import subprocess
import sys

import psutil
import pytest
import requests

from harness.history import read
from tests.support.processes import alive

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
WAIT_SECONDS = 120
# So slow that it is in the middle of its work for minutes, whenever it is looked at.
LONG = ("scenario", "burst", "--mails", "200", "--rate", "1")


@pytest.fixture
def harness(tmp_path):
    """Starts `python -m harness ...` in a directory of its own, with no LocalStack but what it starts itself."""
    started = []

    def start(*arguments, **environment):
        environment = {
            k: v for k, v in os.environ.items() if k not in {"AWS_ENDPOINT_URL", "LOCALSTACK_HOST"}
        } | environment
        command = [sys.executable, "-m", "harness", *arguments]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def latest(directory):
    return directory / "var/runs/latest"


def events(directory):
    path = latest(directory) / "history.jsonl"
    return list(read(path)) if path.exists() else []


def happened(directory, name):
    return any(event["event"] == name for event in events(directory))


def until(process, wait_until, condition, seconds=WAIT_SECONDS):
    """Waits for a condition while the process lives; says what it said when it does not."""
    wait_until(lambda: condition() or process.poll() is not None, seconds=seconds)
    if process.poll() is not None:
        pytest.fail(f"ended with {process.returncode}: {process.communicate()}")


def family(process):
    """The process and all that descend from it now."""
    return [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]


def test_a_burst_is_published_delivered_and_found_valid(harness, tmp_path):
    """Every mail arrives once and unchanged; verdict, results and mail are there to be seen."""
    process = harness("scenario", "burst", "--mails", "40", "--seed", "7")
    output, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors
    assert output.splitlines()[0] == "valid: 40 published, 40 delivered, 0 lost, 0 duplicated"
    results = json.loads((latest(tmp_path) / "results.json").read_text())
    assert results["verdict"] == "valid"
    assert results["artifact"]["sha256"] in output
    kept = mailbox.Maildir(latest(tmp_path) / "mail", create=False)
    assert len({mail["X-Workload-Id"] for mail in kept}) == 40
    assert "delivered" in errors  # the live view, as lines


def test_ctrl_c_stops_everything_and_keeps_what_there_is(harness, tmp_path, wait_until):
    """Interrupted between publish and delivery: verdict unknown, history and results kept, no process left."""
    process = harness(*LONG)
    until(process, wait_until, lambda: happened(tmp_path, "publish.acknowledged"))
    everybody = family(process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 2
    assert output.startswith("unknown: ")
    assert json.loads((latest(tmp_path) / "results.json").read_text())["verdict"] == "unknown"
    wait_until(lambda: not alive(everybody))


def test_a_killed_harness_leaves_no_process_behind(harness, tmp_path, wait_until):
    """SIGKILL in the middle of a run: LocalStack and the function end as well; the run can be checked."""
    process = harness(*LONG)
    until(process, wait_until, lambda: happened(tmp_path, "smtp.transaction"))
    everybody = family(process)
    assert len(everybody) >= 3  # the harness, LocalStack, the function
    process.kill()
    process.communicate()
    wait_until(lambda: not alive(everybody))
    check = harness("check")
    output, _ = check.communicate(timeout=WAIT_SECONDS)
    assert check.returncode == 2
    assert "the run did not end" in output


def test_up_takes_mail_and_shows_it_until_ctrl_c(harness, emulator, tmp_path, wait_until):
    """In a LocalStack that runs already, as AWS_ENDPOINT_URL names it: published with `send`, shown when it arrives."""
    process = harness("up", AWS_ENDPOINT_URL=emulator.endpoint_url, PYTHONUNBUFFERED="1")
    until(process, wait_until, (tmp_path / "var/up.json").exists)
    (tmp_path / "file.txt").write_text("attached")
    second = harness("up")
    assert "runs already" in second.communicate(timeout=WAIT_SECONDS)[1]
    assert second.returncode == 70
    send = harness("send", "--to", "ann@example.com", "--subject", "Grüße", "--text", "Hallo", "--attach", "file.txt")
    _, errors = send.communicate(timeout=WAIT_SECONDS)
    assert send.returncode == 0, errors
    until(process, wait_until, lambda: happened(tmp_path, "smtp.transaction"))
    inbox = json.loads((tmp_path / "var/up.json").read_text())["inbox"]
    with requests.Session() as session:
        session.trust_env = False  # no proxy
        latest_mail = session.get(f"{inbox}/api/v1/message/latest", timeout=WAIT_SECONDS).json()
    assert latest_mail["Subject"] == "Grüße"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0, errors
    assert inbox in output
    assert "delivered to ann@example.com: 'Grüße'" in output
    assert not (tmp_path / "var/up.json").exists()
