"""`python -m ion`: one drain, from this machine, against the AWS that the environment names."""

from __future__ import annotations

import json
import sys
import time
from uuid import uuid4

from ion.errors import IonError
from ion.handler import run

TIMEOUT_SECONDS = 900  # Lambda's longest


class _Context:
    aws_request_id = str(uuid4())

    def __init__(self) -> None:
        self._deadline = time.monotonic() + TIMEOUT_SECONDS

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int(1000 * (self._deadline - time.monotonic())))


def main() -> int:
    """Drain once; returns the exit code."""
    try:
        summary = run({}, _Context())
    except IonError as error:
        print(f"ion: {error}", file=sys.stderr)
        return 1
    print(json.dumps(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
