"""A small world of twins on virtual time: queues, ledger, an SMTP server that does as its recipients' names say."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from harness.memory import LoopClock, MemoryAlarm, MemoryLedger, MemoryQueue
from harness.memory_smtp import OK, MemoryCourier, MemoryServer
from ion.drain import Drain
from ion.outcome import Kind, Reply, Stage
from ion.parts import Parts
from ion.settings import Settings
from ion.telemetry import Telemetry

if TYPE_CHECKING:
    from harness.memory import Hook
    from ion.ledger import Entry
    from ion.protocols import Envelope, Message

NOWHERE = Path("/nonexistent")
FUNCTION_SECONDS = 120.0
LEASE_SECONDS = 120.0


@cache
def settings(**changes: str) -> Settings:
    """The default settings with changes, named as in the environment without the prefix: `smtp_port="25"`."""
    environ = {"smtp_server": "memory", "smtp_sender": "ion@example.com", **changes}
    return Settings.load({f"ION_{name.upper()}": value for name, value in environ.items()}, directory=NOWHERE)


def replies(stage: Stage, recipient: str, attempt: int) -> Reply:
    """What a recipient's name asks for: `gone...` is refused for good, `busy2...` twice put off, `busy...` always."""
    name = recipient.partition("@")[0]
    if stage is Stage.RCPT and name.startswith("gone"):
        return Reply(code=550, enhanced="5.1.1", text="no such user")
    if stage is Stage.RCPT and name.startswith("busy"):
        digits = name.removeprefix("busy").partition("-")[0]
        if not digits or attempt <= int(digits):
            return Reply(code=450, enhanced="4.2.1", text="mailbox busy")
    return OK[stage]


# A reply at a stage to an envelope and, at RCPT, a recipient; None for what is right. It may take its time.
Script = Callable[[Stage, "Envelope | None", str], Awaitable["Reply | None"]]

REFUSED = Reply(text="connection refused")


def down(*stages: Stage, reply: Reply = REFUSED) -> Script:
    """A server that gives this reply at these stages (without any: to whoever connects) to everybody."""

    async def script(stage: Stage, _envelope: Envelope | None, _recipient: str) -> Reply | None:
        return reply if stage in (stages or (Stage.CONNECT,)) else None

    return script


class Notes(Telemetry):
    """Telemetry that writes nothing.

    Attributes:
        lines: What it was told, a stage and its fields each.
        counts: The counts by metric.
    """

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.counts: Counter[str] = Counter()

    def log(self, stage: str, *, level: str = "INFO", id: str = "", **fields: object) -> None:  # noqa: A002 - as ion's
        self.lines.append((stage, {"level": level, "id": id, **fields}))

    def count(self, metric: str, value: float = 1) -> None:
        self.counts[metric] += int(value)

    def observe(self, metric: str, value: float, /) -> None:
        pass

    def flush(self) -> None:
        pass

    def stages(self, stage: str) -> list[dict[str, Any]]:
        """The fields of each line of a stage."""
        return [fields for name, fields in self.lines if name == stage]


