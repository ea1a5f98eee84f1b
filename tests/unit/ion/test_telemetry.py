from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ion.settings import Level, TelemetrySettings
from ion.telemetry import Telemetry
from tests.unit.ion.documents import mailboxes

SETTINGS = TelemetrySettings(namespace="ion-test", mask_addresses=True, level=Level.INFO)

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry(SETTINGS, version="1.2.3", secrets=["hunter2%", "abc"])


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    """What has been written since the last time, line by line."""
    return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_line(telemetry: Telemetry, lines: Lines):
    """A line has level, time, stage, id, whatever else was said, and ion's version, in this order."""
    telemetry.log("delivered", id="order-7", attempt=1, seconds=0.25)

    (line,) = lines()
    timestamp = line.pop("timestamp")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", timestamp)
    assert line == {
        "level": "INFO",
        "stage": "delivered",
        "id": "order-7",
        "attempt": 1,
        "seconds": 0.25,
        "version": "1.2.3",
    }
    assert list(line) == ["level", "stage", "id", "attempt", "seconds", "version"]


def test_no_id_no_key(telemetry: Telemetry, lines: Lines):
    """What concerns no mail has no id."""
    telemetry.log("drained")

    assert "id" not in lines()[0]


def test_the_request_id(lines: Lines):
    """From `bind` on every line has the Lambda's request id."""
    telemetry = Telemetry(SETTINGS, version="1")
    telemetry.bind(request_id="r-1")
    telemetry.log("a")
    telemetry.bind(request_id="r-2")
    telemetry.log("b")

    assert [line["request_id"] for line in lines()] == ["r-1", "r-2"]


def test_levels(lines: Lines):
    """What is below the level is not written."""
    telemetry = Telemetry(replace(SETTINGS, level=Level.WARNING), version="1")
    for level in ("DEBUG", "INFO", "WARNING", "ERROR"):
        telemetry.log("x", level=level)

    assert [line["level"] for line in lines()] == ["WARNING", "ERROR"]


def test_names_that_logging_has_for_itself(telemetry: Telemetry, lines: Lines):
    """Any name will do for a field, also those that the logging package refuses."""
    telemetry.log("x", name="n", args=[1], message="m", module="o", filename="f")
    (line,) = lines()
    assert (line["name"], line["args"], line["message"], line["module"], line["filename"]) == ("n", [1], "m", "o", "f")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ann@example.com", "a***@example.com"),
        ("<ann.smith+x@example.com>", "<a***@example.com>"),
        (
            "550 5.1.1 <ann@example.com>: no such user; try bob@example.org.",
            "550 5.1.1 <a***@example.com>: no such user; try b***@example.org.",
        ),
        ("'ann@example.com', \"bob@example.com\"", "'a***@example.com', \"b***@example.com\""),
        ("o'neil@example.com", "o***@example.com"),
        ("jürgen@bücher.example", "j***@bücher.example"),
        ('"ann smith"@example.com', "***@example.com"),
        ("RCPT TO:<ann@[192.0.2.1]>", "RCPT TO:<a***@[192.0.2.1]>"),
        ("a@b@example.com", "a***@b***@example.com"),
        ("at 12:00 @ noon", "at 12:00 @ noon"),
        ("nobody", "nobody"),
    ],
)
def test_masking(telemetry: Telemetry, lines: Lines, text: str, shown: str):
    """Of an address, wherever it stands, a line shows the first character and the domain."""
    telemetry.log("x", reply=text, nested={"list": [text], "tuple": (text,)}, error=ValueError(text))

    (line,) = lines()
    assert line["reply"] == shown
    assert line["nested"] == {"list": [shown], "tuple": [shown]}
    assert line["error"] == f"ValueError: {shown}"


def test_ids_are_not_masked(telemetry: Telemetry, lines: Lines):
    """An id is shown whole, though it looks like an address."""
    telemetry.log("x", id="7@shop.example", message_id="<7@shop.example>", ids=["8@shop.example"])

    (line,) = lines()
    assert (line["id"], line["message_id"], line["ids"]) == ("7@shop.example", "<7@shop.example>", ["8@shop.example"])


