"""One process of a function under the documented Lambda Runtime API.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html, and for the words of the platform's own log lines and
errors https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import selectors
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, cast

import psutil  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

API = "/2018-06-01/runtime"
# How long an initialisation may take; where the function's timeout is longer, that (AWS tries a slow one again as part
# of the first invocation).
INIT_SECONDS = 10
MAX_TAKEN_BYTES = 1_048_576  # of output at once, so that a process that never stops printing is logged all the same


@dataclass(frozen=True, kw_only=True, slots=True)
class Invocation:
    """One event for the function.

    Attributes:
        request_id: The request id of AWS.
        function_arn: The ARN as it was invoked.
        trace_id: The X-Ray trace header.
        payload: The event, JSON.
    """

    request_id: str
    function_arn: str
    trace_id: str
    payload: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """How one invocation ended.

    Attributes:
        payload: The function's answer, or the error document; JSON.
        failed: Whether it is an error document.
        logs: What the process and the platform logged meanwhile.
    """

    payload: bytes
    failed: bool
    logs: str


@dataclass(frozen=True, kw_only=True, slots=True)
class _Event:
    """What the process did: `ready`, `response`, `error`, `init-error` or `exit`."""

    kind: str
    request_id: str = ""
    body: bytes = b""


class InitError(Exception):
    """The process did not get as far as asking for its first event; carries the error document."""

    def __init__(self, payload: bytes) -> None:
        super().__init__(payload.decode(errors="replace"))
        self.payload = payload


class LogFile:
    """The log that the processes of all functions share: whole lines, in the order in which they were read."""

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        self._fd = -1 if path is None else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, lines: Sequence[bytes]) -> None:
        """Append lines, each with its line end."""
        if self._fd >= 0 and lines:
            with self._lock:
                os.write(self._fd, b"".join(lines))


class FunctionProcess:
    """A process that runs one function, one invocation at a time, until it exits or is killed."""

    def __init__(
        self,
        *,
        command: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        log: LogFile,
        pids: Path,
        timeout_seconds: float,
        memory_mb: int,
    ) -> None:
        """Start the process; `init` waits until it is ready.

        Args:
            command: What to run.
            environment: The whole environment, but for the address of the Runtime API.
            directory: Where to run it: the unzipped code.
            log: Where its output goes.
            pids: A directory that holds a file named by the process id while the process lives.
            timeout_seconds: The function's timeout.
            memory_mb: The function's memory, for the REPORT line (it is not enforced).
        """
        self._timeout = timeout_seconds
        self._memory_mb = memory_mb
        self._log = log
        self._started = time.monotonic()
        self._init_ms = 0.0
        self._events: queue.Queue[_Event] = queue.Queue()
        self._invocations: queue.Queue[Invocation | None] = queue.Queue()
        self._ready = False
        self._ended = threading.Event()
        self._output_lock = threading.Lock()
        self._partial = b""
        self._lines: list[bytes] = []
        self._api = _RuntimeApi(self)
        self._output, output = os.pipe()
        self.process = subprocess.Popen(  # noqa: S603 - the command is the executor's own
            command,
            cwd=directory,
            env={**environment, "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._api.server_port}"},
            stdin=subprocess.PIPE,  # never written: its end tells the process that its parent is gone
            stdout=output,
            stderr=output,
        )
        os.close(output)
        pids.mkdir(parents=True, exist_ok=True)
        self._pid_file = pids / str(self.process.pid)
        self._pid_file.touch()
        os.set_blocking(self._output, False)
        for target in (self._api.serve_forever, self._copy_output, self._reap):
            threading.Thread(target=target, name=f"function-{self.process.pid}", daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def kill(self) -> None:
        """Kill the process, if it lives, and wait until nothing of it is left."""
        self.process.kill()
        self._ended.wait()

    def init(self, *, runtime: str) -> None:
        """Wait until the process asks for its first event.

        Raises:
            InitError: It reported an error, exited or took too long instead; no process is left.
        """
        self._say(f"INIT_START Runtime Version: {runtime}\tPid: {self.process.pid}")
        limit = max(INIT_SECONDS, self._timeout)
        try:
            event = self._events.get(timeout=limit)
        except queue.Empty:
            event = _Event(kind="init-error", body=_error("Sandbox.Timedout", _timed_out(limit)))
        self._init_ms = (time.monotonic() - self._started) * 1000
        if event.kind == "ready":
            return
        self.kill()
        body = event.body if event.kind == "init-error" else self._exit_error("")
        kind = json.loads(body or b"{}").get("errorType", "")
        self._say(f"INIT_REPORT Init Duration: {self._init_ms:.2f} ms\tPhase: init\tStatus: error\tError Type: {kind}")
        raise InitError(body)

    def invoke(self, invocation: Invocation) -> Result:
        """Run one invocation; a timeout kills the process."""
        request_id = invocation.request_id
        self._say(f"START RequestId: {request_id} Version: $LATEST", anew=True)
        began = time.monotonic()
        self._invocations.put(invocation)
        event, status = self._await(request_id, began + self._timeout), ""
        if event is None:
            memory = self._memory()
            self.kill()
            text = _timed_out(self._timeout)
            self._say(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ} {request_id} {text}")
            body, status = _error("Sandbox.Timedout", f"RequestId: {request_id} Error: {text}"), "\tStatus: timeout"
        elif event.kind == "exit":
            memory = 0
            body = self._exit_error(request_id)
            self._say(json.loads(body)["errorMessage"])
            status = "\tStatus: error\tError Type: Runtime.ExitError"
        else:
            memory, body = self._memory(), event.body
        took_ms = (time.monotonic() - began) * 1000
        init = f"\tInit Duration: {self._init_ms:.2f} ms" if self._init_ms else ""
        self._init_ms = 0.0  # only the cold start's own invocation reports it
        self._say(
            f"END RequestId: {request_id}",
            f"REPORT RequestId: {request_id}\tDuration: {took_ms:.2f} ms\tBilled Duration: {math.ceil(took_ms)} ms"
            f"\tMemory Size: {self._memory_mb} MB\tMax Memory Used: {memory} MB{init}{status}",
        )
        with self._output_lock:
            logs = b"".join(self._lines).decode(errors="replace")
        return Result(payload=body, failed=event is None or event.kind != "response", logs=logs)

    def _await(self, request_id: str, deadline: float) -> _Event | None:
        """The end of this invocation, or None when time has run out."""
        while True:
            try:
                event = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return None
            if event.kind == "exit" or event.request_id == request_id:
                return event

    def _exit_error(self, request_id: str) -> bytes:
        code = self.process.wait()
        if code < 0:
            reason = f"Runtime exited with error: signal: {(signal.strsignal(-code) or str(-code)).lower()}"
        elif code:
            reason = f"Runtime exited with error: exit status {code}"
        else:
            reason = "Runtime exited without providing a reason"
        return _error("Runtime.ExitError", f"RequestId: {request_id} Error: {reason}")

    def _memory(self) -> int:
        """Resident memory in MB."""
        try:
            return int(psutil.Process(self.process.pid).memory_info().rss / 2**20)
        except psutil.Error:
            return 0

    # The Runtime API's side

    def next_invocation(self) -> Invocation | None:
        """Block until there is an event for the process; None: the process is gone."""
        if not self._ready:
            self._ready = True
            self._events.put(_Event(kind="ready"))
        return self._invocations.get()

    def report(self, kind: str, body: bytes, request_id: str = "") -> None:
        """Take what the process posted."""
        self._events.put(_Event(kind=kind, request_id=request_id, body=body))

    def deadline_ms(self) -> int:
        """The deadline of an invocation that begins now, in Unix milliseconds."""
        return int((time.time() + self._timeout) * 1000)

    # Output

    def _copy_output(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            while True:
                selector.select()
                with self._output_lock:
                    if not self._take():
                        break
        with self._output_lock:
            os.close(self._output)
            self._output = -1

    def _take(self) -> bool:
        """Log the whole lines that have been written by now; False at the end of the output."""
        if self._output < 0:
            return False
        taken, more = b"", True
        with contextlib.suppress(BlockingIOError):
            while more and len(taken) < MAX_TAKEN_BYTES:
                chunk = os.read(self._output, 65536)
                taken += chunk
                more = bool(chunk)
        *lines, self._partial = (self._partial + taken).split(b"\n")
        self._keep([line + b"\n" for line in lines])
        return more

    def _keep(self, lines: list[bytes]) -> None:
        self._lines += lines
        self._log.write(lines)

    def _say(self, *lines: str, anew: bool = False) -> None:
        """Log the platform's own lines, after all that the process wrote before; `anew`: an invocation's log begins."""
        with self._output_lock:
            self._take()
            if self._partial:
                self._keep([self._partial + b"\n"])
                self._partial = b""
            if anew:
                self._lines = []
            self._keep([f"{line}\n".encode() for line in lines])

    def _reap(self) -> None:
        with self.process:  # closes its standard input
            self.process.wait()
        self._pid_file.unlink(missing_ok=True)
        self._events.put(_Event(kind="exit"))
        self._invocations.put(None)
        self._ended.set()
        self._api.shutdown()
        self._api.server_close()


class _RuntimeApi(ThreadingHTTPServer):
    """The Runtime API of one process, on a loopback port of its own."""

    daemon_threads = True

    def __init__(self, function: FunctionProcess) -> None:
        self.function = function
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # the runtime client keeps its connection
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path != f"{API}/invocation/next":
            self._answer(HTTPStatus.NOT_FOUND)
            return
        function = cast("_RuntimeApi", self.server).function
        invocation = function.next_invocation()
        if invocation is None:
            self.close_connection = True
            return
        self._answer(
            HTTPStatus.OK,
            invocation.payload,
            {
                "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
                "Lambda-Runtime-Deadline-Ms": str(function.deadline_ms()),
                "Lambda-Runtime-Invoked-Function-Arn": invocation.function_arn,
                "Lambda-Runtime-Trace-Id": invocation.trace_id,
            },
        )

    def do_POST(self) -> None:
        function = cast("_RuntimeApi", self.server).function
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        match self.path.removeprefix(f"{API}/").split("/"):
            case ["init", "error"]:
                function.report("init-error", body)
            case ["invocation", request_id, ("response" | "error") as kind]:
                function.report(kind, body, request_id)
            case _:
                self._answer(HTTPStatus.NOT_FOUND)
                return
        self._answer(HTTPStatus.ACCEPTED, b'{"status":"OK"}')

    def _answer(self, status: HTTPStatus, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """The platform's lines say enough."""


def _timed_out(seconds: float) -> str:
    return f"Task timed out after {seconds:.2f} seconds"


def _error(kind: str, message: str) -> bytes:
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()
