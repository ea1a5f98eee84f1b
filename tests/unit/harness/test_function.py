"""One process of a function: what of it needs no LocalStack."""

import json
import os
import site
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from harness.localstack import bootstrap, function
from harness.localstack.function import FunctionProcess, Invocation, LogFile
from tests.support.processes import alive

BOOTSTRAP = Path(bootstrap.__file__)
# A package of this name that cannot be imported, as on a machine for which AWS's compiled client is not built.
NO_COMPILED_CLIENT = "raise ImportError('built for Linux only')\n"


def event(number, **payload):
    return Invocation(request_id=f"r{number}", function_arn="arn:f", trace_id="t", payload=json.dumps(payload).encode())


@pytest.fixture
def start(tmp_path):
    """Starts a function process from a module's source: `start(source)`."""
    started = []

    def make(source, *, timeout=60, **modules):
        code = tmp_path / f"code{len(started)}"
        code.mkdir()
        for name, text in {"main": source, **modules}.items():
            (code / f"{name}.py").write_text(text)
        process = FunctionProcess(
            command=(sys.executable, "-S", "-P", str(BOOTSTRAP), "main.handler"),
            environment={"PYTHONPATH": os.pathsep.join((str(code), site.getsitepackages()[0]))},
            directory=code,
            log=LogFile(tmp_path / "function.log"),
            pids=tmp_path / "pids",
            timeout_seconds=timeout,
            memory_mb=128,
        )
        started.append(process)
        return process

    yield make
    for process in started:
        process.kill()


def test_portable_client_stands_in_for_the_compiled_one(start):
    """Where AWS's compiled client cannot be imported, events, answers and errors pass as well."""
    process = start(
        "def handler(event, context):\n    return {'got': event, 'id': context.aws_request_id, 'n': 1 / event['n']}\n",
        runtime_client=NO_COMPILED_CLIENT,
    )
    process.init(runtime="python:3")
    result = process.invoke(event(1, n=2, text="ü"))
    assert json.loads(result.payload) == {"got": {"n": 2, "text": "ü"}, "id": "r1", "n": 0.5}
    result = process.invoke(event(2, n=0))
    assert result.failed
    assert json.loads(result.payload)["errorType"] == "ZeroDivisionError"


def test_module_that_never_finishes_loading_is_an_init_error(start, monkeypatch):
    """An initialisation that hangs ends with the timeout, and so does its process."""
    monkeypatch.setattr(function, "INIT_SECONDS", 0.3)
    process = start("import time\ntime.sleep(300)\n", timeout=0.3)
    with pytest.raises(function.InitError, match=r"Task timed out after 0\.30 seconds"):
        process.init(runtime="python:3")
    assert not process.alive


def test_what_is_printed_while_loading_is_in_no_invocations_log(start, tmp_path, monkeypatch):
    """Output that nobody has read yet when the first event comes is logged, before that event's own."""
    monkeypatch.setattr(FunctionProcess, "_copy_output", lambda _: None)
    process = start("print('while loading')\ndef handler(event, context):\n    print('at work')\n")
    process.init(runtime="python:3")
    result = process.invoke(event(1))
    assert [line.split(" ")[0] for line in result.logs.splitlines()] == ["START", "at", "END", "REPORT"]
    before, _, _ = (tmp_path / "function.log").read_text().partition("\nSTART RequestId: r1 ")
    assert sorted(line.split(" ")[0] for line in before.splitlines()) == ["INIT_START", "while"]


def test_pid_file_lives_as_long_as_the_process(start, tmp_path, wait_until):
    """The directory of pids names the living processes and no others."""
    process = start("def handler(event, context):\n    pass\n")
    process.init(runtime="python:3")
    assert [path.name for path in (tmp_path / "pids").iterdir()] == [str(process.process.pid)]
    process.kill()
    wait_until(lambda: not list((tmp_path / "pids").iterdir()))


def test_lines_of_several_processes_stay_whole(start, tmp_path):
    """Two processes that write at once, in pieces, never tear each other's lines in the log they share."""
    source = """
import os
def handler(event, context):
    for number in range(300):
        os.write(1, b"<" + event["mark"].encode() * 50)
        os.write(1, event["mark"].encode() * 5000 + b">\\n")
"""
    processes = [start(source), start(source)]
    threads = [
        threading.Thread(target=lambda p=process, m=mark: (p.init(runtime="python:3"), p.invoke(event(m, mark=m))))
        for process, mark in zip(processes, "ab", strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [line for line in (tmp_path / "function.log").read_text().splitlines() if line.startswith("<")]
    assert sorted(lines) == ["<" + "a" * 5050 + ">"] * 300 + ["<" + "b" * 5050 + ">"] * 300


def test_process_ends_with_its_parent(tmp_path, wait_until):
    """A function in the middle of an event does not outlive a parent that was killed, even if it ignores signals."""
    (tmp_path / "main.py").write_text(
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "def handler(event, context):\n    print('busy')\n    time.sleep(300)\n"
    )
    parent = f"""
import os, sys
from pathlib import Path
sys.path.insert(0, {str(Path(function.__file__).parents[2])!r})
from harness.localstack.function import *
here = Path({str(tmp_path)!r})
process = FunctionProcess(
    command=(sys.executable, "-S", "-P", {str(BOOTSTRAP)!r}, "main.handler"),
    environment={{"PYTHONPATH": os.pathsep.join((str(here), {site.getsitepackages()[0]!r}))}},
    directory=here, log=LogFile(here / "function.log"), pids=here / "pids", timeout_seconds=300, memory_mb=128,
)
process.init(runtime="python:3")
process.invoke(Invocation(request_id="r", function_arn="a", trace_id="t", payload=b"{{}}"))
"""
    with subprocess.Popen([sys.executable, "-c", parent]) as running:
        log = tmp_path / "function.log"
        wait_until(lambda: log.exists() and "busy" in log.read_text())
        child = psutil.Process(int(next((tmp_path / "pids").iterdir()).name))
        running.kill()
    wait_until(lambda: not alive([child]))
