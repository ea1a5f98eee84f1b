"""What every ledger must do, the one on DynamoDB and its twin in memory alike."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from harness.memory import MemoryLedger
from harness.stack import Names, make_table
from ion.dynamo import DynamoLedger
from ion.errors import LedgerUnavailable
from ion.ledger import MAX_TEXT, Attempt, Busy, Claim, Conflict, Entry, Finished, Granted, Ledger, Status, fresh
from ion.outcome import Kind, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.localstack.process import Emulator

LEASE = 120.0
START = 1_767_225_600.25
GOT = Outcome(kind=Kind.DELIVERED, code=250, enhanced="2.0.0", text="kept")
_numbers = itertools.count(1)


class HandClock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> float:
        return self.time


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[str]:
    """A table for all tests of this module; each takes ids of its own."""
    emulator: Emulator = request.getfixturevalue("emulator")
    names = Names(prefix="contract-")
    make_table(emulator, names)
    yield names.table
    emulator.client("dynamodb").delete_table(TableName=names.table)


class LedgerContract:
    """Subclass it with a fixture `ledger` for the ledger to be held to this; it is on the time of `clock`."""

    @pytest.fixture
    def clock(self) -> HandClock:
        return HandClock()

    @pytest.fixture
    def id_(self) -> str:
        return f"mail-{next(_numbers)}"

    @staticmethod
    async def claim(ledger: Ledger, *claims: Claim) -> list[object]:
        return list(await ledger.claim(claims, lease_seconds=LEASE))

    async def granted(self, ledger: Ledger, claim: Claim) -> Entry:
        (answer,) = await self.claim(ledger, claim)
        assert isinstance(answer, Granted)
        return answer.entry

    # Claims.

    async def test_new_mail_is_granted(self, ledger: Ledger, id_: str) -> None:
        """A mail that nobody knows is the claimer's."""
        claim = Claim(
            id=id_, owner="me", generation=2, digest="d", message_id="<m@example.com>", tags={"a": "b", "c": ""}
        )
        assert await self.granted(ledger, claim) == fresh(claim, now=START, lease_seconds=LEASE)

    async def test_held_mail_is_busy(self, ledger: Ledger, clock: HandClock, id_: str) -> None:
        """While the lease runs nobody else gets it; when it ends, whoever asks does, and sees what happened."""
        await self.granted(ledger, Claim(id=id_, owner="me"))
        other = Claim(id=id_, owner="other")
        assert await self.claim(ledger, other) == [Busy(START + 15)]
        clock.time = START + LEASE - 1
        assert await self.claim(ledger, other) == [Busy(START + LEASE)]
        clock.time = START + LEASE
        entry = await self.granted(ledger, other)
        assert (entry.owner, entry.lease_until, entry.created) == ("other", START + 2 * LEASE, START)
        assert [line.result for line in entry.log] == ["abandoned"]

    async def test_lost_answer(self, ledger: Ledger, clock: HandClock, id_: str) -> None:
        """The same claim again is answered as before."""
        claim = Claim(id=id_, owner="me")
        entry = await self.granted(ledger, claim)
        clock.time += 60
        assert await self.granted(ledger, claim) == entry

    async def test_delivered_mail_is_finished(self, ledger: Ledger, id_: str) -> None:
        """A delivered mail is nobody's any more."""
        entry = await self.granted(ledger, Claim(id=id_, owner="me"))
        done = replace(entry, status=Status.DELIVERED, lease_until=0.0, recipients={"ann@example.com": GOT})
        assert await ledger.write([done]) == [True]
        assert await self.claim(ledger, Claim(id=id_, owner="other", generation=1)) == [Finished(done)]

    async def test_deferred_mail_is_busy_until_due(self, ledger: Ledger, clock: HandClock, id_: str) -> None:
        """A deferred mail can be had from the time it is due."""
        entry = await self.granted(ledger, Claim(id=id_, owner="me"))
        await ledger.write([replace(entry, status=Status.DEFERRED, lease_until=0.0, retry_at=START + 30.5)])
        assert await self.claim(ledger, Claim(id=id_, owner="other")) == [Busy(START + 30.5)]
        clock.time = START + 30.5
        assert (await self.granted(ledger, Claim(id=id_, owner="other"))).status is Status.SENDING

    async def test_another_document_is_a_conflict(self, ledger: Ledger, id_: str) -> None:
        """One id is one document."""
        await self.granted(ledger, Claim(id=id_, owner="me", digest="d"))
        assert await self.claim(ledger, Claim(id=id_, owner="other", digest="e")) == [Conflict()]

    async def test_redrive_revives(self, ledger: Ledger, id_: str) -> None:
        """A dead-lettered mail can be had by a later redrive only."""
        entry = await self.granted(ledger, Claim(id=id_, owner="me"))
        dead = replace(entry, status=Status.FAILED, reason="rejected", detail="550", attempts=10, dead_lettered=True)
        assert await ledger.write([replace(dead, lease_until=0.0)]) == [True]
        assert isinstance((await self.claim(ledger, Claim(id=id_, owner="b")))[0], Finished)
        revived = await self.granted(ledger, Claim(id=id_, owner="c", generation=1))
        assert (revived.attempts, revived.reason, revived.generation) == (0, "", 1)

    async def test_twins_in_one_batch(self, ledger: Ledger, id_: str) -> None:
        """Of two claims on one id in one call the first is judged, and the second looks again soon."""
        answers = await self.claim(ledger, Claim(id=id_, owner="a"), Claim(id=id_, owner="b"))
        assert isinstance(answers[0], Granted)
        assert answers[1] == Busy(START + 15)
        (answer,) = await ledger.claim([Claim(id=id_, owner="a")], lease_seconds=LEASE)
        assert answer == answers[0]

    async def test_mixed_batch(self, ledger: Ledger, id_: str) -> None:
        """Each mail of a batch has its own answer, in order, whatever the others come to."""
        held, done, mine = [await self.granted(ledger, Claim(id=f"{id_}-{n}", owner="x", digest="d")) for n in "abc"]
        await ledger.write([replace(done, status=Status.DELIVERED, lease_until=0.0)])
        answers = await self.claim(
            ledger,
            Claim(id=f"{id_}-new", owner="me"),
            Claim(id=held.id, owner="me", digest="d"),
            Claim(id=done.id, owner="me", digest="d"),
            Claim(id=mine.id, owner="me", digest="e"),
            Claim(id=mine.id, owner="x", digest="d"),
            Claim(id=f"{id_}-newer", owner="me"),
        )
        kinds = [type(answer) for answer in answers]
        assert kinds == [Granted, Busy, Finished, Conflict, Busy, Granted]

    async def test_more_than_a_transaction_takes(self, ledger: Ledger, clock: HandClock, id_: str) -> None:
        """Hundreds of claims and entries in one call are as good as one."""
        claims = [Claim(id=f"{id_}-{n}", owner="me") for n in range(230)]
        answers = await self.claim(ledger, *claims)
        entries = [answer.entry for answer in answers if isinstance(answer, Granted)]
        assert [entry.id for entry in entries] == [claim.id for claim in claims]
        stolen = entries[117]
        clock.time += LEASE
        await self.granted(ledger, Claim(id=stolen.id, owner="thief"))
        done = [replace(entry, status=Status.DELIVERED, lease_until=0.0) for entry in entries]
        assert await ledger.write(done) == [entry is not stolen for entry in entries]
        answers = await self.claim(ledger, *(replace(claim, owner="other") for claim in claims))
        assert [isinstance(answer, Finished) for answer in answers] == [entry is not stolen for entry in entries]

    # Writes.

    async def test_only_the_owner_writes(self, ledger: Ledger, clock: HandClock, id_: str) -> None:
        """Who has lost the lease writes nothing, and the rest of its group is written all the same."""
        lost = await self.granted(ledger, Claim(id=f"{id_}-lost", owner="me"))
        kept = await self.granted(ledger, Claim(id=f"{id_}-kept", owner="me"))
        clock.time += LEASE
        theirs = await self.granted(ledger, Claim(id=lost.id, owner="other"))
        done = [replace(entry, status=Status.DELIVERED, lease_until=0.0) for entry in (lost, kept)]
        assert await ledger.write(done) == [False, True]
        assert await self.granted(ledger, Claim(id=lost.id, owner="other")) == theirs
        assert isinstance((await self.claim(ledger, Claim(id=kept.id, owner="other")))[0], Finished)

    async def test_expired_lease_that_nobody_took(self, ledger: Ledger, clock: HandClock, id_: str) -> None:
        """As long as nobody else has come, the owner may still write."""
        entry = await self.granted(ledger, Claim(id=id_, owner="me"))
        clock.time += 10 * LEASE
        assert await ledger.write([replace(entry, status=Status.DELIVERED)]) == [True]

    async def test_unknown_mail_is_not_written(self, ledger: Ledger, id_: str) -> None:
        """What was never claimed cannot be written."""
        entry = fresh(Claim(id=id_, owner="me"), now=START, lease_seconds=LEASE)
        assert await ledger.write([entry]) == [False]
        assert (await self.granted(ledger, Claim(id=id_, owner="other"))).log == ()

    async def test_one_mail_twice_in_a_group(self, ledger: Ledger, clock: HandClock, id_: str) -> None:
        """A mail may be in a group twice, for who lost it and for who has it: each is judged by itself."""
        lost = await self.granted(ledger, Claim(id=id_, owner="me"))
        clock.time += LEASE
        theirs = await self.granted(ledger, Claim(id=id_, owner="other"))
        other = await self.granted(ledger, Claim(id=f"{id_}-b", owner="me"))
        assert await ledger.write([lost, theirs, other]) == [False, True, True]
        assert await ledger.write([theirs, lost, theirs]) == [True, False, True]

    async def test_nothing_to_do(self, ledger: Ledger) -> None:
        """Empty calls have empty answers."""
        assert await ledger.claim([], lease_seconds=LEASE) == []
        assert await ledger.write([]) == []

    async def test_everything_is_kept(self, ledger: Ledger, id_: str) -> None:
        """An entry comes back as it was written, to the microsecond and to the last field."""
        entry = replace(
            await self.granted(ledger, Claim(id=id_, owner="me", digest="d", tags={"campaign": "spring", "": "ü"})),
            status=Status.DEFERRED,
            lease_until=0.0,
            updated=START + 1.000001,
            retry_at=START + 2.5,
            generation=3,
            attempts=7,
            recipients={
                "ann@example.com": GOT,
                "jürgen@example.com": Outcome(kind=Kind.REJECTED, code=550, text="é\n"),
                "o'neill+x@example.com": Outcome(kind=Kind.AMBIGUOUS, text="lost"),
            },
            log=(Attempt(at=START + 0.5, result="deferred", seconds=1.25, text="450"), Attempt(at=START, result="x")),
            message_id="<m@example.com>",
            moved=9,
        )
        assert await ledger.write([entry]) == [True]
        dead = replace(entry, status=Status.FAILED, reason="rejected", detail="550 ü", dead_lettered=True)
        assert await ledger.write([dead]) == [True]
        (answer,) = await self.claim(ledger, Claim(id=id_, owner="other", digest="d"))
        assert answer == Finished(dead)

    async def test_giant_entries(self, ledger: Ledger, id_: str) -> None:
        """A group of the largest mails, each with a full log of the longest texts, is written."""
        outcome = Outcome(kind=Kind.DEFERRED, code=450, enhanced="4.2.1", text="ü" * MAX_TEXT)
        log = tuple(Attempt(at=START, result="deferred", seconds=1.0, text="ü" * MAX_TEXT) for _ in range(50))
        recipients = {f"{'r' * 60}{n}@{'d' * 60}.{'e' * 60}.{'f' * 60}.com": outcome for n in range(50)}
        claims = [Claim(id=f"{id_}-{n}" + "ü" * 240, owner="me") for n in range(40)]
        entries = [a.entry for a in await self.claim(ledger, *claims) if isinstance(a, Granted)]
        giants = [replace(entry, log=log, recipients=recipients, detail="ü" * 1000) for entry in entries]
        assert await ledger.write(giants) == [True] * 40
        assert await self.granted(ledger, claims[-1]) == giants[-1]

    # Several workers at once.

    async def test_eight_workers_one_grant(self, ledger: Ledger, clock: HandClock, id_: str) -> None:
        """Whoever claims the same mails at the same time, each mail goes to exactly one; twice over."""
        for turn in range(2):
            claims = [[Claim(id=f"{id_}-{n}", owner=f"{turn}-{worker}-{n}") for n in range(12)] for worker in range(8)]
            everybody = await asyncio.gather(*(ledger.claim(mine, lease_seconds=LEASE) for mine in claims))
            for answers in zip(*everybody, strict=True):
                grants = [answer for answer in answers if isinstance(answer, Granted)]
                assert len(grants) == 1
                assert {type(answer) for answer in answers} == {Granted, Busy}
            clock.time += LEASE  # and then for what these eight have left behind

    async def test_owner_against_successor(self, ledger: Ledger, clock: HandClock, id_: str) -> None:
        """An owner that writes late and a worker that takes over cannot both succeed without knowing of each other."""
        for n in range(6):
            late = await self.granted(ledger, Claim(id=f"{id_}-{n}", owner="late"))
            clock.time += LEASE
            done = replace(late, status=Status.DELIVERED, lease_until=0.0)
            (written,), (answer,) = await asyncio.gather(
                ledger.write([done]), ledger.claim([Claim(id=late.id, owner="next")], lease_seconds=LEASE)
            )
            assert (written, type(answer)) in {(True, Finished), (False, Granted)}

    # The breaker.

    async def test_breaker(self, ledger: Ledger) -> None:
        """The breaker says why it is open, and nothing when it is closed; opening and closing again is no error."""
        await ledger.close_breaker()
        assert await ledger.breaker() == ""
        await ledger.open_breaker("421 going down")
        await ledger.open_breaker("")
        assert await ledger.breaker()
        await ledger.open_breaker("refused")
        assert await ledger.breaker() == "refused"
        await ledger.close_breaker()
        await ledger.close_breaker()
        assert await ledger.breaker() == ""


