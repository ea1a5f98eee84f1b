"""The LocalStack of a run: embedded in a process of its own, or the one that the environment names."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import boto3
import botocore.config
import botocore.session
import psutil  # type: ignore[import-untyped]
from localstack_client.config import get_service_endpoint

from harness.errors import LocalStackError
from harness.localstack.trouble import REDELIVERY_PATH, TROUBLE_PATH, TroubleRule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

REGION = "us-east-1"
ACCESS_KEY = "test"  # LocalStack's convention: it stands for the account 000000000000
SECRET_KEY = "test"  # noqa: S105 - the same
SERVICES = ("cloudwatch", "dynamodb", "iam", "lambda", "logs", "s3", "secretsmanager", "sns", "sqs", "sts")
PLUGINS = {
    "executor": ("harness.localstack.executor.ProcessRuntimeExecutor", "localstack.lambda.runtime_executor"),
    "dynamodb": ("harness.localstack.dynamodb.MotoDynamoDb", "localstack.aws.provider"),
}
QUEUE_METRICS_SECONDS = 1
LAMBDA_RETRY_SECONDS = 10
LOG_TAIL_LINES = 20
POLL_SECONDS = 0.05
ASK_TIMEOUT_SECONDS = 30
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy the user has
# Of the user's environment nothing else reaches LocalStack: no credentials, proxies, profiles or LocalStack settings.
INHERITED = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT")


def _session() -> boto3.Session:
    """A session without anything of the user's: no profile, no configuration or credentials file."""
    nothing = (None, None, None, None)
    files = (None, None, os.devnull, None)
    core = botocore.session.Session(
        session_vars={"profile": nothing, "config_file": files, "credentials_file": files, "ca_bundle": nothing}
    )
    return boto3.Session(
        botocore_session=core, aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY, region_name=REGION
    )


