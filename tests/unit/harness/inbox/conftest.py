import pytest
import requests

from harness.inbox.server import Inbox, serving
from harness.inbox.store import Store
from tests.support.captured import Captured


@pytest.fixture
def captured(tmp_path):
    """A run without mail yet."""
    return Captured(tmp_path)


@pytest.fixture
def store(captured):
    """The run's store."""
    with Store(captured.run) as store:
        yield store


class Client:
    """A program that talks to an inbox."""

    def __init__(self, address):
        self.address = address
        self.session = requests.Session()
        self.session.trust_env = False  # no proxy leads to this machine

    def __call__(self, method, path, **arguments):
        return self.session.request(method, self.address + path, timeout=60, allow_redirects=False, **arguments)

    def get(self, path, **query):
        return self("GET", path, params=query)

    def json(self, path, **query):
        answer = self.get(f"/api/v1{path}", **query)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def serve(captured):
    """Serves the run: `serve(live=..., chaos=...)` gives a client."""
    opened = []

    def start(**parts):
        serving_it = serving(Inbox(captured.run, **parts), port=0)
        opened.append(serving_it)
        client = Client(serving_it.__enter__())
        opened.append(client.session)
        return client

    yield start
    for each in opened:
        if isinstance(each, requests.Session):
            each.close()
    for each in opened:
        if not isinstance(each, requests.Session):
            each.__exit__(None, None, None)
