"""LocalStack's Lambda service, with functions as local processes in place of Docker containers.

LocalStack keeps what is its own: triggers, asynchronous retries, throttling, reserved concurrency. This plugin runs the
function's unzipped artifact under AWS's own runtime client (awslambdaric) on this machine's Python.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import sys
import tempfile
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localstack import config
from localstack.services.lambda_.invocation.executor_endpoint import StatusErrorException
from localstack.services.lambda_.invocation.lambda_models import FunctionVersion, InvocationResult
from localstack.services.lambda_.invocation.plugins import RuntimeExecutorPlugin
from localstack.services.lambda_.invocation.runtime_executor import RuntimeExecutor

from harness.localstack.function import FunctionProcess, InitError, Invocation, LogFile

if TYPE_CHECKING:
    from collections.abc import Iterator

BOOTSTRAP = Path(__file__).with_name("bootstrap.py")
# What AWS's Python runtime brings into every function: its client and boto3 with all that they need.
RUNTIME_DISTRIBUTIONS = ("awslambdaric", "boto3")


class ProcessRuntimeExecutor(RuntimeExecutor):  # type: ignore[misc]  # LocalStack is untyped
    """One sandbox of a function version: at most one process at a time, started anew after a crash or a timeout."""

    def __init__(self, id: str, function_version: FunctionVersion) -> None:  # noqa: A002 - LocalStack's signature
        super().__init__(id, function_version)
        self._environment: dict[str, str] = {}
        self._process: FunctionProcess | None = None

    def start(self, env_vars: dict[str, Any]) -> None:
        """Start the process and wait until it is ready.

        Raises:
            StatusErrorException: The handler could not be loaded; LocalStack returns its payload to the caller.
        """
        code = str(self._code_directory())
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": tempfile.gettempdir(),  # ~/.aws is the user's
            "TMPDIR": tempfile.gettempdir(),
            **{name: str(value) for name, value in env_vars.items()},
            "LAMBDA_TASK_ROOT": code,
            "LAMBDA_RUNTIME_DIR": str(runtime_directory()),
            # The artifact first, as in AWS; with -S and -P below there is nothing else but the standard library, so
            # that the checkout (an editable install) and the harness's own packages cannot be imported.
            "PYTHONPATH": os.pathsep.join((code, str(runtime_directory()))),
        }
        try:
            self._start_process()
        except InitError as error:
            raise StatusErrorException("The function could not be initialised", payload=error.payload) from error

    def invoke(self, payload: dict[str, str]) -> InvocationResult:
        """Run one invocation, in a new process if the last one is gone."""
        request_id = payload["invoke-id"]
        try:
            process = self._process if self._process and self._process.alive else self._start_process()
        except InitError as error:
            return InvocationResult(request_id, error.payload, is_error=True, logs=str(error))
        result = process.invoke(
            Invocation(
                request_id=request_id,
                function_arn=payload["invoked-function-arn"],
                trace_id=payload["trace-id"],
                payload=payload["payload"].encode(),
            )
        )
        return InvocationResult(request_id, result.payload, is_error=result.failed, logs=result.logs)

    def stop(self) -> None:
        """Kill the process."""
        if self._process is not None:
            self._process.kill()

    def get_logs(self) -> str:
        """Nothing: all output is in the function log as it comes."""
        return ""

    def get_address(self) -> str:
        """Where the sandbox can be reached from LocalStack."""
        return "127.0.0.1"

    def get_endpoint_from_executor(self) -> str:
        """Where LocalStack can be reached from the sandbox."""
        return "127.0.0.1"

    def get_runtime_endpoint(self) -> str:
        """LocalStack's own executor endpoint; unused, but it is asked for."""
        return f"http://127.0.0.1:{config.GATEWAY_LISTEN[0].port}/_localstack_lambda/{self.id}"

    @classmethod
    def prepare_version(cls, function_version: FunctionVersion) -> None:
        """Unzip the code, once a version, and have the runtime ready, so that neither is part of a cold start."""
        runtime_directory()
        function_version.config.code.prepare_for_execution()

    @classmethod
    def cleanup_version(cls, function_version: FunctionVersion) -> None:
        """Nothing: LocalStack removes the unzipped code itself."""

    def _code_directory(self) -> Path:
        return Path(self.function_version.config.code.get_unzipped_code_location())

    def _start_process(self) -> FunctionProcess:
        function = self.function_version.config
        process = self._process = FunctionProcess(
            command=(sys.executable, "-S", "-P", str(BOOTSTRAP), function.handler),
            environment=self._environment,
            directory=self._code_directory(),
            log=function_log(),
            pids=state_directory() / "pids" / self.function_version.id.function_name,
            timeout_seconds=function.timeout,
            memory_mb=function.memory_size,
        )
        process.init(runtime=f"python:{platform.python_version()}")
        return process


class ProcessRuntimeExecutorPlugin(RuntimeExecutorPlugin):  # type: ignore[misc]  # LocalStack is untyped
    """What LocalStack finds under `LAMBDA_RUNTIME_EXECUTOR=process`."""

    name = "process"

    def load(self, *_args: object, **_kwargs: object) -> type[ProcessRuntimeExecutor]:
        """The executor's class."""
        return ProcessRuntimeExecutor


@cache
def function_log() -> LogFile:
    """The log named by `ION_FUNCTION_LOG`; without it the output is kept for CloudWatch only."""
    path = os.environ.get("ION_FUNCTION_LOG")
    return LogFile(Path(path) if path else None)


@cache
def state_directory() -> Path:
    """Where the executor keeps its own files: among LocalStack's temporary ones."""
    return Path(tempfile.gettempdir()) / "ion"


@cache
def runtime_directory() -> Path:
    """A directory that holds what AWS's runtime brings, and nothing else of what is installed here.

    So a dependency that the artifact lacks is missing here as it would be in AWS.
    """
    directory = state_directory() / "runtime"
    directory.mkdir(parents=True, exist_ok=True)
    for distribution in _closure(RUNTIME_DISTRIBUTIONS):
        for name in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            with contextlib.suppress(FileExistsError):  # two functions that start at once
                (directory / name).symlink_to(str(distribution.locate_file(name)))
    return directory


def _closure(names: tuple[str, ...]) -> Iterator[metadata.Distribution]:
    """The distributions of these names and all that they require, without extras."""
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.split(r"[^\w.-]", waiting.pop(), maxsplit=1)[0]
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # required on other Pythons or platforms only
            continue
        yield distribution
        waiting += [requirement for requirement in distribution.requires or () if "extra ==" not in requirement]