def test_addresses_as_keys(telemetry: Telemetry, lines: Lines):
    """Addresses are masked as keys too, and two that look the same then stay two."""
    telemetry.log("x", recipients={"ann@example.com": "delivered", "adam@example.com": "deferred"})

    assert lines()[0]["recipients"] == {"a***@example.com": "delivered", "a***@example.com (2)": "deferred"}


def test_no_masking(lines: Lines):
    """Without masking addresses are shown, secrets still are not."""
    telemetry = Telemetry(replace(SETTINGS, mask_addresses=False), version="1", secrets=["hunter2%"])
    telemetry.log("x", reply="ann@example.com hunter2%")

    assert lines()[0]["reply"] == "ann@example.com ***"


def test_secrets(telemetry: Telemetry, lines: Lines):
    """A secret is shown nowhere, an id included."""
    telemetry.log("x", id="hunter2%", a="-hunter2%-", b=[{"hunter2%": ValueError("hunter2%")}], c="abc")

    (line,) = lines()
    assert (line["id"], line["a"], line["b"], line["c"]) == ("***", "-***-", [{"***": "ValueError: ***"}], "abc")


def test_values_that_json_has_not(telemetry: Telemetry, lines: Lines):
    """Octets become their number, and what JSON cannot say becomes text."""
    telemetry.log("x", body=b"secret", nan=float("nan"), kinds={3}, none=None, yes=True, other=SETTINGS, half="\ud800")

    (line,) = lines()
    assert (line["body"], line["nan"], line["kinds"], line["none"], line["yes"]) == ("6 octets", "nan", [3], None, True)
    assert line["other"].startswith("TelemetrySettings(")
    assert line["half"] == "\ud800"


def test_long_texts_are_cut(telemetry: Telemetry, lines: Lines):
    """A long text is cut, masked before that."""
    telemetry.log("x", reply="x " * 2_045 + "ann.smith@example.com")

    (line,) = lines()
    assert len(line["reply"]) == 4_096
    assert "ann" not in line["reply"]


def test_tracebacks(lines: Lines):
    """At level DEBUG an exception comes with its traceback, masked as all else."""
    telemetry = Telemetry(replace(SETTINGS, level=Level.DEBUG), version="1")
    try:
        raise ValueError("ann@example.com")  # noqa: TRY301 - an exception with a traceback
    except ValueError as error:
        telemetry.log("x", error=error)

    (line,) = lines()
    assert "Traceback" in line["error_traceback"]
    assert line["error_traceback"].endswith("ValueError: a***@example.com\n")


def test_no_tracebacks_otherwise(telemetry: Telemetry, lines: Lines):
    """At other levels there is no traceback."""
    telemetry.log("x", level="ERROR", error=ValueError("x"))

    assert "error_traceback" not in lines()[0]


@settings(suppress_health_check=[*settings().suppress_health_check, HealthCheck.function_scoped_fixture])
@given(mailboxes, st.text(' <>",;:()[]\n', max_size=3), st.text(' <>",;:()[]\n', max_size=3))
def test_no_local_part_is_shown(telemetry: Telemetry, mailbox: str, before: str, after: str):
    """Between any signs, no more of a local part than its first character is shown."""
    local = mailbox.partition("@")[0]
    shown = telemetry._text(f"{before}{mailbox}{after}", mask=True)

    assert shown.startswith(before) or '"' in before
    assert len(local) < 3 or local not in shown


