"""Measure speed and size: ion beside a plain loop and the ceilings. Nothing here is a pass condition."""

from __future__ import annotations

import base64
import json
import os
import platform
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]

from harness import artifact
from harness.bench import measurement, page, picture, track
from harness.bench.measurement import Cell, Measurement, Table
from harness.errors import BenchError, UsageError
from harness.localstack import process
from harness.stack import deploy

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from harness.artifact import Artifact
    from harness.localstack.process import Emulator

MEMORY_MAILS = (1_000, 20_000)
QUICK_ROUND_TRIPS_MS, QUICK_CONNECTIONS, QUICK_SECONDS = (0, 25), (1, 32), 2.0
RESULTS = Path("var/bench")
DOCS = artifact.PROJECT / "docs" / "performance.md"
MARK = "<!-- what follows is written by `make bench ARGS=--docs` -->\n"


def configure(parser: argparse.ArgumentParser) -> None:
    """How much, and what becomes of it."""
    parser.add_argument("--seconds", type=float, default=4.0, help="aim at so many seconds a cell (default 4)")
    parser.add_argument("--mails", type=int, help="so many mails in every cell, however long they take")
    parser.add_argument("--quick", action="store_true", help="fewer cells, and a shorter time for each")
    parser.add_argument("--cells", help="only these cells, as NAME:CONNECTIONS:MS,... (sqs, baseline, ion, smtp)")
    parser.add_argument(
        "--memory", action="store_true", help="memory of drains of 1,000 and 20,000 mails; minutes more"
    )
    parser.add_argument("--docs", action="store_true", help="put table and picture into docs/performance.md")


def run(args: argparse.Namespace) -> int:
    """Measure, print, save."""
    cells, seconds = _course(args), QUICK_SECONDS if args.quick else args.seconds
    load = os.getloadavg()[0]
    saved = (RESULTS / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())).resolve()
    (saved / "logs").mkdir(parents=True)
    built = artifact.build()
    began = time.monotonic()
    with process.running(saved / "logs") as emulator, track.server() as server:
        place = server.at(0)
        facts = _facts(emulator, built, place, began=began, load=load)
        code = track.unzip(built.path, saved / "artifact")
        course = track.Track(emulator=emulator, server=server, artifact=code, logs=saved / "logs")
        done = [_measure(course, cell, args.mails or cell.mails_for(seconds)) for cell in cells]
        memory = [_measure(course, Cell(name="ion", connections=32), n) for n in MEMORY_MAILS if args.memory]
    findings = page.Findings(facts=facts, table=Table(measurements=tuple(done)), memory=memory)
    print(f"\n{page.markdown(findings)}")
    _save(findings, saved / "bench.md")
    print(f"The whole of it took {time.monotonic() - began:.0f} s; table, JSON and picture: {saved}/bench.*")
    if args.docs:
        kept = DOCS.read_text().partition(MARK)[0]
        _save(findings, DOCS, before=kept + MARK + "\n")
    return 0


def _course(args: argparse.Namespace) -> list[Cell]:
    if args.seconds <= 0 or (args.mails is not None and args.mails < 1):
        raise UsageError("--seconds and --mails must be more than 0")
    if args.cells:
        try:
            return [Cell.from_text(text) for text in args.cells.split(",")]
        except ValueError as error:
            raise UsageError(
                f"--cells {args.cells}: give NAME:CONNECTIONS:MS,... or sqs, as in baseline:1:25,ion:32:25,smtp:32:25"
            ) from error
    if args.quick:
        return measurement.course(QUICK_ROUND_TRIPS_MS, QUICK_CONNECTIONS)
    return measurement.course(measurement.ROUND_TRIPS_MS, measurement.CONNECTIONS)


def _measure(course: track.Track, cell: Cell, mails: int) -> Measurement:
    print(f"{cell}, {mails:,} mails: ", end="", flush=True)
    one = course.run(cell, mails)
    print(f"{one.rate:.1f}/s", flush=True)
    return one


def _facts(emulator: Emulator, built: Artifact, place: Mapping[str, Any], *, began: float, load: float) -> page.Facts:
    """Deploy the whole stack, for the time that it takes, and start the function cold."""
    stack = deploy(
        emulator,
        built.path,
        environment={"ION_SMTP_SERVER": place["host"]},
        secret={"username": place["username"], "password": place["password"]},
        prefix="bench-",
    )
    ready = time.monotonic() - began
    try:
        answer = emulator.client("lambda").invoke(FunctionName=stack.names.function, LogType="Tail")
    finally:
        stack.destroy()
    log = base64.b64decode(answer.get("LogResult", "")).decode()
    init = re.search(r"Init Duration: ([\d.]+) ms", log)
    if "FunctionError" in answer or init is None:
        raise BenchError(f"the function did not start: {answer['Payload'].read().decode()}\n{log}")
    memory = psutil.virtual_memory().total / 2**30
    return page.Facts(
        date=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        machine=f"{os.cpu_count()} processors ({platform.machine()}), {memory:.0f} GB, {platform.system()},"
        f" Python {platform.python_version()}",
        load=load,
        ready_seconds=ready,
        init_seconds=float(init[1]) / 1000,
        artifact_mb=built.size / 1e6,
    )


def _save(findings: page.Findings, path: Path, *, before: str = "") -> None:
    """Write the page, and beside it the JSON and the picture."""
    path.write_text(before + page.markdown(findings))
    path.with_suffix(".json").write_text(json.dumps(page.document(findings), indent=2) + "\n")
    picture.draw(findings.table, path.with_suffix(".svg"))
