"""The alarm is set to OK, whatever happens."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from ion.alarm import CloudWatchAlarm
from tests.support.world import Notes


class Recording:
    """A client that notes what it was asked, and raises what it was given."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[dict[str, Any]] = []
        self._error = error

    def set_alarm_state(self, **arguments: Any) -> None:
        self.calls.append(arguments)
        if self._error:
            raise self._error


async def test_sets_it_to_ok() -> None:
    """The alarm of that name is set to OK."""
    client = Recording()
    await CloudWatchAlarm(client, name="depth", telemetry=Notes()).reset()  # type: ignore[arg-type]
    (call,) = client.calls
    assert (call["AlarmName"], call["StateValue"]) == ("depth", "OK")
    assert call["StateReason"]


@pytest.mark.parametrize("error", [EndpointConnectionError(endpoint_url="http://cloudwatch"), RuntimeError("oh")])
async def test_failure_stops_nothing(error: Exception) -> None:
    """What goes wrong is logged as an error, and not raised."""
    notes = Notes()
    await CloudWatchAlarm(Recording(error), name="depth", telemetry=notes).reset()  # type: ignore[arg-type]
    ((stage, fields),) = notes.lines
    assert (stage, fields["level"], fields["alarm"]) == ("alarm-failed", "ERROR", "depth")


async def test_no_alarm_no_call() -> None:
    """Without a name there is no alarm."""
    client = Recording()
    await CloudWatchAlarm(client, name="", telemetry=Notes()).reset()  # type: ignore[arg-type]
    assert client.calls == []
