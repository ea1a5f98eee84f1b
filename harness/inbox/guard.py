"""What stands before every request: only this machine's own addresses, only our own pages, and headers that keep it so.

A page of some other site, open in the same browser, can send requests to loopback addresses too. It is kept out by the
Host header (it cannot make a browser send ours from a name of its own: DNS rebinding), by Origin and Sec-Fetch-Site
(which browsers set and pages cannot), and a POST that has neither must have a type that no form can send.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_OURS = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
PAGE_POLICY = (
    "default-src 'none'; script-src {origin}/static/; style-src {origin}/static/; img-src {origin} data:;"
    " connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-DNS-Prefetch-Control": "off",  # else a browser may look up the hosts of a mail's links
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Middleware around the whole application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with our headers on the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if refusal := _refusal(scope["method"], headers):
            await PlainTextResponse(refusal, status_code=403, headers=_HEADERS)(scope, receive, send)
            return
        policy = PAGE_POLICY.format(origin=f"http://{headers['host']}")

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in {**_HEADERS, "Content-Security-Policy": policy}.items():
                    answer.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, guarded)


def _refusal(method: str, headers: Headers) -> str:
    """Why a request is not answered; empty when it is."""
    host, origin, site = headers.get("host", ""), headers.get("origin"), headers.get("sec-fetch-site")
    if not _OURS.fullmatch(host):
        return "this answers only to localhost and 127.0.0.1"
    if site in {"cross-site", "same-site"} and not (method == "GET" and headers.get("sec-fetch-mode") == "navigate"):
        return "this answers only to its own pages and to programs"
    if method in _SAFE_METHODS:
        return ""
    if origin is not None and origin != f"http://{host}":
        return "this can be changed only from its own pages and by programs"
    known = origin is not None or site in {"same-origin", "none"}
    if method == "POST" and not known and not headers.get("content-type", "").startswith("application/json"):
        return "a program has to say Content-Type: application/json"
    return ""
