"""Runs a scenario: builds the artifact, starts everything, publishes, waits until it is over, checks what happened."""

from __future__ import annotations

import itertools
import os
import platform
import threading
import time
from dataclasses import dataclass
from importlib.metadata import version
from random import Random
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

import ion
from harness import poison, publisher, results, rig, runs, workload
from harness.errors import LocalStackError
from harness.history import History
from harness.mischief import Mischief
from harness.nemesis import Nemesis, World
from harness.queues import Alarms, depth, left_behind
from harness.report import page
from harness.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.live import View
    from harness.localstack.process import Emulator
    from harness.runs import Run
    from harness.scenario import Scenario
    from harness.stack import Stack

POLL_SECONDS = 0.5
# An empty queue is believed once it has stayed empty for so long: what SNS has taken it hands over a moment later.
SETTLED_SECONDS = 1.5
# Mails that are nowhere to be found: the run is over all the same, and the checker will say that they are lost.
MISSING_SECONDS = 10.0
JOIN_SECONDS = 10.0
# What else a run's outcome may hang on.
VERSIONS = ("aiosmtplib", "aws-lambda-powertools", "localstack-core", "moto-ext", "aiosmtpd", "boto3")


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What the command line says about a run."""

    mails: int
    seed: int
    connections: int
    rate: float | None
    deploy: str = "boto3"
    seconds: float = 10.0


def run(
    name: str, scenario: Scenario, options: Options, view: View, *, emulator: Emulator | None = None
) -> tuple[Run, dict[str, Any]]:
    """Run it; returns where it is kept, and its results. Ctrl-C ends it early: everything stopped, all captured kept.

    Args:
        name: The scenario's name.
        scenario: What is to happen.
        options: What the command line says.
        view: Where to show the run.
        emulator: A LocalStack to use, as it is; without one, the run has its own.

    Raises:
        HarnessError: Something that it needs could not be built or started.
    """
    saved = runs.create(name)
    tally = Tally()
    with History(saved.history) as history, view.showing(tally):
        history.subscribe(tally.take)
        try:
            finished = _Experiment(saved, scenario, options, history, tally).run(emulator)
        except KeyboardInterrupt:
            finished = {"reason": "interrupted"}
        except (BotoCoreError, ClientError) as error:
            raise LocalStackError(f"LocalStack no longer answers: {error}\nIts log: {saved.localstack_log}") from error
        history.record("run.finished", **finished)
        history.record("phase", name="checking")
        found = results.check(saved)
    saved.write_results(found)
    page.write(saved, found)
    return saved, found


class _Experiment:
    """One run from its start to its end."""

    def __init__(self, saved: Run, scenario: Scenario, options: Options, history: History, tally: Tally) -> None:
        self._saved = saved
        self._scenario = scenario
        self._options = options
        self._history = history
        self._tally = tally
        self._settings = {**rig.SETTINGS, "smtp.max_connections": str(options.connections), **scenario.settings}

    def run(self, emulator: Emulator | None) -> dict[str, Any]:
        """All of it; returns how it ended."""
        with rig.standing(
            self._saved,
            self._history,
            self._settings,
            emulator=emulator,
            by=self._options.deploy,
            function_seconds=self._scenario.function_seconds,
            concurrency=self._scenario.concurrency,
        ) as standing:
            self._history.record(
                "run.started",
                scenario=self._saved.scenario,
                summary=self._scenario.summary,
                seed=self._options.seed,
                mails=self._options.mails,
                rate=self._options.rate,
                duration=self._options.seconds if callable(self._scenario.faults) else None,
                settings=self._settings,
                default_sender=standing.sink.username,
                artifact={"sha256": standing.artifact.sha256, "size": standing.artifact.size},
                deployed_by=self._options.deploy,
                endpoint=standing.stack.emulator.endpoint_url,
                machine={
                    "python": platform.python_version(),
                    "system": platform.platform(),
                    "processors": os.cpu_count(),
                },
                versions={"ion": ion.__version__} | {name: version(name) for name in VERSIONS},
            )
            finished = self._publish(standing)
            self._phase("collecting")
            for event, fields in left_behind(standing.stack):
                self._history.record(event, **fields)
        return finished

    def _phase(self, name: str) -> None:
        self._history.record("phase", name=name)

    def _publish(self, standing: rig.Rig) -> dict[str, Any]:
        """Publish everything while watching what becomes of it, and what goes wrong; returns how that ended."""
        deployed = standing.stack
        nemesis = self._nemesis(standing)
        publishing = publisher.Publisher(
            publisher.client(deployed.emulator.endpoint_url), deployed.topic_arn, self._history
        )
        failure: list[BaseException] = []
        mails = list(self._mails())

        def publish() -> None:
            try:
                publishing.publish(mails, rate=self._options.rate)
            except Exception as error:
                failure.append(error)

        thread = threading.Thread(target=publish, name="publishing", daemon=True)
        self._phase("publishing")
        nemesis.start()
        thread.start()
        try:
            return self._watch(thread, nemesis, deployed)
        finally:
            publishing.stop.set()
            thread.join(JOIN_SECONDS)
            nemesis.stop()
            if failure:
                raise failure[0]

    def _mails(self) -> Iterator[workload.Mail]:
        """The workload: the mails, some of them twice, and poison among them."""
        mails = workload.generate(
            self._options.mails,
            seed=self._options.seed,
            run=self._saved.name,
            largest_file=self._scenario.largest_file,
        )
        bad = poison.poison(self._scenario.poison, run=self._saved.name)
        every = max(1, self._options.mails // max(1, self._scenario.poison))
        dice = Random(f"{self._options.seed}/repeats")  # noqa: S311 - repeatable is what it must be
        for number, mail in enumerate(mails):
            yield mail
            if dice.random() < self._scenario.repeats and '"id": ' in mail.body:
                yield mail
            if number % every == every - 1:
                yield from itertools.islice(bad, 1)
        yield from bad

    def _nemesis(self, standing: rig.Rig) -> Nemesis:
        mischief = Mischief(seed=self._options.seed)
        standing.sink.faults = mischief
        world = World(
            rig=standing,
            mischief=mischief,
            tally=self._tally,
            history=self._history,
            random=Random(f"{self._options.seed}/nemesis"),  # noqa: S311 - repeatable is what it must be
        )
        return Nemesis(self._scenario.schedule(self._options.seed, self._options.seconds), world)

    def _watch(self, publishing: threading.Thread, nemesis: Nemesis, deployed: Stack) -> dict[str, Any]:
        """Wait until all is over: delivered or dead-lettered, or no hope left."""
        began = moved = time.monotonic()
        quiet: float | None = None
        progress = self._tally.progress
        alarms = Alarms(deployed)
        while True:
            time.sleep(POLL_SECONDS)
            self._history.record("depth", **depth(deployed))
            for change in alarms.changes():
                self._history.record("alarm", **change)
            now = time.monotonic()
            if not publishing.is_alive() and self._tally.phase == "publishing":
                nemesis.published()
                self._phase("delivering")
            busy = publishing.is_alive() or not nemesis.over
            began = now if publishing.is_alive() else began
            if publishing.is_alive() or nemesis.waits_for_time or self._tally.progress != progress:
                progress, moved = self._tally.progress, now
            if busy or self._tally.depth.waiting:
                quiet = None
            elif quiet is None:
                quiet = now
            complete = self._tally.outstanding <= self._tally.depth.dead
            if quiet is not None and now - quiet >= (SETTLED_SECONDS if complete else MISSING_SECONDS):
                return {"reason": "drained"}
            if now - moved > self._scenario.stall_seconds:
                stalled = self._scenario.stall_seconds
                return {"reason": "stalled", "stalled_seconds": stalled, "unfinished": nemesis.unfinished}
            if now - began > self._scenario.timeout_seconds:
                timeout = self._scenario.timeout_seconds
                return {"reason": "timeout", "timeout_seconds": timeout, "unfinished": nemesis.unfinished}
