"""What ion says about itself: JSON log lines and CloudWatch metrics (EMF), both on standard output.

Powertools' Logger and Metrics do the writing; what may be written is decided here. No line shows a body, a secret or,
by default, more of an address than its first letter and its domain.
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import traceback
from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from threading import Lock
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from botocore.client import BaseClient

    from ion.settings import TelemetrySettings

SERVICE = "ion"
TEXT_MAX_CHARACTERS = 4_096
SECRET_MIN_CHARACTERS = 4  # a shorter one would blot out half of every line

_LATENCIES = ("DeliveryLatency", "QueueLatency")

# A local part and its @. It begins where a word begins, so that even a long text is read only once.
_LOCAL_PART = re.compile(r"""(?<![^\s<>()\[\],;:"@])('*[^\s<>()\[\],;:"'@])[^\s<>()\[\],;:"@]*@(?=[\w\[])|"[^"]*"@""")


class Telemetry:
    """The log and the metrics of one function; safe to use from several threads.

    Attributes:
        aws_calls: How often each AWS operation has been called, retries included: `sqs.ReceiveMessage`, ...
    """

    def __init__(self, settings: TelemetrySettings, *, version: str, secrets: Iterable[str] = ()) -> None:
        """Begin.

        Args:
            settings: Level, masking and namespace.
            version: ion's, for every line.
            secrets: Texts that no line may show; those of under four characters cannot be kept out.
        """
        self.aws_calls: Counter[str] = Counter()
        self._told_calls: Counter[str] = Counter()
        self._mask_addresses = settings.mask_addresses
        self._secrets = [secret for secret in secrets if len(secret) >= SECRET_MIN_CHARACTERS]
        self._lock = Lock()
        self._counts: Counter[str] = Counter()
        self._metrics = EphemeralMetrics(namespace=settings.namespace, service=SERVICE)
        # The logging package keeps one logger of a name: with several Telemetry objects the newest sets its level.
        self._logger = Logger(
            service=SERVICE,
            level=settings.level.value,
            logger_handler=_HANDLER,
            json_serializer=_serialize,
            datefmt="%Y-%m-%dT%H:%M:%S.%FZ",
            utc=True,
            serialize_stacktrace=False,
        )
        self._logger.setLevel(settings.level.value)
        self._logger.append_keys(version=version)

    def bind(self, *, request_id: str) -> None:
        """Put the Lambda's request id on every line from now on."""
        self._logger.append_keys(request_id=request_id)

    def log(self, stage: str, *, level: str = "INFO", id: str = "", **fields: object) -> None:  # noqa: A002 - the line's key
        """Write one line.

        Args:
            stage: What happened, in a word: `delivered`, `unavailable`, ...
            level: DEBUG, INFO, WARNING or ERROR.
            id: The mail's id.
            fields: What else there is to say. Addresses are masked, but not in `ids` and `..._id`; long texts are cut;
                octets become their number; an exception its type and message, with its traceback at level DEBUG.
        """
        if logging.getLevelNamesMapping()[level] < self._logger.log_level:
            return
        line: dict[str, object] = {"stage": stage}
        if id:
            line["id"] = self._text(id, mask=False)
        for name, value in fields.items():
            line[name] = self._plain(value, mask=self._mask_addresses and name != "ids" and not name.endswith("_id"))
            if isinstance(value, BaseException) and self._logger.log_level <= logging.DEBUG:
                line[f"{name}_traceback"] = self._text(
                    "".join(traceback.format_exception(value)), mask=self._mask_addresses
                )
        write = {"DEBUG": self._logger.debug, "INFO": self._logger.info, "WARNING": self._logger.warning}
        with self._lock:
            write.get(level, self._logger.error)(line)

    def count(self, metric: str, value: float = 1) -> None:
        """Add to a sum, such as Delivered."""
        with self._lock:
            self._counts[metric] += value  # type: ignore[assignment]  # Counter is typed for whole numbers only

    def observe(self, metric: str, value: float, /) -> None:
        """Note one value of a distribution: the latencies in milliseconds, BatchSize in messages."""
        unit = MetricUnit.Milliseconds if metric in _LATENCIES else MetricUnit.Count
        with self._lock:  # Powertools writes a document by itself with the 100th value, EMF's most
            self._metrics.add_metric(name=metric, unit=unit, value=value)

    def flush(self) -> None:
        """Write what came since the last time: AWS calls by operation as a log line, all else as one EMF document."""
        with self._lock:
            calls, self._told_calls = self.aws_calls - self._told_calls, self.aws_calls.copy()
        if calls:
            self.log("aws-calls", calls=calls)
        with self._lock:
            for metric, value in self._counts.items():
                self._metrics.add_metric(name=metric, unit=MetricUnit.Count, value=value)
            self._counts.clear()
            if self._metrics.metric_set:
                self._metrics.flush_metrics()
                self._metrics.clear_metrics()  # Powertools keeps them where its metrics are turned off
            sys.stdout.flush()

    def watch(self, client: BaseClient) -> None:
        """Count the calls of a boto3 client from now on, once per HTTP request."""
        client.meta.events.register("before-send", self._called, unique_id=f"ion-telemetry-{id(self)}")

    def _called(self, *, event_name: str, **_: Any) -> None:
        with self._lock:
            self._counts["AwsCalls"] += 1
            self.aws_calls[event_name.removeprefix("before-send.")] += 1

    def _plain(self, value: object, *, mask: bool) -> object:
        """A value as JSON has it, with nothing in it that a log must not show."""
        match value:
            case None | bool() | int():
                return value
            case float() if math.isfinite(value):
                return value
            case Mapping():
                return self._mapping(value, mask=mask)
            case list() | tuple() | AbstractSet():
                return [self._plain(one, mask=mask) for one in value]
            case bytes() | bytearray():
                value = f"{len(value)} octets"
            case BaseException():
                value = f"{type(value).__name__}: {value}"
        return self._text(str(value), mask=mask)

    def _mapping(self, value: Mapping[Any, object], *, mask: bool) -> dict[str, object]:
        plain: dict[str, object] = {}
        for key, one in value.items():
            name = self._text(str(key), mask=mask)
            if name in plain:  # two addresses that look the same under the mask
                name = f"{name} ({len(plain) + 1})"
            plain[name] = self._plain(one, mask=mask)
        return plain

    def _text(self, text: str, *, mask: bool) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        if mask:
            text = _LOCAL_PART.sub(lambda match: f"{match[1] or ''}***@", text)
        return text if len(text) <= TEXT_MAX_CHARACTERS else f"{text[: TEXT_MAX_CHARACTERS - 1]}…"


class _StandardOutput(logging.Handler):
    """Writes to what standard output is at the time, a line at once."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        try:
            sys.stdout.write(f"{self.format(record)}\n")
            sys.stdout.flush()
        except Exception:
            self.handleError(record)


_HANDLER = _StandardOutput()


def _serialize(record: Mapping[str, Any]) -> str:
    """Powertools' record as a line: level and time first, then what `log` was given, then what every line has."""
    message = record["message"]
    said = message if isinstance(message, dict) else {"stage": "log", "message": message}
    always = {name: record[name] for name in ("request_id", "version", "xray_trace_id") if name in record}
    line = {"level": record["level"], "timestamp": record["timestamp"], **said, **always}
    return json.dumps(line, separators=(",", ":"), default=str)
