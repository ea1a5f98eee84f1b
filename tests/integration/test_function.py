"""Functions as local processes: what LocalStack's Lambda service and our executor make of them together."""

import base64
import json
import os
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.integration
CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def make_function(emulator, function_zip, request):
    """Creates a function from a module's source; `invoke` it, or ask for its `pids`."""
    client = emulator.client("lambda")
    made = []

    class Function:
        def __init__(self, source, *, concurrency=1, timeout=120, environment=None):
            self.name = f"f{os.getpid()}-{abs(hash(request.node.name))}-{len(made)}"
            client.create_function(
                FunctionName=self.name,
                Runtime="python3.13",
                Role="arn:aws:iam::000000000000:role/any",
                Handler="main.handler",
                Code={"ZipFile": function_zip(main=source)},
                Timeout=timeout,
                MemorySize=256,
                Environment={"Variables": environment or {}},
            )
            client.get_waiter("function_active_v2").wait(FunctionName=self.name, WaiterConfig={"Delay": 0.05})
            client.put_function_concurrency(FunctionName=self.name, ReservedConcurrentExecutions=concurrency)
            made.append(self)

        def invoke(self, event=None):
            """The answer's document, the function error (or None), and the log."""
            answer = client.invoke(FunctionName=self.name, Payload=json.dumps(event or {}), LogType="Tail")
            log = base64.b64decode(answer["LogResult"]).decode()
            return json.load(answer["Payload"]), answer.get("FunctionError"), log

        def start(self, event):
            """Invoke asynchronously."""
            client.invoke(FunctionName=self.name, Payload=json.dumps(event), InvocationType="Event")

        def pids(self):
            return emulator.function_pids(self.name)

    yield Function
    for function in made:
        client.delete_function(FunctionName=function.name)


def test_function_runs_from_the_artifact_alone(make_function):
    """The module comes from the unzipped zip; of what is installed here only AWS's own runtime can be imported."""
    found, error, _ = make_function(
        """
import importlib.util, os, sys

def handler(event, context):
    names = ("boto3", "awslambdaric", "ion", "harness", "aiosmtplib", "pytest", "localstack", "process")
    return {
        "file": __file__, "directory": os.getcwd(), "root": os.environ["LAMBDA_TASK_ROOT"], "path": sys.path,
        "found": [name for name in names if importlib.util.find_spec(name)],
    }
"""
    ).invoke()
    assert error is None
    root = found["root"]
    assert found["file"] == f"{root}/main.py"
    assert found["directory"] == root
    assert found["path"][0] == root
    assert found["found"] == ["boto3", "awslambdaric"]
    assert not [entry for entry in found["path"] if Path(entry).is_relative_to(CHECKOUT)]


def test_function_reaches_localstack_with_its_own_credentials(make_function):
    """boto3 without any argument talks to this LocalStack, as the function's role."""
    found, error, _ = make_function(
        """
import boto3

def handler(event, context):
    return boto3.client("sts").get_caller_identity()["Arn"]
"""
    ).invoke()
    assert error is None
    assert found.startswith("arn:aws:sts::000000000000:assumed-role/any/")


def test_function_sees_lambdas_context_and_environment(make_function):
    """Request id, ARN, time left and the variables are those of Lambda; the harness's own environment is not there."""
    function = make_function(
        """
import os

def handler(event, context):
    return {
        "event": event, "id": context.aws_request_id, "arn": context.invoked_function_arn,
        "left": context.get_remaining_time_in_millis(), "environment": dict(os.environ),
    }
""",
        timeout=900,
        environment={"ION_SMTP_SERVER": "mail.example"},
    )
    found, error, log = function.invoke({"a": ["ü"]})
    assert error is None
    assert found["event"] == {"a": ["ü"]}
    assert f"START RequestId: {found['id']} Version: $LATEST" in log
    assert found["arn"] == f"arn:aws:lambda:us-east-1:000000000000:function:{function.name}"
    assert 600_000 < found["left"] <= 900_000
    environment = found["environment"]
    assert environment["ION_SMTP_SERVER"] == "mail.example"
    assert environment["AWS_LAMBDA_FUNCTION_NAME"] == function.name
    assert environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    same = {name for name, value in os.environ.items() if environment.get(name) == value}
    assert same <= {"PATH", "LANG", "TZ", "AWS_REGION", "AWS_DEFAULT_REGION"}  # the region may be the user's, too
    assert environment["HOME"] != os.environ.get("HOME")


