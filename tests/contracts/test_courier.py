"""The SMTP server's twin and its courier do what the one over SMTP does (tests/unit/ion/test_smtp_contract.py)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from harness.memory_smtp import MemoryServer
from ion.outcome import Course, Kind, Reply, Stage, classify
from tests.support.courier_contract import CourierContract, Serve
from tests.support.smtp_server import Accepted, Act, Script, Step, Steps, ThenDrop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from ion.protocols import Courier, Envelope

LOST = Reply(text="the connection was lost, or there was no answer in time")


@dataclass
class Scripted:
    """Answers as the scripts say, one for each connection, the last one for all that come later."""

    scripts: Sequence[Script]
    connections: int = 0
    gone: bool = False
    seen: Counter[object] = field(default_factory=Counter)

    async def answer(self, stage: Stage, _envelope: Envelope | None, recipient: str) -> Reply:
        if stage is Stage.CONNECT:
            self.connections += 1
            self.gone = False
            self.seen.clear()
        script = self.scripts[min(self.connections, len(self.scripts)) - 1]
        match stage:
            case Stage.CONNECT:
                greeting = self.take(script.greeting, stage, Stage.GREETING)
                return greeting if script.ehlo is None or greeting.code != 220 else self.take(script.ehlo, stage, stage)
            case Stage.MAIL:
                return self.take(script.mail, stage)
            case Stage.RCPT:
                steps = script.rcpt
                steps = steps.get(recipient, "250 2.1.5 ok") if isinstance(steps, Mapping) else steps
                return self.take(steps, stage, recipient)
            case Stage.DATA:
                lost = script.body or isinstance(script.data, ThenDrop)  # before the message is complete
                return LOST if lost else self.take(script.data, stage)
            case _:
                return self.take(script.message, stage)

    def take(self, steps: Steps, stage: Stage, key: object = None) -> Reply:
        """The step whose turn it is."""
        step: Step = steps[min(self.seen[stage, key], len(steps) - 1)] if isinstance(steps, tuple) else steps
        self.seen[stage, key] += 1
        if self.gone or isinstance(step, Act):
            self.gone = True
            return LOST
        if isinstance(step, ThenDrop):
            self.gone = True
            step = step.reply
        assert isinstance(step, str)
        code, _, text = step.partition(" ")
        reply = Reply.of(int(code), text) if code.isdigit() else LOST
        # As over SMTP: a reply that makes no sense here, and says neither 4xx nor 5xx, fails the exchange.
        verdict = classify(Stage.GREETING if stage is Stage.CONNECT else stage, reply)
        return reply if verdict in {Course.PROCEED, Kind.DELIVERED} or code[0] in "45" else LOST


@dataclass(frozen=True)
class InMemory:
    server: MemoryServer
    courier: Courier

    @property
    def accepted(self) -> Sequence[Accepted]:
        return [
            Accepted(sender=envelope.sender, recipients=recipients, message=envelope.message)
            for envelope, recipients in self.server.kept
            if recipients
        ]


class TestMemoryCourier(CourierContract):
    @pytest.fixture
    def serve(self) -> Serve:
        @asynccontextmanager
        async def serve(*scripts: Script, **_: Any) -> AsyncIterator[InMemory]:
            server = MemoryServer(answer=Scripted(scripts or (Script(),)).answer)
            yield InMemory(server, server.courier())

        return serve
