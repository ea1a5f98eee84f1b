"""The pytest plugin: fixtures for projects that publish mail, to test their code against the real ion.

It is loaded wherever the harness is installed, so it imports nothing of the harness until a fixture is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.testing import IonFaults, IonInbox, IonStack


@pytest.fixture(scope="session")
def ion_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IonStack]:
    """ion, running on this machine for the whole session: `topic_arn`, `sns`, `environment`, `publish(...)`."""
    try:
        from harness.testing import running  # noqa: PLC0415 - see above
    except ModuleNotFoundError as error:
        pytest.fail(
            f"the fixtures of ion need more than ion itself, pip install 'ion[harness]': {error}", pytrace=False
        )
    with running(tmp_path_factory.mktemp("ion")) as stack:
        yield stack


@pytest.fixture
def ion_inbox(ion_stack: IonStack) -> IonInbox:
    """The mail that arrives in this test: `wait_for(to=..., subject=..., timeout=...)`, `mails(query)`."""
    ion_stack.inbox.clear()
    return ion_stack.inbox


@pytest.fixture
def ion_faults(ion_stack: IonStack) -> Iterator[IonFaults]:
    """The SMTP server's faults for this test: `reply("rcpt", 451)`, `drop("kept")`, `refuse_connections()`."""
    yield ion_stack.faults
    ion_stack.faults.clear()
