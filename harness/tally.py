"""The running count of a run, fed with events as they are recorded: for the live view, and to know when it is over."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from harness.facts import Depth, Publication, Transaction

if TYPE_CHECKING:
    from harness.history import Event

RATE_SECONDS = 3.0


class Tally:
    """Counts; one thread feeds it, any may read it.

    Attributes:
        phase: What is being done.
        summary: What the run shows, in a line.
        mails: How many there are to be published.
        attempted: How many mails were published or tried.
        acknowledged: How many SNS took.
        delivered: How many have reached all of their recipients.
        accepted: How many transactions the sink has accepted.
        refused: How many it has refused or seen dropped.
        depth: The queues, when last looked at.
        faults: The names of the faults active now.
        alarmed: The alarms that have fired.
    """

    def __init__(self) -> None:
        self.phase = self.summary = ""
        self.mails = self.attempted = self.delivered = self.accepted = self.refused = 0
        self.depth = Depth(at=0.0, visible=0, in_flight=0, delayed=0, dead=0)
        self.faults: list[str] = []
        self.alarmed: set[str] = set()
        self._lock = threading.Lock()
        self._acknowledged: set[str] = set()
        self._missing: dict[str, set[str]] = {}
        self._recent: deque[float] = deque()

    def take(self, event: Event) -> None:
        """Count one event."""
        with self._lock:
            match event["event"]:
                case "publish.attempted" if "body" in event and event["workload"] not in self._missing:
                    self.attempted += 1
                    self._missing[event["workload"]] = _recipients(Publication.of(event))
                case "publish.acknowledged":
                    self._acknowledged.add(event["workload"])
                case "smtp.transaction":
                    self._transaction(event)
                case "depth":
                    self.depth = Depth.of(event)
                case "run.started":
                    self.mails, self.summary = event["mails"], event.get("summary", "")
                case "alarm" if event["state"] == "ALARM":
                    self.alarmed.add(event["name"])
                case "phase":
                    self.phase = event["name"]
                case "fault.started":
                    self.faults.append(event["name"])
                case "fault.ended" if event["name"] in self.faults:
                    self.faults.remove(event["name"])

    @property
    def acknowledged(self) -> int:
        """How many mails SNS took."""
        return len(self._acknowledged)

    @property
    def outstanding(self) -> int:
        """How many mails SNS took that have not reached all of their recipients; dead-lettered ones among them."""
        with self._lock:
            return sum(1 for workload in self._acknowledged if self._missing.get(workload))

    @property
    def progress(self) -> tuple[int, int, int]:
        """Changes whenever something has moved that brings the run nearer to its end."""
        return self.accepted, self.depth.waiting, self.depth.dead

    def rate(self, now: float) -> float:
        """Mails accepted a second, of late."""
        with self._lock:
            while self._recent and self._recent[0] < now - RATE_SECONDS:
                self._recent.popleft()
            return len(self._recent) / RATE_SECONDS

    def _transaction(self, event: Event) -> None:
        transaction = Transaction.of(event)
        if transaction.result != "accepted":
            self.refused += 1
            return
        self.accepted += 1
        self._recent.append(transaction.at)
        missing = self._missing.get(transaction.workload)
        if missing:
            missing.difference_update(transaction.recipients)
            self.delivered += not missing


def _recipients(mail: Publication) -> set[str]:
    if mail.control:
        return set()
    return set(mail.recipients) or {"nobody"}  # poison is not delivered to anybody, ever
