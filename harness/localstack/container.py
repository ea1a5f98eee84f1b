"""What the image of ./Dockerfile runs: LocalStack with the settings of the embedded one, open to other containers."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from harness.localstack.process import LAMBDA_RETRY_SECONDS, QUEUE_METRICS_SECONDS, own_settings

PORT = 4566
FUNCTION_LOG = "/logs/function.log"


def main() -> None:
    """Become LocalStack."""
    made = own_settings(Path(tempfile.mkdtemp()), PORT) | {
        "GATEWAY_LISTEN": f"0.0.0.0:{PORT}",
        "SQS_CLOUDWATCH_METRICS_REPORT_INTERVAL": str(QUEUE_METRICS_SECONDS),
        "LAMBDA_RETRY_BASE_DELAY": str(LAMBDA_RETRY_SECONDS),
        "ION_FUNCTION_LOG": FUNCTION_LOG,
    }
    command = [sys.executable, "-m", "harness.localstack.main"]
    os.execve(sys.executable, command, {**os.environ, **made})  # noqa: S606 - our own interpreter and module


if __name__ == "__main__":
    main()
