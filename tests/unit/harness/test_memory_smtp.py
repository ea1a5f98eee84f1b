"""The courier in memory does what every courier must do."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiosmtplib import SMTPException

from harness.memory_smtp import OK, MemoryCourier, MemoryServer
from ion.outcome import Reply, Stage
from ion.smtp import _read
from tests.support.courier_contract import CourierContract, Serve
from tests.support.smtp_server import Accepted, Script, Step, Steps, ThenDrop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ion.protocols import Envelope


class Scripted:
    """A server in memory that follows scripts, and the courier to it."""

    def __init__(self, *scripts: Script) -> None:
        self._scripts = scripts or (Script(),)
        self._connections = 0
        self._seen: Counter[object] = Counter()
        self._gone = False
        self._server = MemoryServer(answer=self._answer)
        self.courier: MemoryCourier = self._server.courier()

    @property
    def accepted(self) -> list[Accepted]:
        return [
            Accepted(sender=mail.sender, recipients=recipients, message=mail.message)
            for mail, recipients in self._server.kept
            if recipients
        ]

    async def _answer(self, stage: Stage, _envelope: Envelope | None, recipient: str) -> Reply:
        if stage is Stage.CONNECT:
            self._connections += 1
            self._seen.clear()
            self._gone = False
        script = self._scripts[min(self._connections, len(self._scripts)) - 1]
        rcpt = script.rcpt if not isinstance(script.rcpt, dict) else script.rcpt.get(recipient, "250 2.1.5 ok")
        steps: dict[Stage, Steps] = {
            Stage.CONNECT: script.ehlo or script.greeting,
            Stage.MAIL: script.mail,
            Stage.RCPT: rcpt,
            Stage.DATA: script.body or script.data,
            Stage.FINAL_DOT: script.message,
        }
        taken = steps[stage]
        step = taken[min(self._seen[stage, recipient], len(taken) - 1)] if isinstance(taken, tuple) else taken
        self._seen[stage, recipient] += 1
        if self._gone:
            return Reply(text="the connection was lost")
        return self._reply(stage, step)

    def _reply(self, stage: Stage, step: Step) -> Reply:
        if isinstance(step, ThenDrop):
            self._gone = True
            step = "" if stage is Stage.DATA and step.reply.startswith("354") else step.reply
        if not isinstance(step, str) or not step[:3].isdigit():
            return Reply(text="no answer")
        try:
            reply = _read(Stage.GREETING if stage is Stage.CONNECT else stage, int(step[:3]), step[4:])
        except SMTPException as error:
            return Reply(text=error.message)
        return OK[stage] if stage is Stage.CONNECT and reply.code == OK[stage].code else reply


class TestMemoryCourier(CourierContract):
    @pytest.fixture
    def serve(self) -> Serve:
        @asynccontextmanager
        async def serve(*scripts: Script, **_settings: Any) -> AsyncIterator[Scripted]:
            yield Scripted(*scripts)

        return serve
