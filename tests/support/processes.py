"""Processes that a test has seen: which of them still run."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable


def alive(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; a zombie has ended, and only waits for somebody to ask how."""
    found = []
    for each in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # it may end between one question and the next
            if each.is_running() and each.status() != psutil.STATUS_ZOMBIE:
                found.append(each)
    return found
