"""What no test of ion takes over from whoever runs it."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _nobodys_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what somebody has set for AWS, for ion, or for the way out."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "ION_")) or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