@dataclass(frozen=True, kw_only=True)
class Emulator:
    """A LocalStack that answers.

    Attributes:
        endpoint_url: Where.
        embedded: Whether it was started here; then functions are local processes.
        log: LocalStack's log; None where it is not ours.
        function_log: The output of all functions; None where it is not ours.
        pid: The process id; None where it is not ours.
        host_name: What functions call the machine that the harness runs on.
        host_address: Where that machine is to listen, so that they reach it.
    """

    endpoint_url: str
    embedded: bool
    log: Path | None = None
    function_log: Path | None = None
    pid: int | None = None
    host_name: str = "127.0.0.1"
    host_address: str = "127.0.0.1"
    _pids: Path | None = None
    _session: boto3.Session = field(default_factory=_session, repr=False)
    _clients: dict[str, Any] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def client(self, service: str) -> Any:
        """The boto3 client of a service, one for all threads."""
        with self._lock:  # making a client is not thread-safe, using one is
            if service not in self._clients:
                self._clients[service] = self._session.client(
                    service,  # type: ignore[call-overload]  # the stubs want a literal
                    endpoint_url=self.endpoint_url,
                    config=botocore.config.Config(
                        connect_timeout=5,
                        # Longer than any function runs, or else any long poll waits: a retry would be a second call.
                        read_timeout=910 if service == "lambda" else 70,
                        retries={"mode": "standard", "total_max_attempts": 4},
                        max_pool_connections=50,
                        proxies={},
                    ),
                )
            return self._clients[service]

    def function_pids(self, function: str) -> list[int]:
        """The process ids of a function's living processes; none where LocalStack is not ours."""
        directory = None if self._pids is None else self._pids / function
        if directory is None or not directory.is_dir():
            return []
        return sorted(pid for entry in directory.iterdir() if psutil.pid_exists(pid := int(entry.name)))

    def trouble(self, rules: Sequence[TroubleRule]) -> None:
        """Make AWS go wrong by these rules from now on, and by no others; none heal it.

        Raises:
            LocalStackError: It refuses them, or is a LocalStack that knows no such thing.
        """
        self._ask(TROUBLE_PATH, {"rules": [rule.to_document() for rule in rules]})

    def trouble_counts(self) -> dict[str, int]:
        """How many calls the rules have struck since LocalStack started, by `service.Operation`.

        Raises:
            LocalStackError: As `trouble`.
        """
        return self._ask(TROUBLE_PATH)

    def redeliver(self, queue_name: str, *, share: float = 1.0, seed: int = 0) -> int:
        """Have messages of a queue delivered again although somebody holds them; returns how many.

        Args:
            queue_name: The queue.
            share: Of the messages in flight, this share, 0 to 1.
            seed: Of the share.

        Raises:
            LocalStackError: As `trouble`, or there is no such queue.
        """
        asked = {"queue": queue_name, "share": share, "seed": seed}
        return self._ask(REDELIVERY_PATH, asked)["redelivered"]

    def _ask(self, path: str, document: dict[str, Any] | None = None) -> dict[str, int]:
        """GET a path of ours, or POST a document to it."""
        request = urllib.request.Request(  # noqa: S310 - the URL is LocalStack's
            f"{self.endpoint_url}{path}",
            data=None if document is None else json.dumps(document).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with OPENER.open(request, timeout=ASK_TIMEOUT_SECONDS) as response:
                answer: dict[str, int] = json.load(response)
        except (OSError, ValueError) as error:
            why = error.read().decode(errors="replace") if isinstance(error, urllib.error.HTTPError) else ""
            raise LocalStackError(
                f"{request.get_method()} {request.full_url} failed: {error} {why}\n(Only a LocalStack that this project"
                " starts knows this path.)"
            ) from error
        return answer


@contextlib.contextmanager
def running(
    log_directory: Path,
    *,
    environ: Mapping[str, str] = os.environ,
    queue_metrics_seconds: int = QUEUE_METRICS_SECONDS,
    lambda_retry_seconds: int = LAMBDA_RETRY_SECONDS,
    settings: Mapping[str, str] = MappingProxyType({}),
    start_timeout_seconds: float = 120,
) -> Iterator[Emulator]:
    """The LocalStack that `AWS_ENDPOINT_URL` or `LOCALSTACK_HOST` names, else one that lives as long as the context.

    The embedded one never outlives this process, not even when that is killed: see `bootstrap.follow_parent`.

    Args:
        log_directory: Where localstack.log and function.log go.
        environ: The environment.
        queue_metrics_seconds: How often SQS publishes its CloudWatch metrics (a minute in AWS).
        lambda_retry_seconds: How long the first retry of a failed asynchronous invocation waits (a minute in AWS).
        settings: More of LocalStack's own settings; they win.
        start_timeout_seconds: The bound on LocalStack's start.

    Raises:
        LocalStackError: It did not start, lacks a plugin of ours, or does not answer.
    """
    if environ.get("AWS_ENDPOINT_URL") or environ.get("LOCALSTACK_HOST"):
        yield _external(environ)
        return
    log_directory.mkdir(parents=True, exist_ok=True)
    log, function_log = log_directory / "localstack.log", log_directory / "function.log"
    data = Path(tempfile.mkdtemp(prefix="ion-localstack-"))
    try:
        with socket.socket() as listening, log.open("ab") as output:
            # Bound here and handed on, so that no other process can take the port in between.
            listening.bind(("127.0.0.1", 0))
            port = listening.getsockname()[1]
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [
                    *(sys.executable, "-m", "harness.localstack.main"),
                    *("--data", data, "--listen-fd", str(listening.fileno())),
                ],
                cwd=data,
                env={
                    **{name: environ[name] for name in INHERITED if name in environ},
                    **own_settings(data, port),
                    "ION_FUNCTION_LOG": str(function_log.resolve()),
                    "SQS_CLOUDWATCH_METRICS_REPORT_INTERVAL": str(queue_metrics_seconds),
                    "LAMBDA_RETRY_BASE_DELAY": str(lambda_retry_seconds),
                    **settings,
                },
                stdin=subprocess.PIPE,  # never written: its end tells LocalStack that this process is gone
                stdout=output,
                stderr=output,
                pass_fds=(listening.fileno(),),
                start_new_session=True,  # Ctrl-C is ours to handle; and one kill reaches all of its processes
            )
        with process:
            try:
                endpoint_url = f"http://127.0.0.1:{port}"
                _wait_until_healthy(endpoint_url, process, log, start_timeout_seconds)
                check_plugins(endpoint_url, log)
                yield Emulator(
                    endpoint_url=endpoint_url,
                    embedded=True,
                    log=log,
                    function_log=function_log,
                    pid=process.pid,
                    _pids=data / "ion" / "pids",
                )
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, 9)
    finally:
        shutil.rmtree(data, ignore_errors=True)


