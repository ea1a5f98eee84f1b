"""LocalStack's process: `python -m harness.localstack.main` serves on the address that GATEWAY_LISTEN names.

With `--listen-fd N --follow-parent` it is the embedded one: it serves on the socket it inherited, and dies with its
parent.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import tempfile
from typing import Any

from localstack.http import Request, Resource, Response
from localstack.runtime.main import main as run_localstack
from localstack.services.internal import get_internal_apis
from localstack.services.lambda_.invocation.runtime_executor import get_runtime_executor
from localstack.services.plugins import SERVICE_PLUGINS
from twisted.internet import endpoints, reactor

from harness.localstack.bootstrap import follow_parent

PLUGINS_PATH = "/_ion/plugins"


class PluginsResource:
    """Says which classes really serve what this project's plugins are for."""

    def on_get(self, _request: Request) -> Response:
        """The executor's and the DynamoDB provider's full class names."""
        dynamodb = SERVICE_PLUGINS.require("dynamodb")._provider  # noqa: SLF001 - LocalStack offers no other way
        response = Response()
        response.set_json({"executor": _name(get_runtime_executor()), "dynamodb": _name(type(dynamodb))})
        return response


def _name(cls: type) -> str:
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


def end() -> None:
    """Leave nothing behind: neither the private data nor a process of this group, which the functions are in too."""
    shutil.rmtree(tempfile.gettempdir(), ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Run LocalStack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen-fd", type=int, help="serve on this inherited, bound socket")
    parser.add_argument("--follow-parent", action="store_true", help="die when standard input ends")
    arguments = parser.parse_args()
    if arguments.follow_parent:
        follow_parent(end)
    if arguments.listen_fd is not None:
        serve_on(socket.socket(fileno=arguments.listen_fd))
    get_internal_apis().add(Resource(PLUGINS_PATH, PluginsResource()))
    run_localstack()


if __name__ == "__main__":
    main()
