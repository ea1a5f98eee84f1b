"""Fixtures for everything that needs the real services: one embedded LocalStack a session, a stack for whoever asks."""

from __future__ import annotations

import io
import itertools
import os
import signal
import time
import zipfile
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from harness.localstack.process import Emulator, running
from harness.stack import Stack, deploy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def pytest_configure() -> None:
    """Let what tests start hear Ctrl-C: a shell that runs them in the background would have it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class MakeStack(Protocol):
    def __call__(self, artifact: bytes | Path, **settings: Any) -> Stack: ...


class WaitUntil(Protocol):
    def __call__(self, condition: Callable[[], Any], *, seconds: float = 60) -> Any: ...


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """One LocalStack for the whole session, whatever the environment names; never the user's."""
    with running(tmp_path_factory.mktemp("localstack"), environ=_hostile_environment()) as emulator:
        yield emulator


@pytest.fixture
def make_stack(emulator: Emulator) -> Iterator[MakeStack]:
    """Deploys stacks with names of their own (`make_stack(zip_bytes, handler=..., ...)`); removes them at the end."""
    stacks: list[Stack] = []

    def make(artifact: bytes | Path, **settings: Any) -> Stack:
        settings = {"environment": {}, "prefix": f"t{next(_numbers)}-", **settings}
        stacks.append(deploy(emulator, artifact, **settings))
        return stacks[-1]

    yield make
    for stack in stacks:
        stack.destroy()


@pytest.fixture
def function_zip() -> Callable[..., bytes]:
    """Zips sources given by file name: `function_zip(main="def handler(event, context): ...")`."""

    def make(**modules: str) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, source in modules.items():
                archive.writestr(f"{name}.py", source)
        return buffer.getvalue()

    return make


@pytest.fixture
def wait_until() -> WaitUntil:
    """Waits for a condition: `wait_until(lambda: ..., seconds=60)` returns its first true value, or fails."""

    def wait(condition: Callable[[], Any], *, seconds: float = 60) -> Any:
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, f"not within {seconds} s"
            time.sleep(0.05)
        return value

    return wait


_numbers = itertools.count(1)


def _hostile_environment() -> dict[str, str]:
    """This one, without a LocalStack that it names, and with a user's settings that must not get in."""
    named = {"AWS_ENDPOINT_URL", "LOCALSTACK_HOST"}
    return {
        **{name: value for name, value in os.environ.items() if name not in named},
        "AWS_ACCESS_KEY_ID": "AKIA",
        "AWS_PROFILE": "missing",
        "HTTPS_PROXY": "http://127.0.0.1:1",
        "DEBUG": "1",
    }
