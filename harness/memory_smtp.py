"""The in-memory twin of an SMTP server, and of ion's courier to it: no socket, and the replies that it is told to give.

tests/contracts holds the courier to the same contract as the real one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ion.errors import ServerUnavailable, TurnedAway
from ion.outcome import Course, Kind, Outcome, Reply, Stage, classify

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ion.protocols import Envelope


async def agreeable(stage: Stage, _envelope: Envelope | None, _recipient: str) -> Reply:
    """The server that takes everything."""
    return OK[stage]


OK = {
    Stage.CONNECT: Reply(code=220, text="ready"),
    Stage.MAIL: Reply(code=250, enhanced="2.1.0", text="sender ok"),
    Stage.RCPT: Reply(code=250, enhanced="2.1.5", text="recipient ok"),
    Stage.DATA: Reply(code=354, text="go on"),
    Stage.FINAL_DOT: Reply(code=250, enhanced="2.0.0", text="kept"),
}


@dataclass(slots=True, eq=False)
class MemoryServer:
    """An SMTP server without a socket: it keeps what it accepts and answers as it is told.

    Attributes:
        answer: Its reply at a stage (CONNECT stands for everything up to the login), given the envelope and, at RCPT,
            the recipient. It may wait. A reply without a code is a connection that ended, or a time-out.
        keeps: Whether it keeps a mail although the connection ends before its reply to the final dot.
        kept: What it has kept: each envelope, with those it was accepted for.
    """

    answer: Callable[[Stage, Envelope | None, str], Awaitable[Reply]] = agreeable
    keeps: Callable[[Envelope], bool] = lambda _: False
    kept: list[tuple[Envelope, tuple[str, ...]]] = field(default_factory=list)

    def courier(self) -> MemoryCourier:
        """A courier to this server, not yet connected."""
        return MemoryCourier(self)


class MemoryCourier:
    """`ion.protocols.Courier` to a `MemoryServer`, in the steps and by the rules of `ion.smtp.SmtpCourier`."""

    def __init__(self, server: MemoryServer) -> None:
        self._server = server
        self._stands = False
        self._transactions = 0

    async def connect(self) -> None:
        """Make the connection stand."""
        if not self._stands:
            await self._ask(Stage.CONNECT, None)
            self._stands, self._transactions = True, 0

    async def send(self, envelope: Envelope) -> dict[str, Outcome]:
        """Run one transaction; once more on a fresh connection where a used one fails before the message."""
        await self.connect()
        reused = self._transactions > 0
        try:
            outcomes = await self._invite(envelope)
            stale = reused and not self._stands and not all(outcome.code for outcome in outcomes.values())
        except ServerUnavailable:
            if not reused:
                raise
            stale = True
        if stale:
            self._stands = False
            await self.connect()
            outcomes = await self._invite(envelope)
        accepted = tuple(recipient for recipient in envelope.recipients if recipient not in outcomes)
        if accepted:
            outcomes |= dict.fromkeys(accepted, await self._hand_over(envelope, accepted))
        return {recipient: outcomes[recipient] for recipient in envelope.recipients}

    async def close(self) -> None:
        """Let go of the connection."""
        self._stands = False

    async def _invite(self, envelope: Envelope) -> dict[str, Outcome]:
        self._transactions += 1
        outcome = await self._ask(Stage.MAIL, envelope)
        if outcome is not None:
            return dict.fromkeys(envelope.recipients, outcome)
        outcomes: dict[str, Outcome] = {}
        for recipient in envelope.recipients:
            outcome = await self._ask(Stage.RCPT, envelope, recipient)
            if outcome is not None:
                outcomes[recipient] = outcome
                if not self._stands:
                    return dict.fromkeys(envelope.recipients, outcome) | outcomes
        if len(outcomes) < len(envelope.recipients):
            outcome = await self._ask(Stage.DATA, envelope)
            if outcome is not None:
                return dict.fromkeys(envelope.recipients, outcome) | outcomes
        return outcomes

    async def _hand_over(self, envelope: Envelope, accepted: tuple[str, ...]) -> Outcome:
        kept = len(self._server.kept)
        self._server.kept.append((envelope, accepted))  # before the reply: whoever dies waiting for it cannot undo it
        reply = await self._server.answer(Stage.FINAL_DOT, envelope, "")
        if reply.code // 100 != 2 and not (reply.code == 0 and self._server.keeps(envelope)):  # noqa: PLR2004 - 2xx
            self._server.kept[kept] = (envelope, ())
        verdict = classify(Stage.FINAL_DOT, reply)
        self._stands = reply.code not in {0, 421}
        assert isinstance(verdict, Kind)  # noqa: S101 - after the final dot every reply settles
        return reply.outcome(verdict)

    async def _ask(self, stage: Stage, envelope: Envelope | None, recipient: str = "") -> Outcome | None:
        reply = await self._server.answer(stage, envelope, recipient)
        verdict = classify(Stage.GREETING if stage is Stage.CONNECT else stage, reply)
        if reply.code == 0 or verdict is Course.UNAVAILABLE:
            self._stands = False
        if verdict is Course.UNAVAILABLE:
            raise (ServerUnavailable if stage is Stage.CONNECT else TurnedAway)(f"memory: {reply}, at {stage}")
        return reply.outcome(verdict) if isinstance(verdict, Kind) else None
