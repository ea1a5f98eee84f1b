"""What `up` leaves in var/up.json for other programs while it runs: where everything is."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psutil  # type: ignore[import-untyped]  # it has none

from harness.errors import RunError
from harness.localstack.process import REGION

if TYPE_CHECKING:
    from harness.runs import Run
    from harness.stack import Stack

FILE = Path("var/up.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class Whereabouts:
    """Where everything is.

    Attributes:
        pid: The process that runs it.
        endpoint_url: LocalStack.
        region: Its region.
        topic_arn: The topic to publish to.
        queue_url: The input queue.
        deadletter_url: The dead-letter queue.
        table: The ledger's table.
        function: The function's name.
        run: The run's directory.
        inbox: The address of the inbox's page and API.
    """

    pid: int
    endpoint_url: str
    region: str
    topic_arn: str
    queue_url: str
    deadletter_url: str
    table: str
    function: str
    run: str
    inbox: str = ""

    @classmethod
    def of(cls, stack: Stack, saved: Run, *, inbox: str = "") -> Self:
        """Of a stack that this process runs."""
        return cls(
            pid=os.getpid(),
            endpoint_url=stack.emulator.endpoint_url,
            region=REGION,
            topic_arn=stack.topic_arn,
            queue_url=stack.queue_url,
            deadletter_url=stack.deadletter_url,
            table=stack.names.table,
            function=stack.names.function,
            run=str(saved.directory),
            inbox=inbox,
        )


def write(found: Whereabouts, file: Path = FILE) -> None:
    """Say that it stands; replaced as a whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_suffix(f".{os.getpid()}")
    scratch.write_text(json.dumps(asdict(found), indent=2) + "\n")
    scratch.replace(file)


def read(file: Path = FILE) -> Whereabouts:
    """What stands now.

    Raises:
        RunError: Nothing does.
    """
    try:
        found: Whereabouts | None = Whereabouts(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        found = None
    if found is None or not psutil.pid_exists(found.pid):
        raise RunError("nothing is running here to publish to: start it with `make up`, and leave it running")
    return found
