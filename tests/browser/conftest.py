"""One Chromium a session, a page a test."""

import contextlib
import http.server
import os
import shutil
import threading

import pytest

from harness.inbox.server import Inbox, serving
from tests.support.captured import Captured, Running

# Nothing but what a test does leaves the browser.
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
WAIT_MS = 60_000
QUIET_MS, LOOK_MS = 500, 50


def settle(page):
    """Wait until a page has asked for nothing for half a second.

    Not Playwright's `networkidle`: that comes once, with a page's loading, and not while the line for live news opens.
    """
    quiet, asked = 0, -1
    for _ in range(WAIT_MS // LOOK_MS):
        page.wait_for_timeout(LOOK_MS)
        quiet = quiet + LOOK_MS if len(page.requested) == asked else 0
        asked = len(page.requested)
        if quiet >= QUIET_MS:
            return
    raise AssertionError(f"still asking after {WAIT_MS} ms: {page.requested[-3:]}")


@pytest.fixture(scope="module")
def chromium():
    """The browser; a test that needs it is skipped where there is none.

    For a module and no longer: while Playwright stands, its event loop keeps every other from running in this process.
    """
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))
    path = os.environ.get("CHROMIUM") or next(filter(None, found), None)
    if path is None:
        pytest.skip("there is no Chromium here (Debian's package: chromium)")
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - a second, which other tests need not wait

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def captured(tmp_path):
    """A run without mail yet."""
    return Captured(tmp_path)


@pytest.fixture
def running(captured):
    """Stands for what runs."""
    return Running(captured)


@pytest.fixture
def address(captured, running):
    """The inbox's address."""
    with serving(Inbox(captured.run, live=running), port=0) as address:
        yield address


@pytest.fixture
def open_page(chromium, address):
    """Opens a page: `open_page("/", width=390)`; errors and the dialogs of scripts fail the test."""
    with contextlib.ExitStack() as stack:

        def start(path="/", *, width=1280, height=800, **options):
            context = chromium.new_context(viewport={"width": width, "height": height}, base_url=address, **options)
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(WAIT_MS)
            page.troubles = []
            page.on("pageerror", lambda error: page.troubles.append(str(error)))
            page.on("dialog", lambda dialog: (page.troubles.append(dialog.message), dialog.dismiss()))
            page.requested = []
            context.on("request", lambda request: page.requested.append(request.url))
            page.goto(path)
            return page

        yield start


@pytest.fixture
def elsewhere():
    """A server that stands for the rest of the world, and writes down what it is asked for."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "image/gif")
            self.end_headers()
            self.wfile.write(b"GIF89a\x01\x00\x01\x00\x00\x00\x00;")

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        server.address = f"http://127.0.0.1:{server.server_port}"
        server.asked = asked
        yield server
        server.shutdown()
        thread.join()
