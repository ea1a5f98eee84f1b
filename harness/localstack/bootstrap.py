"""The first code of every process that must not outlive its parent.

Run as a script it is what AWS calls the runtime's bootstrap: it hands the process over to AWS's own runtime client.
As such it sees no package of this project, so it stands alone: nothing but the standard library is imported here.
"""

from __future__ import annotations

import http.client
import os
import site
import sys
import threading
import types
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def follow_parent(on_orphaned: Callable[[], None]) -> None:
    """Call `on_orphaned` when the parent is gone, however it went.

    Standard input is a pipe whose other end only the parent holds, so the kernel closes it even after SIGKILL: the
    read below then returns. (A parent-death signal would do on Linux alone, and there dies with the parent's thread.)
    """
    pipe = os.dup(0)
    with open(os.devnull, "rb") as null:  # noqa: PTH123 - start-up time counts, pathlib is not needed
        os.dup2(null.fileno(), 0)

    def wait() -> None:
        while os.read(pipe, 1):
            pass
        on_orphaned()

    threading.Thread(target=wait, name="follow-parent", daemon=True).start()


def portable_runtime_client() -> types.ModuleType:
    """A stand-in for awslambdaric's compiled `runtime_client`, which is built for Linux only.

    It speaks the documented Runtime API (https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html).
    """
    base = "/2018-06-01/runtime/invocation/"

    def call(method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[bytes, dict[str, str]]:
        connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
        try:
            connection.request(method, base + path, body, {k.replace("_", "-"): v for k, v in headers.items() if v})
            response = connection.getresponse()
            return response.read(), dict(response.getheaders())
        finally:
            connection.close()

    def post_invocation_result(
        invoke_id: str, data: bytes, content_type: str = "application/json", _invocation_id: str | None = None
    ) -> None:
        call("POST", f"{invoke_id}/response", data, Content_Type=content_type)

    def post_error(invoke_id: str, data: str, xray_fault: str = "", _invocation_id: str | None = None) -> None:
        call("POST", f"{invoke_id}/error", data.encode(), Lambda_Runtime_Function_XRay_Error_Cause=xray_fault)

    module = types.ModuleType("runtime_client")
    vars(module).update(
        initialize_client=lambda _user_agent: None,
        next=lambda: call("GET", "next"),
        post_invocation_result=post_invocation_result,
        post_error=post_error,
    )
    return module


def main() -> None:
    """Run the handler named by the only argument under AWS's runtime client, until the parent is gone."""
    follow_parent(lambda: os.kill(os.getpid(), 9))
    site.setquit()  # `exit` and `quit`, which -S leaves out with the site-packages
    try:
        import runtime_client  # type: ignore[import-not-found]  # noqa: F401, PLC0415 - its absence is the question
    except ImportError:
        sys.modules["runtime_client"] = portable_runtime_client()
    from awslambdaric.__main__ import main as run  # noqa: PLC0415 - after the stand-in is in place

    run(["awslambdaric", sys.argv[1]])


if __name__ == "__main__":
    main()
