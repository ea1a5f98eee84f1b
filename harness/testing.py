"""What the pytest plugin hands to tests: ion running on this machine, the mail that it delivers, and faults.

Without pytest, too: `with running(directory) as stack: stack.publish(...)`.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness import rig, runs
from harness.errors import LocalStackError
from harness.faults import Stage
from harness.history import History
from harness.inbox import render, search
from harness.inbox.chaos import Chaos
from harness.inbox.live import Live
from harness.inbox.store import Store
from harness.localstack.process import ACCESS_KEY, REGION, SECRET_KEY
from harness.whereabouts import Whereabouts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from harness.inbox.live import Letter
    from harness.inbox.store import Summary

POLL_SECONDS = 0.1
TIMEOUT_SECONDS = 60.0
LISTED = 10  # mails that a message about a missing one names


@dataclass(frozen=True, kw_only=True, slots=True)
class Mail:
    """A mail that arrived.

    Attributes:
        subject: Its subject.
        sender: The envelope sender.
        recipients: The envelope recipients, bcc included.
        text: The plain body, line ends as newlines; empty if there is none.
        html: The HTML body; empty if there is none.
        headers: The first value of each header, decoded, by its name in lower case.
        files: Content of attachments and inline images by file name.
        raw: Its bytes.
    """

    subject: str
    sender: str
    recipients: list[str]
    text: str = field(repr=False)
    html: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    files: Mapping[str, bytes] = field(repr=False)
    raw: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class IonStack:
    """ion, running: the real function in LocalStack, and an SMTP server that keeps what it is sent.

    Attributes:
        topic_arn: The topic to publish to.
        endpoint_url: LocalStack's.
        environment: The variables by which boto3 and other AWS clients find it.
        run: The run's directory: mail, history and logs.
        inbox: The mail that has arrived.
        faults: The SMTP server's faults.
    """

    topic_arn: str
    endpoint_url: str
    environment: Mapping[str, str]
    run: runs.Run
    inbox: IonInbox
    faults: IonFaults
    sns: Any = field(repr=False)
    _live: Live = field(repr=False)

    def publish(self, document: Mapping[str, Any]) -> str:
        """Publish a document of the contract (docs/contract.md); returns SNS's MessageId."""
        return self._live.publish({"action": "send", **document})

    def dead_letters(self) -> list[Letter]:
        """What ion has given up, with the reasons."""
        return self._live.letters()

    def redrive(self) -> None:
        """Ask ion to try its dead letters once more."""
        self._live.redrive()


class IonInbox:
    """The mail that has arrived."""

    def __init__(self, store: Store, live: Live) -> None:
        self._store = store
        self._live = live

    def clear(self) -> None:
        """Forget what has arrived so far."""
        self._store.refresh()
        self._store.mark(self._store.all(), trashed=True)

    def mails(self, query: str = "") -> list[Mail]:
        """What has arrived and fits a search in Mailpit's syntax, the newest first."""
        self._store.refresh()
        return [self._read(mail) for mail in self._store.all(search.parse(query))]

    def wait_for(self, *, to: str = "", subject: str = "", query: str = "", timeout: float = TIMEOUT_SECONDS) -> Mail:
        """The first mail that fits, waited for.

        Args:
            to: An envelope recipient.
            subject: The whole subject.
            query: A search in Mailpit's syntax.
            timeout: Seconds to wait.

        Raises:
            AssertionError: None came in time; the message says what did come.
        """
        condition = search.parse(query)
        deadline = time.monotonic() + timeout
        while True:
            self._store.refresh()
            for mail in reversed(self._store.all(condition)):
                if (not to or to in mail.recipients) and (not subject or subject == mail.subject):
                    return self._read(mail)
            if time.monotonic() > deadline:
                raise AssertionError(self._missing(to=to, subject=subject, query=query, timeout=timeout))
            time.sleep(POLL_SECONDS)

    def _missing(self, *, timeout: float, **wanted: str) -> str:
        asked = ", ".join(f"{name}={value!r}" for name, value in wanted.items() if value) or "any"
        lines = [f"no mail ({asked}) within {timeout:g} s"]
        mails = self._store.all()
        lines += [f"  arrived: {mail.subject!r} to {', '.join(mail.recipients)}" for mail in mails[:LISTED]]
        with contextlib.suppress(LocalStackError):
            lines += [f"  dead letter: {letter.reason}: {letter.detail}" for letter in self._live.letters()[:LISTED]]
        return "\n".join([*lines, f"  all of it: {self._store.run.directory}"])

    def _read(self, mail: Summary) -> Mail:
        taken_apart = self._store.read(mail)
        return Mail(
            subject=mail.subject,
            sender=mail.sender,
            recipients=mail.recipients,
            text=taken_apart.body(taken_apart.text),
            html=taken_apart.body(taken_apart.html),
            headers={name.lower(): taken_apart.header(name) for name, _ in taken_apart.headers},
            files={render.filename(part): taken_apart.content(part) for part in taken_apart.files},
            raw=taken_apart.raw,
        )


