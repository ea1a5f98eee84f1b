"""The SMTP server of the simulation: what it answers, and what it takes."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import Counter
from typing import TYPE_CHECKING

from harness.memory_smtp import OK, MemoryCourier, MemoryServer
from harness.simulation.process import CURRENT
from ion.outcome import Reply, Stage

if TYPE_CHECKING:
    from random import Random

    from harness.history import Event
    from harness.simulation.world import World
    from ion.protocols import Envelope

LATENCY_SECONDS = 0.05
GREYLIST_SECONDS = 60.0
SLACK_SECONDS = 0.001

_HEADER = re.compile(rb"^(X-Workload-Id|Message-ID): (.*)\r$", re.MULTILINE)
_GONE = Reply(code=550, enhanced="5.1.1", text="no such user")
_BUSY = Reply(code=450, enhanced="4.2.1", text="mailbox busy")
_SPAM = Reply(code=554, enhanced="5.7.1", text="this is spam")
_LOST = Reply(text="the connection was lost")
_TIME_OUT = Reply(text="no answer in time")
_AT_ANY_STAGE = {
    "smtp.drops": _LOST,
    "smtp.closes": Reply(code=421, enhanced="4.3.2", text="closing"),
    "smtp.defers": Reply(code=451, enhanced="4.3.0", text="later"),
    "smtp.rejects": Reply(code=554, enhanced="5.7.0", text="never"),
    "smtp.forgets": Reply(code=530, enhanced="5.7.0", text="log in first"),
}


class Server:
    """Answers as the recipients' names and the faults say, and notes what it takes."""

    def __init__(self, world: World, random: Random) -> None:
        self._world = world
        self._random = random
        self._memory = MemoryServer(answer=self.answer)
        self._asked: Counter[str] = Counter()
        self._seen: dict[str, float] = {}
        self._began: dict[int, tuple[Envelope | None, float]] = {}  # by the task that owns the connection
        self._served: Counter[int] = Counter()
        self._transactions = 0

    def courier(self) -> MemoryCourier:
        """A courier to it, not yet connected."""
        return self._memory.courier()

    async def answer(self, stage: Stage, envelope: Envelope | None, recipient: str) -> Reply:
        """Its reply, or what the client makes of it that none comes in time."""
        process = CURRENT.get()
        accepted = self._memory.kept[-1][1] if stage is Stage.FINAL_DOT else ()
        loop, me = asyncio.get_running_loop(), id(asyncio.current_task())
        smtp = self._world.settings.smtp
        if stage is Stage.CONNECT:
            self._served[me] = 0
        if stage is Stage.CONNECT:
            limit = smtp.connect_timeout_seconds
        else:
            if self._began.get(me, (None, 0.0))[0] is not envelope:  # else it is sent once more, in the same time
                self._began[me] = (envelope, loop.time())
            limit = smtp.data_timeout_seconds if stage is Stage.FINAL_DOT else smtp.command_timeout_seconds
            limit = max(0.0, min(limit, self._began[me][1] + smtp.transaction_timeout_seconds - loop.time()))
        seconds = LATENCY_SECONDS * self._random.random()
        if slow := self._world.strike("smtp.slow"):
            seconds += float(slow.detail) * self._random.random()
        before, latest = min(limit, seconds / 2), loop.time() + limit + SLACK_SECONDS
        await process.step(before)
        if loop.time() > latest:  # it stood still: its time-outs fire before it says another word
            return _TIME_OUT
        # Here the server has read what it was sent; whoever dies from now on dies waiting for the reply.
        reply = self._reply(stage, recipient, me)
        if stage is Stage.FINAL_DOT and any(one.startswith("spam") for one in accepted) and reply == OK[stage]:
            reply = _SPAM
        heard = reply if seconds <= limit else _TIME_OUT
        event = None
        if stage is Stage.FINAL_DOT and envelope is not None:
            if reply == heard == OK[stage] and self._world.strike("smtp.keeps"):
                heard = _LOST
            event = self._take(envelope, accepted, reply)
        await process.step(min(limit, seconds) - before)
        heard = heard if loop.time() <= latest else _TIME_OUT
        if event is not None and heard.code:  # the client lives, and has got the reply
            event |= {"replied": True, "reply": str(reply)}
        return heard

    def _reply(self, stage: Stage, recipient: str, me: int) -> Reply:
        strike = self._world.strike
        if stage is Stage.CONNECT:
            if strike("smtp.refuses"):
                return Reply(text="connection refused")
            if fault := strike("smtp.greets"):
                return Reply(code=int(fault.detail), text="not now")
            return Reply(code=535, enhanced="5.7.8", text="who are you?") if strike("smtp.login") else OK[stage]
        if stage is Stage.MAIL:
            self._served[me] += 1
            limits = strike("smtp.limits")
            if limits and self._served[me] > int(limits.detail):
                return Reply(code=421, enhanced="4.7.0", text="enough for one connection")
        for kind, reply in _AT_ANY_STAGE.items():
            if strike(kind, stage):
                return reply
        return self._recipient(recipient) if stage is Stage.RCPT else OK[stage]

    def _recipient(self, recipient: str) -> Reply:
        """What a recipient's name asks for."""
        self._asked[recipient] += 1
        now = asyncio.get_running_loop().time()
        first = self._seen.setdefault(recipient, now)
        if now < first + GREYLIST_SECONDS and self._world.strike("smtp.greylists"):
            return Reply(code=451, enhanced="4.7.1", text="greylisted")
        if recipient.startswith("gone"):
            return _GONE
        if recipient.startswith("busy") and self._asked[recipient] <= int(recipient[len("busy")]):
            return _BUSY
        return OK[Stage.RCPT]

    def _take(self, envelope: Envelope, accepted: tuple[str, ...], reply: Reply) -> Event:
        """Note the end of a transaction, of which the client has not heard yet."""
        self._transactions += 1
        found = {name: value.decode() for name, value in _HEADER.findall(envelope.message.partition(b"\r\n\r\n")[0])}
        taken = reply.code == OK[Stage.FINAL_DOT].code
        return self._world.note(
            "smtp.transaction",
            transaction=str(self._transactions),
            process=CURRENT.get().number,
            result="accepted" if taken else "refused" if reply.code else "dropped",
            replied=False,
            reply="",
            stage=Stage.FINAL_DOT.value,
            sender=envelope.sender,
            recipients=list(accepted),
            workload=found.get(b"X-Workload-Id", ""),
            message_id=found.get(b"Message-ID", ""),
            key=self._world.keep(envelope.message) if taken else "",
            sha256=hashlib.sha256(envelope.message).hexdigest() if taken else "",
        )
