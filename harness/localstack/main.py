"""LocalStack's process: `python -m harness.localstack.main` serves on the address that GATEWAY_LISTEN names.

With `--data DIRECTORY --listen-fd N` it is the embedded one: it keeps its files there, serves on the socket that it
inherited, and leaves neither files nor processes behind when its parent is gone.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localstack.aws import spec
from localstack.http import Request, Resource, Response
from localstack.runtime.main import main as run_localstack
from localstack.services.internal import get_internal_apis
from localstack.services.lambda_.invocation.runtime_executor import get_runtime_executor
from localstack.services.plugins import SERVICE_PLUGINS
from localstack.utils.cloudwatch import cloudwatch_util
from twisted.internet import endpoints, reactor

from harness.localstack import troublemaker
from harness.localstack.bootstrap import follow_parent

if TYPE_CHECKING:
    from collections.abc import Callable

PLUGINS_PATH = "/_ion/plugins"


class PluginsResource:
    """Says which classes really serve what this project's plugins are for."""

    def on_get(self, _request: Request) -> Response:
        """The executor's and the DynamoDB provider's full class names."""
        response = Response()
        response.set_json({"executor": _name(get_runtime_executor), "dynamodb": _name(_dynamodb_provider)})
        return response


def _dynamodb_provider() -> type:
    return type(SERVICE_PLUGINS.require("dynamodb")._provider)  # noqa: SLF001 - LocalStack offers no other way


def _name(load: Callable[[], type]) -> str:
    """The name of the class that LocalStack loads, or why it cannot load one."""
    try:
        cls = load()
    except Exception as error:
        return repr(error)
    return f"{cls.__module__}.{cls.__qualname__}"


def serve_on(listening: socket.socket) -> None:
    """Make the gateway serve on a socket that is bound already.

    LocalStack would bind its port on every interface, whatever address GATEWAY_LISTEN gives, and would now and then
    lose the race for a free port.
    """

    def adopt(*_: object) -> object:
        listening.listen(socket.SOMAXCONN)
        endpoint: Any = endpoints.AdoptedStreamServerEndpoint
        return endpoint(reactor, listening.fileno(), socket.AF_INET)

    vars(endpoints)["TCP4ServerEndpoint"] = adopt  # the name that LocalStack's server looks up


def know_only(services: set[str]) -> None:
    """Keep LocalStack from reading the specifications of all of AWS, which takes seconds and half a gigabyte.

    It does so to find out which service a request is for, and keeps the result where a new directory never has it.
    """
    names = [name for name in spec.loader.list_available_services("service-2") if name.split("-")[0] in services]
    spec.loader.list_available_services = lambda _type: names


def count_no_single_messages() -> None:
    """Keep SQS from writing CloudWatch metrics for each message sent, received or deleted.

    Every one of them is an HTTP request to LocalStack itself and a commit in SQLite: all together they took four times
    what the messages took, and went on for as long after a burst. The metrics of a queue's depth, which alarms act on,
    are written by other code.
    """
    vars(cloudwatch_util)["publish_sqs_metric"] = lambda **_: None  # the name that the SQS provider imports later


def end(data: Path) -> None:
    """Kill this whole process group, which the functions are in too, and have the private files removed."""
    # By a process that is none of the group, and once nobody writes there any more.
    subprocess.Popen(["/bin/sh", "-c", 'sleep 0.5; rm -rf "$0"', data], start_new_session=True)  # noqa: S603 - our own
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Run LocalStack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="keep all files in this directory, and end with the parent process")
    parser.add_argument("--listen-fd", type=int, help="serve on this inherited, bound socket")
    arguments = parser.parse_args()
    if arguments.data is not None:
        tempfile.tempdir = str(arguments.data)
        follow_parent(partial(end, arguments.data))
    if arguments.listen_fd is not None:
        serve_on(socket.socket(fileno=arguments.listen_fd))
    if enabled := os.environ.get("SERVICES"):
        know_only(set(enabled.split(",")))
    count_no_single_messages()
    get_internal_apis().add(Resource(PLUGINS_PATH, PluginsResource()))
    troublemaker.install()
    run_localstack()


if __name__ == "__main__":
    main()