def test_metrics(telemetry: Telemetry, lines: Lines):
    """A flush writes sums and distributions as one EMF document, with the namespace and the dimension service."""
    telemetry.count("Delivered")
    telemetry.count("Delivered", 2)
    telemetry.observe("DeliveryLatency", 12.5)
    telemetry.observe("DeliveryLatency", 7)
    telemetry.observe("BatchSize", 10)
    assert lines() == []
    telemetry.flush()

    (document,) = lines()
    (directive,) = document["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "ion-test"
    assert directive["Dimensions"] == [["service"]]
    assert {metric["Name"]: metric["Unit"] for metric in directive["Metrics"]} == {
        "Delivered": "Count",
        "DeliveryLatency": "Milliseconds",
        "BatchSize": "Count",
    }
    assert document["service"] == "ion"
    assert (document["Delivered"], document["DeliveryLatency"], document["BatchSize"]) == ([3], [12.5, 7], [10])
    assert abs(document["_aws"]["Timestamp"] / 1000 - time.time()) < 3_600


def test_a_flush_starts_anew(telemetry: Telemetry, lines: Lines):
    """What was flushed is not written again, and an empty flush writes nothing."""
    telemetry.flush()
    telemetry.count("Delivered")
    telemetry.flush()
    telemetry.flush()
    telemetry.count("Deferred")
    telemetry.flush()

    assert [set(document) - {"_aws", "service"} for document in lines()] == [{"Delivered"}, {"Deferred"}]


def test_many_values(telemetry: Telemetry, lines: Lines):
    """EMF takes 100 values a metric and document: more are split, and none is lost."""
    for number in range(250):
        telemetry.observe("QueueLatency", number)
        telemetry.count("Delivered")
    telemetry.flush()

    documents = lines()
    assert [len(document["QueueLatency"]) for document in documents] == [100, 100, 50]
    assert [value for document in documents for value in document["QueueLatency"]] == list(range(250))
    assert [document.get("Delivered") for document in documents] == [None, None, [250]]


def test_two_telemetries_do_not_mix(lines: Lines):
    """Metrics of one Telemetry are not written by another."""
    first, second = Telemetry(SETTINGS, version="1"), Telemetry(SETTINGS, version="1")
    first.count("Delivered")
    second.flush()
    assert lines() == []
    first.flush()
    assert len(lines()) == 1


def test_threads(telemetry: Telemetry, lines: Lines):
    """Many threads at once lose no count and tear no line."""

    def work(number: int) -> None:
        for _ in range(50):
            telemetry.count("Delivered")
            telemetry.observe("BatchSize", number)
            telemetry.log("x", number=number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    telemetry.flush()

    written = lines()
    documents = [line for line in written if "_aws" in line]
    assert len(written) - len(documents) == 400
    assert sum(len(document.get("BatchSize", [])) for document in documents) == 400
    assert [document["Delivered"] for document in documents if "Delivered" in document] == [[400]]


def test_watching_a_client(telemetry: Telemetry, lines: Lines):
    """Every HTTP request of a watched client counts once, retries included; a flush tells them by operation."""
    client = boto3.client(
        "sqs",
        endpoint_url="http://127.0.0.1:9",
        region_name="eu-west-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(retries={"total_max_attempts": 2, "mode": "standard"}),
    )
    telemetry.watch(client)
    telemetry.watch(client)

    def receive() -> None:
        with pytest.raises(EndpointConnectionError):
            client.receive_message(QueueUrl="http://127.0.0.1:9/1/x")

    receive()
    telemetry.flush()
    told, document = lines()
    assert (told["stage"], told["calls"]) == ("aws-calls", {"sqs.ReceiveMessage": 2})
    assert document["AwsCalls"] == [2]

    receive()
    telemetry.flush()
    assert telemetry.aws_calls == {"sqs.ReceiveMessage": 4}
    assert lines()[-2]["calls"] == {"sqs.ReceiveMessage": 2}  # since the last time


def test_a_plain_record_of_the_logging_package(telemetry: Telemetry, lines: Lines):
    """What some library logs under ion's name becomes a line too."""
    telemetry._logger.error("a %s word", "plain")

    (line,) = lines()
    assert (line["level"], line["stage"], line["message"]) == ("ERROR", "log", "a plain word")


def test_a_closed_output_stops_nothing(telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch):
    """A line that cannot be written is lost, and that is all."""

    class Closed:
        def write(self, _: str) -> None:
            raise OSError("closed")

    monkeypatch.setattr(sys, "stdout", Closed())
    monkeypatch.setattr("logging.raiseExceptions", False)
    telemetry.log("x")


def test_a_light_import():
    """A cold start does not load the heavy parts of Powertools, nor boto3 by way of telemetry."""
    modules = subprocess.run(
        [sys.executable, "-c", "import ion.telemetry, sys; print(*sys.modules)"],
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split()

    assert "aws_lambda_powertools.metrics" in modules
    heavy = ("event_handler", "utilities.parser", "utilities.validation", "utilities.data_classes", "utilities.batch")
    assert not {f"aws_lambda_powertools.{name}" for name in heavy} & set(modules)
    assert "boto3" not in modules
