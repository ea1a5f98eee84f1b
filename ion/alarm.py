"""The alarm that wakes the Lambda while messages are visible."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient

    from ion.telemetry import Telemetry


class CloudWatchAlarm:
    """An alarm acts only on a transition, so it is set to OK to let it act again while messages stay visible.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_SetAlarmState.html
    """

    def __init__(self, client: CloudWatchClient, *, name: str, telemetry: Telemetry) -> None:
        self._client = client
        self._name = name
        self._telemetry = telemetry

    async def reset(self) -> bool:
        """Set the alarm to OK, if there is one; whether that was done. A failure is logged and stops nothing."""
        if not self._name:
            return True
        try:
            await asyncio.to_thread(set_to_ok, self._client, self._name)
        except Exception as error:
            self._telemetry.log("alarm-failed", level="ERROR", alarm=self._name, error=error)
            return False
        return True


def set_to_ok(client: CloudWatchClient, name: str) -> None:
    """Set the alarm of that name to OK.

    Raises:
        botocore's errors: It could not be done.
    """
    client.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="ion drains the queue")