def test_output_is_logged_in_whole_lines_between_lambdas_own(make_function, emulator):
    """print, logging and raw output stand between START and END, and in the function log; the cold start is told."""
    function = make_function(
        """
import logging, os, sys
print("while loading")

def handler(event, context):
    print("printed", flush=True)
    logging.getLogger().warning("logged")
    os.write(2, b"raw, no line end")
"""
    )
    _, error, log = function.invoke()
    assert error is None
    lines = log.splitlines()
    assert [line.split(" ")[0].split("\t")[0] for line in lines] == [
        *("START", "printed", "[WARNING]", "raw,", "END", "REPORT"),
    ]
    assert "Init Duration: " in lines[-1]
    assert "Max Memory Used: " in lines[-1]
    assert log in emulator.function_log.read_text()
    assert f"Pid: {function.pids()[0]}\nwhile loading\n" in emulator.function_log.read_text()
    _, _, again = function.invoke()
    assert "Init Duration" not in again


def test_exception_is_lambdas_error_document(make_function):
    """A handler that raises gives type, message and trace, and the process lives on."""
    function = make_function("def handler(event, context):\n    raise ValueError('no good')\n")
    document, error, log = function.invoke()
    pids = function.pids()
    assert error == "Unhandled"
    assert (document["errorType"], document["errorMessage"]) == ("ValueError", "no good")
    assert "[ERROR] ValueError: no good" in log
    function.invoke()
    assert function.pids() == pids


def test_module_that_cannot_be_imported_is_an_init_error(make_function):
    """The error names the missing module, each time anew, and leaves no process."""
    function = make_function("import aiosmtplib\n")
    for _ in range(2):
        document, error, _ = function.invoke()
        assert error == "Unhandled"
        assert document["errorType"] == "Runtime.ImportModuleError"
        assert "No module named 'aiosmtplib'" in document["errorMessage"]
    assert function.pids() == []


def test_timeout_kills_the_process(make_function):
    """A handler that does not end in time is killed, whatever it does, and the next event gets a new process."""
    function = make_function(
        """
import os, signal, time

def handler(event, context):
    if event.get("hang"):
        print("hanging", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
    return os.getpid()
""",
        timeout=5,  # long enough for an event that does not hang, however busy the machine
    )
    document, error, log = function.invoke({"hang": True})
    assert error == "Unhandled"
    assert document["errorType"] == "Sandbox.Timedout"
    assert document["errorMessage"].endswith("Task timed out after 5.00 seconds")
    assert "hanging\n" in log
    assert "Status: timeout" in log
    assert function.pids() == []
    pid, error, log = function.invoke()
    assert error is None
    assert function.pids() == [pid]
    assert "Init Duration" in log


@pytest.mark.parametrize(
    ("death", "reason"),
    [
        ("os.kill(os.getpid(), 9)", "signal: killed"),
        ("os._exit(3)", "exit status 3"),
    ],
)
def test_crash_is_an_exit_error_and_the_next_event_runs(make_function, death, reason):
    """A process that dies in the middle fails its invocation only."""
    function = make_function(
        f"""
import os

def handler(event, context):
    if event.get("die"):
        {death}
    return os.getpid()
"""
    )
    document, error, _ = function.invoke({"die": True})
    assert error == "Unhandled"
    assert document["errorType"] == "Runtime.ExitError"
    assert document["errorMessage"].endswith(f"Runtime exited with error: {reason}")
    pid, error, _ = function.invoke()
    assert error is None
    assert function.pids() == [pid]


def test_process_killed_between_events_is_replaced(make_function, wait_until):
    """The pids that the emulator gives are those of the processes: killing one makes the next event start another."""
    function = make_function("import os\ndef handler(event, context):\n    return os.getpid()\n")
    first, _, _ = function.invoke()
    assert function.pids() == [first]
    psutil.Process(first).kill()
    wait_until(lambda: not function.pids())
    second, error, _ = function.invoke()
    assert error is None
    assert second != first


@pytest.mark.timeout(400)
def test_reserved_concurrency_runs_that_many_at_once(make_function, tmp_path, wait_until):
    """With a reserved concurrency of four, four of six events run at a time, each in a process of its own."""
    function = make_function(
        """
import os, pathlib, time

def handler(event, context):
    place = pathlib.Path(event["place"])
    running = place / f"running-{os.getpid()}"
    running.touch()
    at_once = len(list(place.glob("running-*")))
    deadline = time.monotonic() + 100
    while not (place / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    running.unlink()
    (place / f"done-{context.aws_request_id}").write_text(str(at_once))
""",
        concurrency=4,
    )
    for _ in range(6):
        function.start({"place": str(tmp_path)})
    wait_until(lambda: len(list(tmp_path.glob("running-*"))) == 4, seconds=90)
    assert len(function.pids()) == 4
    (tmp_path / "go").touch()
    # An event that found no room is tried again after 1, 2, 4, 8, ... seconds.
    wait_until(lambda: len(list(tmp_path.glob("done-*"))) == 6, seconds=200)
    assert max(int(path.read_text()) for path in tmp_path.glob("done-*")) == 4