class World:
    """What a drain touches, and what can be asked about it afterwards."""

    def __init__(self, *, hook: Hook | None = None, seed: int = 1, duplicates: float = 0.0, **changes: str) -> None:
        self.settings = settings(**changes)
        self.clock = LoopClock()
        self.random = Random(seed)  # noqa: S311 - chance, not secrecy
        self.letters = MemoryQueue(self.clock, random=self.random, name="letters")
        self.queue = MemoryQueue(
            self.clock, random=self.random, deadletters=self.letters, duplicates=duplicates, name="queue"
        )
        self.ledger = MemoryLedger(self.clock)
        self.alarm = MemoryAlarm()
        self.server = MemoryServer(answer=self.answer)
        self.telemetry = Notes()
        self.connections = 0
        self.calls: Counter[str] = Counter()
        self.send_seconds = 0.0
        self.attempts: Counter[str] = Counter()
        self.script: Script | None = None
        self.mended = ""
        self.hook = hook
        for twin in (self.queue, self.letters, self.ledger, self.alarm):
            twin.hook = self._hook
        self.parts = Parts(
            queue=self.queue,
            letters=self.letters,
            ledger=self.ledger,
            couriers=self._courier,
            alarm=self.alarm,
            clock=self.clock,
            settings=self.settings,
            telemetry=self.telemetry,
            random=self.random,
        )

    async def _hook(self, operation: str, when: str) -> None:
        if when == "before":
            self.calls[operation] += 1
        if self.hook is not None:
            await self.hook(operation, when)

    def _courier(self) -> MemoryCourier:
        return self.server.courier()

    async def answer(self, stage: Stage, envelope: Envelope | None, recipient: str) -> Reply:
        """The SMTP server's reply: what the script says, or else what the recipient's name asks for."""
        if self.hook is not None:
            await self.hook(f"smtp.{stage.value}", "before")
        if stage is Stage.CONNECT:
            self.connections += 1
        if stage is Stage.RCPT:
            self.attempts[recipient] += 1
        if stage is Stage.FINAL_DOT:
            await asyncio.sleep(self.send_seconds)
        mended = self.mended and recipient.startswith(self.mended)
        reply = OK[stage] if mended else replies(stage, recipient, self.attempts[recipient])
        if self.script is not None:
            reply = await self.script(stage, envelope, recipient) or reply
        if self.hook is not None:
            await self.hook(f"smtp.{stage.value}", "after")
        return reply

    def publish(self, *recipients: str, attributes: dict[str, str] | None = None, **document: Any) -> str:
        """Put a mail into the input queue; returns its MessageId."""
        return self.put(mail(*recipients, **document), attributes)

    def put(self, body: str, attributes: dict[str, str] | None = None) -> str:
        """Put any body into the input queue; returns its MessageId."""
        return self.queue.put(body, attributes)

    def redrive(self, **document: Any) -> str:
        """Ask for a redrive; returns the request's MessageId."""
        return self.put(json.dumps({"action": "redrive", **document}))

    async def drain(self, *, seconds: float = FUNCTION_SECONDS) -> dict[str, object]:
        """Wake up once; returns the drain's summary. One that goes on long past its deadline fails."""
        async with asyncio.timeout(seconds + 60):
            return await Drain(self.parts, deadline=self.clock.now() + seconds).run()

    async def drain_all(self, *, most: int = 100) -> None:
        """Wake up again and again, as the alarm does, until the input queue is empty."""
        for _ in range(most):
            if not self.queue.all():
                return
            visible, _hidden = self.queue.counts()
            if not visible:
                await asyncio.sleep(60)
                continue
            await self.drain()
        raise AssertionError(f"not empty after {most} rounds: {self.queue.all()}")

    def delivered(self) -> Counter[tuple[str, str]]:
        """How often each recipient got each subject."""
        got: Counter[tuple[str, str]] = Counter()
        for envelope, recipients in self.server.kept:
            got.update((subject(envelope), recipient) for recipient in recipients)
        return got

    def entry(self, id_: str) -> Entry:
        """A mail's record."""
        return self.ledger.entries[id_]

    def dead(self) -> dict[str, list[Message]]:
        """The dead letters by their ion-id."""
        found: dict[str, list[Message]] = {}
        for letter in self.letters.all():
            found.setdefault(letter.attributes.get("ion-id", ""), []).append(letter)
        return found


def mail(*recipients: str, **document: Any) -> str:
    """A published document: `mail("ann")` is to ann@example.com, and its subject names its recipients."""
    addresses = [name if "@" in name else f"{name}@example.com" for name in recipients or ("ann",)]
    whole = {"action": "send", "recipient": addresses, "subject": " ".join(recipients), "body_text": "x", **document}
    return json.dumps(whole)


def subject(envelope: Envelope) -> str:
    """A mail's subject."""
    head = envelope.message.partition(b"\r\n\r\n")[0].decode()
    return next(line for line in head.split("\r\n") if line.startswith("Subject: ")).removeprefix("Subject: ")


def recorded(entry: Entry, recipient: str) -> bool:
    """Whether the ledger knows that a recipient has got the mail."""
    return recipient in entry.recipients and entry.recipients[recipient].kind is Kind.DELIVERED
