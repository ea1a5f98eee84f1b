"""A small run is cut short at every single point: nothing is lost, and nothing is sent twice that need not be.

Every call of a twin has two such points, before and after it takes effect; so has every answer of the SMTP server. A
run that is killed at the n-th is followed by more wake-ups, as in life, until the queue is empty; then n + 1 has its
turn, until a run comes through untouched.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import pytest
from botocore.exceptions import ClientError

from harness.simulation.loop import run
from ion.errors import LedgerUnavailable
from ion.ledger import Status
from tests.support.fuse import Fail, Fuse, Kill, Killed
from tests.support.world import LEASE_SECONDS, World, recorded, subject

Pair = tuple[str, str]  # a mail's subject, and a recipient

MAILS = (("ann",), ("bob", "gone-bob", "busy1-bob"), ("gone",), ("cat", "busy2-cat"), ("dan", "eve"), ("busy",))


class Run:
    """One run that goes wrong at one point, and what can be told of it."""

    def __init__(self) -> None:
        # Few connections, and a server that takes its time: mails are at different stages when it happens.
        self.world = World(seed=7, retry_max_attempts="3", smtp_max_connections="3")
        self.world.send_seconds = 0.2
        self.doubts: Counter[Pair] = Counter()
        self.wake_ups = 0
        self.ledger_lost = False

    def note_doubts(self) -> None:
        """Remember what the server keeps and the ledger does not know: that cannot but be sent again."""
        for envelope, recipients in self.world.server.kept:
            header = next(line for line in envelope.message.split(b"\r\n") if line.startswith(b"Message-ID: "))
            entries = [e for e in self.world.ledger.entries.values() if header.endswith(e.message_id.encode())]
            known = {r for r in recipients for entry in entries if recorded(entry, r)}
            self.doubts.update((subject(envelope), r) for r in recipients if r not in known)

    async def cut(self, *causes: Fuse) -> None:
        """Wake up once for each cause, with this going wrong; then as often as it takes."""
        for cause in causes:
            self.world.hook = cause
            with contextlib.suppress(Killed, BaseExceptionGroup, LedgerUnavailable, ClientError):
                await self.world.drain()
            self.world.hook = None
            self.wake_ups += 1
            if self.ledger_lost:
                self.note_doubts()
            await asyncio.sleep(LEASE_SECONDS)
        await self.world.drain_all()

    def copies(self) -> Counter[Pair]:
        """How often who got what; once more than once only for each time that it was in doubt."""
        copies = self.world.delivered()
        for pair, times in copies.items():
            assert times <= 1 + self.doubts[pair], f"{pair} arrived {times} times, doubts: {self.doubts}"
        return copies


async def publish(world: World) -> None:
    """Mails of every fate, one of them published twice under its id, and what is no mail."""
    for names in MAILS:
        world.publish(*names)
    world.publish("twice", id="r")
    world.publish("twice", id="r")
    world.put("not a mail")


def check_sends(one: Run) -> None:
    """Everybody who could be reached has been, and whoever failed is dead-lettered with a reason."""
    expected = {(" ".join(names), f"{name}@example.com") for names in (*MAILS, ("twice",)) for name in names}
    copies = one.copies()
    failed = {(mail, r) for mail, r in expected if r.startswith("gone") or r == "busy@example.com"}
    assert set(copies) == expected - failed
    reasons = {entry.reason for entry in one.world.ledger.entries.values() if entry.status is Status.FAILED}
    assert reasons == {"rejected", "attempts-exhausted", "malformed"}
    dead = one.world.dead()
    assert len(dead) == 4
    for id_, letters in dead.items():
        assert one.world.entry(id_).dead_lettered or one.ledger_lost
        assert all(letter.attributes["failure-reason"] == one.world.entry(id_).reason for letter in letters)
        assert all(letter.attributes["failure-detail"] for letter in letters)


async def publish_redrive(world: World) -> None:
    """Three mails that have failed; two of them would be taken now; one more mail; and a redrive."""
    world.publish("gone-one", "ok-one")
    world.publish("gone-two")
    world.publish("busy")
    await world.drain_all()
    assert len(world.letters.all()) == 3
    world.server.kept.clear()
    world.mended = "gone"
    await asyncio.sleep(1)
    world.publish("ann")
    world.redrive()


def check_redrive(one: Run) -> None:
    """Who could be reached now has been, once; the rest is dead again, and only once sent again."""
    assert set(one.copies()) == {
        ("gone-one ok-one", "gone-one@example.com"),
        ("gone-two", "gone-two@example.com"),
        ("ann", "ann@example.com"),
    }
    (id_,) = {letter.attributes["ion-id"] for letter in one.world.letters.all()}
    entry = one.world.entry(id_)
    assert (entry.generation, entry.attempts, entry.reason) == (1, 3, "attempts-exhausted")
    assert 6 <= one.world.attempts["busy@example.com"] <= 6 + one.wake_ups  # one that was cut short is none


RUNS = pytest.mark.parametrize(
    ("prepare", "check", "points"), [(publish, check_sends, 90), (publish_redrive, check_redrive, 60)]
)
Prepare = Callable[[World], Awaitable[None]]
Check = Callable[[Run], None]


def sweep(prepare: Prepare, check: Check, causes: Callable[[int, Run], Sequence[Fuse]]) -> Counter[str]:
    """Cut a run at each of its points in turn; returns how often each operation was hit."""
    struck: Counter[str] = Counter()

    async def survives(n: int) -> str:
        one = Run()
        await prepare(one.world)
        first, *later = causes(n, one)
        await one.cut(first, *later)
        try:
            check(one)
        except AssertionError as error:
            raise AssertionError(f"cut at point {n}, {first.struck}: {error}") from error
        return first.struck

    for n in itertools.count(1):
        where = run(survives(n))
        if not where:
            return struck
        struck[where] += 1
    raise AssertionError


@RUNS
def test_killed_anywhere(prepare: Prepare, check: Check, points: int) -> None:
    """A process that is killed at any point loses nothing, and doubles only what was between final dot and record."""
    struck = sweep(prepare, check, lambda n, one: [Kill(n, when_struck=one.note_doubts)])
    assert struck.total() > points
    touched = {"ledger.claim", "ledger.write", "smtp.final dot", "queue.delete", "queue.hide"}
    touched |= {"letters.send"} if prepare is publish else {"letters.receive", "queue.send", "letters.delete"}
    assert {f"{operation} {when}" for operation in touched for when in ("before", "after")} <= set(struck)


@RUNS
def test_killed_again(prepare: Prepare, check: Check, points: int) -> None:
    """So may be whoever takes over, anywhere in its own run."""

    def causes(n: int, one: Run) -> list[Fuse]:
        return [Kill(at, when_struck=one.note_doubts) for at in (n, 1 + n * 7 % points)]

    assert sweep(prepare, check, causes).total() > points


def ledger_only(operation: str) -> Exception | None:
    return LedgerUnavailable("no answer") if operation.startswith("ledger.") else None


def queues_only(operation: str) -> Exception | None:
    if operation.startswith(("queue.", "letters.")):
        return ClientError({"Error": {"Code": "ServiceUnavailable", "Message": ""}}, operation)
    return None


@RUNS
@pytest.mark.parametrize("error", [ledger_only, queues_only])
def test_one_call_fails(prepare: Prepare, check: Check, points: int, error: Callable[[str], Exception | None]) -> None:
    """A call to the ledger or to a queue that fails, or takes effect without an answer, loses and doubles nothing."""
    assert sweep(prepare, check, lambda n, _: [Fail(n, error)]).total() > points / 8


@RUNS
@pytest.mark.parametrize("error", [ledger_only, queues_only])
def test_calls_fail_from_then_on(
    prepare: Prepare, check: Check, points: int, error: Callable[[str], Exception | None]
) -> None:
    """Where the ledger or the queues stay away for the rest of the time, only what was sent by then may come again."""

    def causes(n: int, one: Run) -> list[Fuse]:
        one.ledger_lost = error is ledger_only
        return [Fail(n, error, for_good=True)]

    assert sweep(prepare, check, causes).total() > points / 8
