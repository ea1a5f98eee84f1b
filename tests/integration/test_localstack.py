"""LocalStack's process: its start, its end however it comes, and what it lets in."""

import json
import os
import signal
import socket
import subprocess
import sys

import psutil
import pytest

from harness.errors import LocalStackError
from harness.localstack.process import INHERITED, running
from tests.support.processes import alive

pytestmark = pytest.mark.integration
NONE_NAMED = {"PATH": os.environ["PATH"]}  # no LocalStack is named, so one is started
HARNESS = """
import json, signal, sys
from pathlib import Path
from harness.localstack.process import running

with running(Path(sys.argv[1]), environ={"PATH": "/usr/bin:/bin"}) as emulator:
    functions = emulator.client("lambda")
    functions.create_function(
        FunctionName="sleeper", Runtime="python3.13", Role="arn:aws:iam::000000000000:role/any", Timeout=300,
        Handler="main.handler", Code={"ZipFile": Path(sys.argv[2]).read_bytes()},
    )
    functions.get_waiter("function_active_v2").wait(FunctionName="sleeper", WaiterConfig={"Delay": 0.05})
    functions.invoke(FunctionName="sleeper", Payload=b"{}")
    print(json.dumps({"localstack": emulator.pid, "functions": emulator.function_pids("sleeper")}), flush=True)
    functions.invoke(FunctionName="sleeper", Payload=b'{"sleep": 300}')
"""


@pytest.fixture
def harness(tmp_path, function_zip):
    """A harness of its own, in the middle of an invocation; with the processes that it has started."""
    artifact = tmp_path / "function.zip"
    artifact.write_bytes(
        function_zip(main="import time\ndef handler(event, context):\n    time.sleep(event.get('sleep', 0))\n")
    )
    process = subprocess.Popen(
        [sys.executable, "-c", HARNESS, tmp_path / "logs", artifact],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    pids = json.loads(process.stdout.readline())
    process.started = [psutil.Process(pid) for pid in (pids["localstack"], *pids["functions"])]
    assert len(process.started) == 2
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_process_and_data_end_with_an_exception(tmp_path, monkeypatch, wait_until):
    """An exception in the harness ends LocalStack at once and removes its data."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    seen = []

    def fail(emulator):
        seen.append(psutil.Process(emulator.pid))
        wait_until(lambda: "Ready." in emulator.log.read_text())  # said once LocalStack answers, a moment later
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), running(tmp_path / "logs", environ=NONE_NAMED) as emulator:
        fail(emulator)
    assert not seen[0].is_running()
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_harness(harness, tmp_path, wait_until, sent):
    """Ctrl-C and kill -9 in the middle of an invocation leave neither LocalStack nor a function."""
    harness.send_signal(sent)
    wait_until(lambda: not alive(harness.started))
    wait_until(lambda: not list(tmp_path.glob("ion-localstack-*")))


def test_only_loopback_is_listened_on(emulator):
    """Whoever reaches LocalStack can run code, so nobody else on the network may."""
    addresses = {c.laddr.ip for c in psutil.Process(emulator.pid).net_connections() if c.status == psutil.CONN_LISTEN}
    assert addresses == {"127.0.0.1"}


def test_nothing_of_the_users_environment_gets_in(emulator):
    """Of the environment in which the session's LocalStack was started, no credentials, proxies or settings came in."""
    seen = psutil.Process(emulator.pid).environ()
    assert not seen.keys() & {"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "HTTPS_PROXY", "DEBUG"}
    assert {name for name in seen.keys() & os.environ.keys() if seen[name] == os.environ[name]} <= set(INHERITED)


def test_clients_ignore_the_users_aws_settings(emulator, monkeypatch, tmp_path):
    """A profile that does not exist, a proxy and an endpoint elsewhere make no difference."""
    monkeypatch.setenv("AWS_PROFILE", "missing")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:1")
    with running(tmp_path, environ={"AWS_ENDPOINT_URL": emulator.endpoint_url}) as same:
        assert same.client("sqs").list_queues()["ResponseMetadata"]["HTTPStatusCode"] == 200


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "LOCALSTACK_HOST"])
def test_localstack_that_the_environment_names_is_used_and_left_running(emulator, tmp_path, variable):
    """It is neither started nor stopped here."""
    value = emulator.endpoint_url if variable == "AWS_ENDPOINT_URL" else emulator.endpoint_url.removeprefix("http://")
    with running(tmp_path / "logs", environ={variable: value}) as named:
        assert not named.embedded
        assert named.client("sts").get_caller_identity()["Account"] == "000000000000"
        assert named.function_pids("any") == []
    assert not (tmp_path / "logs").exists()
    assert psutil.Process(emulator.pid).is_running()
    assert emulator.client("sts").get_caller_identity()["Account"] == "000000000000"


def test_named_localstack_that_does_not_answer_is_an_error(tmp_path):
    """The message says which variable named it, and what to do."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with (
            pytest.raises(LocalStackError, match=f"AWS_ENDPOINT_URL='{url}' .* unset AWS_ENDPOINT_URL"),
            running(tmp_path, environ={"AWS_ENDPOINT_URL": url}),
        ):
            pass


def test_failed_start_shows_the_end_of_the_log(tmp_path):
    """The error carries LocalStack's last lines and the log's path."""
    settings = {"SQS_CLOUDWATCH_METRICS_REPORT_INTERVAL": "seldom"}
    with pytest.raises(LocalStackError) as failed, running(tmp_path, environ=NONE_NAMED, settings=settings):
        pass
    assert "ended with exit status 1 while it started" in str(failed.value)
    assert "invalid literal for int() with base 10: 'seldom'" in str(failed.value)
    assert str(tmp_path / "localstack.log") in str(failed.value)


def test_slow_start_is_an_error(tmp_path):
    """A LocalStack that is not ready in time is stopped."""
    with (
        pytest.raises(LocalStackError, match=r"not ready within 0\.1 s"),
        running(tmp_path, environ=NONE_NAMED, start_timeout_seconds=0.1),
    ):
        pass


def test_missing_plugins_are_an_error(tmp_path):
    """LocalStack falls back to its own without a word; here it is told, with what to do."""
    settings = {"LAMBDA_RUNTIME_EXECUTOR": "unheard-of", "PROVIDER_OVERRIDE_DYNAMODB": "unheard-of"}
    with pytest.raises(LocalStackError) as failed, running(tmp_path, environ=NONE_NAMED, settings=settings):
        pass
    assert "without this project's harness.localstack.executor.ProcessRuntimeExecutor (entry" in str(failed.value)
    assert "and harness.localstack.dynamodb.MotoDynamoDb (entry point group localstack.aws.p" in str(failed.value)
    assert "pip install" in str(failed.value)


def test_depth_of_a_queue_is_a_metric_and_single_messages_are_none(emulator, wait_until):
    """SQS reports the metric that alarms act on, and spends nothing on those that count each message."""
    sqs, cloudwatch = emulator.client("sqs"), emulator.client("cloudwatch")
    url = sqs.create_queue(QueueName="measured")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="hello")

    def metrics():
        dimensions = [{"Name": "QueueName", "Value": "measured"}]
        return {one["MetricName"] for one in cloudwatch.list_metrics(Dimensions=dimensions)["Metrics"]}

    wait_until(lambda: "ApproximateNumberOfMessagesVisible" in metrics())
    assert not {name for name in metrics() if name.startswith("NumberOf") or name == "SentMessageSize"}
    sqs.delete_queue(QueueUrl=url)
