from datetime import UTC, datetime

import pytest

from harness.poison import _BODIES, poison
from ion.errors import RequestError
from ion.request import parse

ALL = list(poison(len(_BODIES), run="r"))


@pytest.mark.parametrize("mail", ALL, ids=lambda mail: mail.workload)
def test_every_poison_is_refused_by_ion_or_expired(mail):
    """No body may be sent: what is malformed is refused, and what is well-formed has expired."""
    try:
        expires_at = parse(mail.body).expires_at
    except RequestError:
        return
    assert expires_at < datetime.now(UTC).timestamp()


def test_no_two_bodies_are_alike():
    """The checker knows them by their bodies, also where they come round again."""
    twice = list(poison(2 * len(_BODIES), run="r"))
    assert len({mail.body for mail in twice}) == len({mail.workload for mail in twice}) == len(twice)