def own_settings(data: Path, port: int) -> dict[str, str]:
    """LocalStack's own settings: offline, quiet, private."""
    return {
        "GATEWAY_LISTEN": f"127.0.0.1:{port}",
        "SERVICES": ",".join(SERVICES),
        "STRICT_SERVICE_LOADING": "1",
        "DISABLE_EVENTS": "1",
        "SKIP_SSL_CERT_DOWNLOAD": "1",
        "DNS_ADDRESS": "0",
        "SQS_ENDPOINT_STRATEGY": "standard",  # AWS's form, which Terraform's provider insists on
        "LAMBDA_RUNTIME_EXECUTOR": "process",
        "LAMBDA_RUNTIME_ENVIRONMENT_TIMEOUT": "910",  # the executor has its own bound
        "PROVIDER_OVERRIDE_DYNAMODB": "moto",
        "OVERRIDE_IN_DOCKER": "0",  # in a container too, all files belong below the next
        "FILESYSTEM_ROOT": str(data / "filesystem"),
        "HOME": str(data),  # ~/.aws and ~/.localstack are the user's
    }


def _external(environ: Mapping[str, str]) -> Emulator:
    name = "AWS_ENDPOINT_URL" if environ.get("AWS_ENDPOINT_URL") else "LOCALSTACK_HOST"
    endpoint_url = environ.get("AWS_ENDPOINT_URL") or get_service_endpoint("sqs", environ.get("LOCALSTACK_HOST"))
    if not endpoint_url or get(f"{endpoint_url}/_localstack/health") is None:
        raise LocalStackError(
            f"{name}={environ[name]!r} names a LocalStack, but nothing answers as one at {endpoint_url}."
            f" Start it, or unset {name} and one will be started here."
        )
    return Emulator(endpoint_url=endpoint_url.rstrip("/"), embedded=False)


def _wait_until_healthy(endpoint_url: str, process: subprocess.Popen[bytes], log: Path, timeout_seconds: float) -> None:
    deadline = time.monotonic() + timeout_seconds
    while get(f"{endpoint_url}/_localstack/health") is None:
        if process.poll() is not None:
            raise LocalStackError(
                f"LocalStack ended with exit status {process.returncode} while it started.{tail(log)}"
            )
        if time.monotonic() > deadline:
            raise LocalStackError(f"LocalStack was not ready within {timeout_seconds:g} s.{tail(log)}")
        time.sleep(POLL_SECONDS)


def check_plugins(endpoint_url: str, log: Path) -> None:
    """LocalStack falls back to its own in silence (to Docker, to a download); ours have to be there."""
    loaded = get(f"{endpoint_url}/_ion/plugins") or {}
    missing = [
        f"{expected} (entry point group {group}; loaded instead: {loaded.get(key)})"
        for key, (expected, group) in PLUGINS.items()
        if loaded.get(key) != expected
    ]
    if missing:
        raise LocalStackError(
            f"LocalStack runs without this project's {' and '.join(missing)}. Install the project again, so that its"
            f" entry points are known: pip install -e '.[harness]'{tail(log)}"
        )


def get(url: str) -> dict[str, Any] | None:
    """The JSON document at a URL; None where there is none (yet)."""
    try:
        with OPENER.open(url, timeout=5) as response:
            document = json.load(response)
    except (OSError, ValueError):  # refused, timed out, an HTTP error, no JSON
        return None
    return document if isinstance(document, dict) else None


def tail(log: Path) -> str:
    """The end of a log, for people."""
    lines = log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    return "".join(f"\n    {line}" for line in lines) + f"\nThe whole log: {log}"
