"""The whole of it, standing: the sink, LocalStack, and ion deployed in it from the artifact."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from harness import artifact, stack, terraform
from harness.errors import UsageError
from harness.localstack import docker, process
from harness.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from harness.artifact import Artifact
    from harness.history import History
    from harness.localstack.process import Emulator
    from harness.runs import Run
    from harness.stack import Stack

# Real time, but short: what is minutes in AWS is seconds here.
SETTINGS = {"retry.base_seconds": "1", "retry.cap_seconds": "10"}
EMULATORS = {"embedded": process.running, "docker": docker.running}
BY = ("boto3", "terraform")
"""What ion can be deployed by: in seconds, or in a minute and a half by the very files that deploy it to AWS."""


@dataclass(frozen=True, kw_only=True)
class Rig:
    """What stands."""

    sink: Sink
    stack: Stack
    artifact: Artifact


@contextlib.contextmanager
def standing(
    saved: Run,
    history: History,
    settings: Mapping[str, str],
    *,
    emulator: Emulator | None = None,
    by: str = "boto3",
    function_seconds: int = 120,
    concurrency: int = 1,
) -> Iterator[Rig]:
    """Build the artifact, start everything for one run, and stop it at the end.

    Args:
        saved: Where mail and logs go.
        history: Where everything that happens goes.
        settings: ion's settings by `section.key`.
        emulator: A LocalStack that stands already; the stack is removed from it at the end.
        by: One of `BY`.
        function_seconds: The function's time-out.
        concurrency: How many functions may run at once.

    Raises:
        HarnessError: Something could not be built or started.
    """
    history.record("phase", name="building")
    built = artifact.build()
    history.record("phase", name="starting")
    with (
        contextlib.nullcontext(emulator) if emulator else _emulator(saved) as localstack,
        Sink(history=history, mail=saved.mail, address=localstack.host_address, name=localstack.host_name) as sink,
    ):
        deploy = (
            partial(terraform.deploy, directory=saved.directory / "terraform") if by == "terraform" else stack.deploy
        )
        deployed = deploy(
            localstack,
            built.path,
            # What another run has left there, metrics above all, must not be taken for this one's.
            prefix=f"{saved.scenario}-" if emulator else "",
            environment=environment(sink, settings),
            timeout_seconds=function_seconds,
            reserved_concurrency=concurrency,
            secret={"username": sink.username, "password": sink.password},
        )
        try:
            yield Rig(sink=sink, stack=deployed, artifact=built)
        finally:
            if emulator or not localstack.embedded:  # ours ends as a whole
                deployed.destroy()


def _emulator(saved: Run) -> AbstractContextManager[Emulator]:
    wanted = os.environ.get("EMULATOR") or "embedded"
    if wanted not in EMULATORS:
        raise UsageError(f"there is no EMULATOR={wanted}; there are {' and '.join(EMULATORS)}")
    return EMULATORS[wanted](saved.logs)


def environment(sink: Sink, settings: Mapping[str, str]) -> dict[str, str]:
    """The function's environment: where the sink is, and settings by `section.key`. The login is in the secret."""
    names = {"smtp.server": sink.name, "smtp.port": str(sink.port), "smtp.tls": sink.tls, "smtp.ca": sink.ca_pem}
    return {f"ION_{name.replace('.', '_').upper()}": value for name, value in (names | dict(settings)).items()}
