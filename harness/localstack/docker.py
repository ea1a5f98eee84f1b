"""LocalStack in Docker, for as long as a run: docker-compose.yml under a project name of its own."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from typing import TYPE_CHECKING

from harness.artifact import PROJECT
from harness.errors import LocalStackError
from harness.localstack.process import Emulator, check_plugins, get, tail

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST_NAME = "host.docker.internal"
"""What a container calls this machine (docker-compose.yml, and Docker Desktop by itself)."""

START_TIMEOUT_SECONDS = 120
POLL_SECONDS = 0.2


@contextlib.contextmanager
def running(log_directory: Path) -> Iterator[Emulator]:
    """A LocalStack in a container of its own, on a free port of loopback, gone at the end.

    Args:
        log_directory: Where localstack.log and function.log go.

    Raises:
        LocalStackError: There is no Docker, the image cannot be built, or LocalStack did not start or lacks a plugin.
    """
    log_directory.mkdir(parents=True, exist_ok=True)
    log, function_log = log_directory / "localstack.log", log_directory / "function.log"
    function_log.touch()
    compose = _Compose(log_directory)
    compose.run("build")
    try:
        compose.run("up", "--detach")
        endpoint_url = f"http://{compose.run('port', 'localstack', '4566').strip()}"
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while get(f"{endpoint_url}/_localstack/health") is None:
            if time.monotonic() > deadline or not compose.run("ps", "--quiet").strip():
                log.write_text(compose.run("logs", "--no-color"))
                raise LocalStackError(f"LocalStack's container did not become ready.{tail(log)}")
            time.sleep(POLL_SECONDS)
        log.touch()
        check_plugins(endpoint_url, log)
        yield Emulator(
            endpoint_url=endpoint_url,
            embedded=False,
            log=log,
            function_log=function_log,
            host_name=HOST_NAME,
            host_address=_address(compose),
        )
    finally:
        with contextlib.suppress(LocalStackError):
            log.write_text(compose.run("logs", "--no-color"))
        compose.run("down", "--volumes", "--timeout", "2")


def _address(compose: _Compose) -> str:
    """The address of this machine that containers reach under HOST_NAME.

    On Linux that is a bridge of Docker's; Docker Desktop has an address of its own, and forwards it to loopback.
    """
    look_up = f"import socket; print(socket.gethostbyname({HOST_NAME!r}))"
    address = compose.run("exec", "-T", "localstack", "python", "-c", look_up).strip()
    with contextlib.suppress(OSError), socket.socket() as probe:
        probe.bind((address, 0))
        return address
    return "127.0.0.1"


class _Compose:
    """The compose command for one run."""

    def __init__(self, logs: Path) -> None:
        self._environ = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": f"ion-{os.getpid()}",
            "ION_PORT": "",  # a free one
            "ION_LOGS": str(logs.resolve()),
            "ION_USER": f"{os.getuid()}:{os.getgid()}",  # so that the logs are ours
        }

    def run(self, *arguments: str) -> str:
        """Run a subcommand; returns its standard output.

        Raises:
            LocalStackError: It failed.
        """
        command = ["docker", "compose", "--file", str(PROJECT / "docker-compose.yml"), *arguments]
        try:
            done = subprocess.run(  # noqa: S603 - no shell
                command, env=self._environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise LocalStackError(
                f"EMULATOR=docker needs Docker, and docker cannot be run: {error.strerror}"
            ) from error
        if done.returncode != 0:
            raise LocalStackError(f"{' '.join(command)} failed:\n{done.stderr.strip()}")
        return done.stdout