class IonFaults:
    """The SMTP server's faults: at a stage of the session, for the first so many visits, or for a share of them.

    The stages are greeting, ehlo, starttls, auth, mail, rcpt, data, dot (the whole mail has come) and kept (it is kept,
    and the reply not sent).
    """

    def __init__(self, chaos: Chaos) -> None:
        self._chaos = chaos
        self._stages: dict[str, dict[str, Any]] = {}

    def reply(self, stage: str, code: int, *, times: int = 0, percent: int = 100) -> None:
        """Answer with such a reply code, 400 to 599; `times` 0 is without end."""
        self._put(stage, {"ErrorCode": code, "Times": times, "Probability": percent})

    def drop(self, stage: str, *, times: int = 0, percent: int = 100) -> None:
        """Cut the connection there; at `kept`, ion cannot know whether the mail was taken."""
        self._put(stage, {"Drop": True, "Times": times, "Probability": percent})

    def delay(self, stage: str, seconds: float, *, times: int = 0, percent: int = 100) -> None:
        """Take so long there."""
        self._put(stage, {"DelaySeconds": seconds, "Times": times, "Probability": percent})

    def fired(self, stage: str) -> int:
        """How often the stage's fault has struck since the faults were last changed."""
        return self._chaos.fired[Stage(stage)]

    def refuse_connections(self) -> None:
        """Be down."""
        self._chaos.set({"Stages": self._stages, "Closed": True})

    def clear(self) -> None:
        """Work again."""
        self._stages = {}
        self._chaos.set({})

    def _put(self, stage: str, trigger: dict[str, Any]) -> None:
        self._stages = {**self._stages, stage: trigger}
        self._chaos.set({"Stages": self._stages, "Closed": self._chaos.get()["Closed"]})


@contextlib.contextmanager
def running(directory: Path, settings: Mapping[str, str] | None = None) -> Iterator[IonStack]:
    """Everything, started, and stopped at the end; its mail and logs stay in the directory.

    Args:
        directory: Where the run is kept.
        settings: ion's settings by `section.key`, beside those that make retries quick.

    Raises:
        HarnessError: Something could not be built or started.
    """
    saved = runs.create("pytest", root=directory)
    with History(saved.history) as history, rig.standing(saved, history, {**rig.SETTINGS, **(settings or {})}) as made:
        stack = made.stack
        live = Live(Whereabouts.of(stack, saved))
        with Store(saved) as store:
            yield IonStack(
                topic_arn=stack.topic_arn,
                endpoint_url=stack.emulator.endpoint_url,
                environment={
                    "AWS_ENDPOINT_URL": stack.emulator.endpoint_url,
                    "AWS_ACCESS_KEY_ID": ACCESS_KEY,
                    "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
                    "AWS_DEFAULT_REGION": REGION,
                },
                run=saved,
                inbox=IonInbox(store, live),
                faults=IonFaults(Chaos(made.sink)),
                sns=stack.emulator.client("sns"),
                _live=live,
            )
