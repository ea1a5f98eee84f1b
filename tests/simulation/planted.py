"""Ten bugs to be planted in ion, one at a time: does the simulation find them, after how many seeds, in how few words?

`python -m tests.simulation.planted` searches and prints a table; the name of a bug as an argument: its story too.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.commands.simulate import shortest
from harness.simulation import story
from harness.simulation.plan import draw
from harness.simulation.run import simulate

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_SEEDS = 2_000


class Edit(NamedTuple):
    """One change of the source: in a function, a text for another. Where else the function is known by name."""

    where: str
    old: str
    new: str
    also: tuple[str, ...] = ()


# The letters go first; the ledger hears of what they died of when they are gone.
DYING = "s.entry and s.entry.reason"
REST = f"await self._bury([s for s in batch if {DYING}]) and [] or [s for s in batch if not ({DYING})]"
BUGS: dict[str, list[Edit]] = {
    "delete before send": [
        Edit(
            "ion.drain:Drain._send_one",
            "    try:\n        outcomes = await courier.send",
            "    await self._parts.queue.delete([held.message])\n    try:\n        outcomes = await courier.send",
        )
    ],
    "settle without a lease check": [
        Edit("harness.memory:MemoryLedger.write", "ours = old is not None and old.owner == entry.owner", "ours = True")
    ],
    "claim that ignores an expired lease": [
        Edit("ion.ledger:judge", "elif old.lease_until > now:", "elif old.lease_until:", ("harness.memory",))
    ],
    "alarm reset only at the end": [
        Edit("ion.handler:serve", "await parts.alarm.reset()\n    try:", "try:", ("harness.simulation.cloud",))
    ],
    "attempts counted by receive": [
        Edit(
            "ion.settler:Settler.conclude",
            "held.entry, outcomes",
            "replace(held.entry, attempts=held.message.receive_count - 1), outcomes",
        )
    ],
    "redrive deletes before it sends": [
        Edit(
            "ion.redrive:redrive",
            "refused = await queue.send",
            "await letters.delete(list(moving)); refused = await queue.send",
            ("ion.drain",),
        )
    ],
    "dead letter before the last attempt is recorded": [
        Edit("ion.settler:Settler._commit", "self._record(batch)", f"self._record({REST})")
    ],
    "visibility shorter than a send": [
        Edit(f"ion.{part}.__init__", "parts.settings.queue.visibility_timeout_seconds", "5.0")
        for part in ("drain:Drain", "settler:Settler")
    ],
    "group commit that drops the last batch at the deadline": [
        Edit("ion.settler:Settler.run", "if not batch:", "if not batch or self._clock.now() > self._until - 60:")
    ],
    "421 in mid-RCPT taken as delivered": [
        Edit(
            "ion.outcome:classify",
            "return next(",
            "if stage is Stage.RCPT and reply.code == 421:\n        return Kind.DELIVERED\n    return next(",
            ("harness.memory_smtp",),
        )
    ],
}


@contextlib.contextmanager
def planted(name: str) -> Iterator[None]:
    """The bug is there while this lasts."""
    undo = []
    try:
        for edit in BUGS[name]:
            for owner, attribute, function in _targets(edit):
                undo.append((owner, attribute, getattr(owner, attribute)))
                setattr(owner, attribute, function)
        yield
    finally:
        for owner, attribute, function in reversed(undo):
            setattr(owner, attribute, function)


def _targets(edit: Edit) -> Iterator[tuple[Any, str, Any]]:
    """The changed function, and every place that it has to be put."""
    module_name, _, path = edit.where.partition(":")
    module = importlib.import_module(module_name)
    *classes, attribute = path.split(".")
    owner: Any = module
    for name in classes:
        owner = getattr(owner, name)
    source = textwrap.dedent(inspect.getsource(getattr(owner, attribute)))
    assert source.count(edit.old) == 1, f"{edit.where} has changed: plant {edit.old!r} anew"
    space = dict(vars(module))
    exec(source.replace(edit.old, edit.new), space)  # noqa: S102 - it is ours
    yield owner, attribute, space[attribute]
    for other in edit.also:
        yield importlib.import_module(other), attribute, space[attribute]


def main(names: list[str]) -> None:
    """Search for each bug, and print what it took."""
    for name in names or BUGS:
        began = time.monotonic()
        with planted(name):
            for seeds in range(1, MOST_SEEDS + 1):
                result = simulate(draw(seeds))
                if result.broken:
                    break
            else:
                print(f"{name}: not found in {MOST_SEEDS} seeds, {time.monotonic() - began:.0f} s", flush=True)
                continue
            found = time.monotonic() - began
            plan = shortest(result)
            shrunk = simulate(plan, tracing=True)
            told = story.tell(shrunk)
        size = f"{len(plan.publications)} published, {len(plan.faults)} faults, {len(told.splitlines())} lines"
        seconds = f"{found:.0f} s and {time.monotonic() - began - found:.0f} s to shrink"
        print(f"{name}: {seeds} seeds; {size}; {seconds}: {shrunk.broken}", flush=True)
        print(f"    {plan!r}", flush=True)
        if names:
            print(told)


if __name__ == "__main__":
    main(sys.argv[1:])
