"""The Lambda entry point."""

from __future__ import annotations

import contextlib
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from harness.simulation.loop import run
from ion import handler
from ion.errors import AlarmUnavailable, LedgerUnavailable, SettingsError
from tests.support.fuse import Kill, Killed
from tests.support.world import World, down

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_cloudwatch import CloudWatchClient


async def order_of_calls(world: World, *, failing: str = "") -> list[str]:
    """Serve one wake-up; returns the operations in order."""
    calls: list[str] = []

    async def hook(operation: str, when: str) -> None:
        if when == "before":
            calls.append(operation)
        if operation == failing:
            raise LedgerUnavailable("down")

    world.hook = hook
    try:
        await handler.serve(world.parts, deadline=world.clock.now() + 120)
    except LedgerUnavailable:
        assert failing
    return calls


@pytest.mark.parametrize("failing", ["", "ledger.breaker", "ledger.claim", "ledger.write"])
def test_alarm_first_and_last(failing: str) -> None:
    """The alarm is set to OK before anything else, and again after everything, also where the drain fails."""

    async def story() -> None:
        world = World()
        world.publish("ann")
        calls = await order_of_calls(world, failing=failing)
        assert calls[0] == calls[-1] == "alarm.reset"
        assert world.alarm.resets == 2

    run(story())


def test_alarm_in_an_outage() -> None:
    """An outage ends a wake-up without an error; the alarm is OK, and will wake the function again."""

    async def story() -> None:
        world = World()
        world.script = down()
        world.publish("ann")
        summary = await handler.serve(world.parts, deadline=world.clock.now() + 120)
        assert summary["ended"] == "unavailable"
        assert world.alarm.resets == 2

    run(story())


def test_killed_anywhere_after_its_start() -> None:
    """However early the process dies, it has set the alarm to OK: it is never stranded behind one that stays on."""

    async def killed(at: int) -> tuple[int, str]:
        world = World()
        world.publish("ann")
        world.hook = fuse = Kill(at)
        with contextlib.suppress(Killed, BaseExceptionGroup):
            await handler.serve(world.parts, deadline=world.clock.now() + 120)
        return world.alarm.resets, fuse.struck

    points = 1
    while True:
        resets, struck = run(killed(points))
        if not struck:
            break
        assert resets >= (struck != "alarm.reset before" or points > 1)
        points += 1
    assert points > 10


def test_alarm_that_fails_stops_nothing() -> None:
    """Where the alarm cannot be set, mail goes out all the same; then the wake-up fails, so that Lambda repeats it."""

    async def story() -> None:
        world = World()
        world.publish("ann")

        async def hook(operation: str, _: str) -> None:
            if operation == "alarm.reset":
                raise RuntimeError("no alarm")

        world.hook = hook
        with pytest.raises(AlarmUnavailable, match="'delivered': 1"):
            await handler.serve(world.parts, deadline=world.clock.now() + 120)
        assert world.delivered() == {("ann", "ann@example.com"): 1}

    run(story())


class Context:
    aws_request_id = "r-1"

    def get_remaining_time_in_millis(self) -> int:
        return 120_000


@pytest.fixture
def broken_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str]]]:
    """A function whose settings are unusable; gives the alarms that are set to OK."""
    resets: list[tuple[str, str]] = []
    monkeypatch.setenv("ION_SMTP_NONSENSE", "1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")

    def note(client: CloudWatchClient, name: str) -> None:
        resets.append((client.meta.service_model.service_name, name))

    monkeypatch.setattr(handler, "set_to_ok", note)
    handler._parts.cache_clear()
    yield resets
    handler._parts.cache_clear()


@pytest.mark.parametrize(("variable", "name"), [("depth", "depth"), (None, "ion-input-queue-size-alarm")])
def test_alarm_without_settings(
    broken_settings: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, variable: str | None, name: str
) -> None:
    """A function that cannot even read its settings sets the alarm to OK, so that it is woken when they are mended."""
    if variable:
        monkeypatch.setenv("ION_ALARM_NAME", variable)
    with pytest.raises(SettingsError, match="ION_SMTP_NONSENSE"):
        handler.run({}, Context())
    assert broken_settings == [("cloudwatch", name)]


def test_no_alarm_without_settings(broken_settings: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no alarm there is none to set, and the error is the settings' own."""
    monkeypatch.setenv("ION_ALARM_NAME", "")
    with pytest.raises(SettingsError, match="ION_SMTP_NONSENSE"):
        handler.run({}, Context())
    assert broken_settings == []


@pytest.mark.parametrize(("ended", "times"), [("unavailable", 2), ("empty", 1)])
def test_the_login_is_read_anew_after_an_outage(ended: str, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that could not log in reads its settings again: a changed password needs no new deployment."""
    made: list[SimpleNamespace] = []

    @cache
    def parts() -> SimpleNamespace:
        made.append(SimpleNamespace(telemetry=SimpleNamespace(bind=dict), clock=handler.SystemClock()))
        return made[-1]

    async def serve(_parts: object, *, deadline: float) -> dict[str, object]:
        assert deadline
        return {"ended": ended}

    monkeypatch.setattr(handler, "_parts", parts)
    monkeypatch.setattr(handler, "serve", serve)
    context = SimpleNamespace(aws_request_id="1", get_remaining_time_in_millis=lambda: 120_000)
    for _ in range(2):
        handler.run({}, context)
    assert len(made) == times
