import time

import pytest
import requests

from harness import rig, runs
from harness.history import History
from harness.inbox.chaos import Chaos
from harness.inbox.live import Live
from harness.inbox.server import Inbox, serving
from harness.whereabouts import Whereabouts

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
WAIT_SECONDS = 120


@pytest.fixture
def api(emulator, tmp_path):
    """The API of an inbox beside the real thing: `api(method, path, body)` gives the answer."""
    saved = runs.create("up", root=tmp_path)
    saved.function_log.symlink_to(emulator.function_log)
    with (
        History(saved.history) as history,
        rig.standing(saved, history, rig.SETTINGS, emulator=emulator) as made,
        serving(Inbox(saved, live=Live(Whereabouts.of(made.stack, saved)), chaos=Chaos(made.sink)), port=0) as address,
    ):

        def call(method, path, body=None):
            # A connection for each: one that is kept may be given up by the server just when it is used again.
            with requests.Session() as session:
                session.trust_env = False  # no proxy
                answer = session.request(method, f"{address}/api/v1{path}", json=body, timeout=WAIT_SECONDS)
            assert answer.status_code == 200, answer.text
            return answer.json() if answer.headers["Content-Type"] == "application/json" else answer.text

        yield call


def until(wanted):
    """Waits for a call to give something true, and gives that."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (found := wanted()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


def test_a_mail_is_sent_refused_redriven_and_delivered(api):
    """Through the API alone: sent to a server that refuses it, found among the dead letters, redriven, and there."""
    api("PUT", "/chaos", {"Recipient": {"ErrorCode": 550, "Probability": 100}})
    mail = {"From": {"Email": "shop@example.com"}, "To": [{"Email": "ann@example.com"}], "Subject": "Hi", "Text": "Ho"}
    sent = api("POST", "/send", mail)["ID"]
    [letter] = until(lambda: api("GET", "/dead-letters"))
    assert (letter["IonID"], letter["Reason"]) == (sent, "rejected")
    assert letter["Detail"].startswith("550")
    api("PUT", "/chaos", {})
    api("POST", "/dead-letters/redrive", {"IDs": [sent]})
    until(lambda: api("GET", "/messages")["total"])
    message = api("GET", f"/message/{sent}")
    assert (message["Subject"], message["Text"]) == ("Hi", "Ho\n")
    story = until(
        lambda: (told := api("GET", f"/message/{sent}/story"))["Ledger"].get("status") == "delivered" and told
    )
    assert story["IonID"] == sent
    until(lambda: api("GET", "/dead-letters") == [])  # the letter is deleted once its mail is in the queue again
    assert api("GET", "/info")["RuntimeStats"]["SMTPRejected"] == 1
