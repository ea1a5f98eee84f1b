"""What every alarm must do, CloudWatch's (as LocalStack has it) and its twin in memory alike."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from harness.memory import MemoryAlarm
from ion.alarm import CloudWatchAlarm
from tests.support.world import Notes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.localstack.process import Emulator
    from ion.protocols import Alarm

NAME = "contract-depth"


class AlarmContract:
    """Subclass it with fixtures `alarm`, and `broken`, one that cannot be set."""

    async def test_reset(self, alarm: Alarm) -> None:
        """It can be set to OK, again and again."""
        assert await alarm.reset()
        assert await alarm.reset()

    async def test_failure_is_not_raised(self, broken: Alarm) -> None:
        """One that cannot be set raises nothing, and says so."""
        assert not await broken.reset()


class TestMemoryAlarm(AlarmContract):
    @pytest.fixture
    def alarm(self) -> Alarm:
        return MemoryAlarm()

    @pytest.fixture
    def broken(self) -> Alarm:
        async def hook(_operation: str, _when: str) -> None:
            raise ConnectionError("no CloudWatch")

        return MemoryAlarm(hook=hook)


@pytest.mark.integration
class TestCloudWatchAlarm(AlarmContract):
    @pytest.fixture
    def alarm(self, emulator: Emulator) -> Iterator[Alarm]:
        cloudwatch = emulator.client("cloudwatch")
        cloudwatch.put_metric_alarm(
            AlarmName=NAME,
            Namespace="AWS/SQS",
            MetricName="ApproximateNumberOfMessagesVisible",
            Statistic="Maximum",
            Period=86_400,
            EvaluationPeriods=1,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            Threshold=1,
        )
        yield CloudWatchAlarm(cloudwatch, name=NAME, telemetry=Notes())
        cloudwatch.delete_alarms(AlarmNames=[NAME])

    @pytest.fixture
    def broken(self, emulator: Emulator) -> Alarm:
        return CloudWatchAlarm(emulator.client("cloudwatch"), name="no-such-alarm", telemetry=Notes())

    async def test_state(self, alarm: Alarm, emulator: Emulator) -> None:
        """An alarm in ALARM is OK afterwards, and says who did it."""
        cloudwatch = emulator.client("cloudwatch")
        cloudwatch.set_alarm_state(AlarmName=NAME, StateValue="ALARM", StateReason="a test")
        await alarm.reset()
        # Its history, as LocalStack may look at the metric, and find it without data, at any moment.
        items = cloudwatch.describe_alarm_history(AlarmName=NAME)["AlarmHistoryItems"]
        news = [json.loads(item["HistoryData"])["newState"] for item in items]
        told = [(new["stateValue"], new["stateReason"]) for new in news]
        assert ("OK", "ion drains the queue") in told[told.index(("ALARM", "a test")) :]