class TestMemoryLedger(LedgerContract):
    @pytest.fixture
    def ledger(self, clock: HandClock) -> Ledger:
        return MemoryLedger(clock)  # type: ignore[arg-type]


@pytest.mark.integration
class TestDynamoLedger(LedgerContract):
    @pytest.fixture
    def ledger(self, clock: HandClock, emulator: Emulator, table: str) -> Ledger:
        return DynamoLedger(emulator.client("dynamodb"), table=table, ttl_days=30, clock=clock)

    async def test_no_table(self, clock: HandClock, emulator: Emulator) -> None:
        """Whatever is asked of a ledger that is not there has one error."""
        ledger = DynamoLedger(emulator.client("dynamodb"), table="nowhere", ttl_days=30, clock=clock)
        claim = Claim(id="m", owner="me")
        for asking in (
            ledger.claim([claim], lease_seconds=LEASE),
            ledger.write([fresh(claim, now=START, lease_seconds=LEASE)]),
            ledger.breaker(),
            ledger.open_breaker("down"),
            ledger.close_breaker(),
        ):
            with pytest.raises(LedgerUnavailable, match=r"table nowhere: .*not found"):
                await asking

    async def test_item(self, ledger: Ledger, clock: HandClock, emulator: Emulator, table: str, id_: str) -> None:
        """The item can be found by its status and time, and expires 30 days after it was last written."""
        clock.time += 77
        await self.granted(ledger, Claim(id=id_, owner="me"))
        dynamodb = emulator.client("dynamodb")
        found = dynamodb.query(
            TableName=table,
            IndexName="status-updated",
            KeyConditionExpression="#status = :status AND updated = :updated",
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues={":status": {"S": "sending"}, ":updated": {"N": f"{clock.time:.6f}"}},
        )
        assert id_ in {item["id"]["S"] for item in found["Items"]}
        item = dynamodb.get_item(TableName=table, Key={"id": {"S": id_}})["Item"]
        assert int(item["expires"]["N"]) == int(clock.time) + 30 * 86_400
