"""What happens to every request, before and after the routes. Plain ASGI, so that streams stay streams.

A request gets an id, may not be larger than any real one, may not change anything on behalf of a foreign
web page, waits its turn where many come at once, and is answered in any case; what it came to goes to the log
in one line.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...wire.errors import Overloaded, PermissionDenied, RequestTooLarge, ServerError
from ...wire.names import REQUEST_ID_HEADER
from ..about import about, concerning
from ..logs import FIELDS
from .errors import answer
from .pressure import Callers, Pressure

log = logging.getLogger("dask_sluice.http")

LARGEST_BODY = 1_000_000
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
AT_ONCE = 32
"""Requests at work at a time. One is at work for a few ms, most of them on one processor: more only share it out."""
LONGEST_LINE_S = 1.0
LONGEST_LINE_OF_OLD_CLIENTS_S = 30.0
"""They know no "come again later": being told so would be the end of what their user was at."""
_UNCOUNTED = ("/static/", "/api/health", "/metrics", "/api/v2/routes", "/api/v2/access/")
"""What probes and our proxies ask has to be answered when most is asked."""
_WAITING = re.compile(r"(/wait|/events)$")
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


Answered = Callable[[str, str, int, float], None]
"""Told of every answer: method, route, status, seconds until it began."""


class Edge:
    """The outermost layer of the app."""

    def __init__(self, app: ASGIApp, *, answered: Answered, public_url: str | None = None) -> None:
        self.app = app
        self._answered = answered
        self._public_host = urlsplit(public_url).netloc.lower() if public_url else ""
        self._pressure = Pressure(AT_ONCE)
        self._callers = Callers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        with about(request=exchange.id):
            await self._answer(exchange)

    async def _answer(self, exchange: _Exchange) -> None:
        try:
            await self._serve(exchange)
        except Exception as error:  # the outer edge: whoever called must get an answer
            log.exception("request %s: %s %s failed", exchange.id, exchange.method, exchange.scope["path"])
            if exchange.status:
                raise  # half an answer is out: only breaking the connection says that the rest is missing
            await exchange.refuse(ServerError(f"something broke on the server ({type(error).__name__})"))
        finally:
            exchange.log()
            self._answered(exchange.method, exchange.route, exchange.status, exchange.took_s)

    async def _serve(self, exchange: _Exchange) -> None:
        headers = Headers(scope=exchange.scope)
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > LARGEST_BODY:
            await exchange.refuse(RequestTooLarge(_too_large()))
        elif exchange.method not in _SAFE_METHODS and self._is_foreign(headers):
            await exchange.refuse(
                PermissionDenied("this request was sent by another web site", hint="Use the server's own page.")
            )
        elif exchange.scope["path"].startswith(_UNCOUNTED):
            await self.app(exchange.scope, exchange.receive, exchange.send)
        else:
            await self._serve_in_turn(exchange, headers)

    async def _serve_in_turn(self, exchange: _Exchange, headers: Headers) -> None:
        """Where a place is free, or soon will be. What then waits for something to happen keeps no place."""
        credentials = headers.get("authorization") or headers.get("cookie", "")
        caller = self._callers.of(credentials, (exchange.scope.get("client") or ("",))[0])
        try:
            await self._pressure.enter(caller, exchange.patience_s)
        except Overloaded as error:
            await exchange.refuse(error)
            return
        held = not exchange.waits
        if exchange.waits:
            self._pressure.leave(caller)
        try:
            await self.app(exchange.scope, exchange.receive, exchange.send)
        finally:
            if held:
                self._pressure.leave(caller)
            if user := exchange.scope["state"].get("user"):
                self._callers.learn(credentials, user)

    def _is_foreign(self, headers: Headers) -> bool:
        """Whether a browser sent this for a page that is not ours. Programs send no Origin."""
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return True
        origin = headers.get("origin")
        if origin is None:
            return False
        ours = {headers.get("host"), headers.get("x-forwarded-host"), self._public_host} - {None, ""}
        return urlsplit(origin).netloc.lower() not in {str(host).lower() for host in ours}


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        self.id = given if _SANE_ID.fullmatch(given) else secrets.token_hex(8)
        self.method = scope["method"]
        # Routes answer GET; the server below us leaves the body of an answer to HEAD away.
        method = "GET" if self.method == "HEAD" else self.method
        self.scope = {**scope, "method": method, "state": {**scope.get("state", {}), "request_id": self.id}}
        self.status = 0
        self._receive = receive
        self._send = send
        self._received = 0
        self._began = time.perf_counter()
        self.took_s = 0.0

    @property
    def route(self) -> str:
        """The path with names taken out, so that clusters do not multiply what is counted."""
        path = str(self.scope["path"])
        if path.startswith("/static/"):
            return "/static"
        if "endpoint" not in self.scope:
            return "none"
        names = {str(value): f"{{{name}}}" for name, value in self.scope.get("path_params", {}).items()}
        return "/".join(names.get(part, part) for part in path.split("/"))

    @property
    def waits(self) -> bool:
        """Whether it is answered once something has happened, however long that takes."""
        query = self.scope.get("query_string", b"")
        return bool(_WAITING.search(self.scope["path"])) or b"wait" in query or b"follow" in query

    @property
    def patience_s(self) -> float:
        """How long it may stand in line."""
        return LONGEST_LINE_OF_OLD_CLIENTS_S if self.scope["path"].startswith("/api/v1/") else LONGEST_LINE_S

    async def receive(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > LARGEST_BODY:
            raise HTTPException(413, _too_large())
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.took_s = time.perf_counter() - self._began
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID_HEADER] = self.id
            for name, value in SECURITY_HEADERS.items():
                headers.setdefault(name, value)
            if not self.scope["path"].startswith("/static/"):
                headers.setdefault("Cache-Control", "no-store")
        await self._send(message)

    async def refuse(self, error: Exception) -> None:
        """Answer with this error without asking the routes."""
        response = answer(Request(self.scope), error)  # type: ignore[arg-type]
        await response(self.scope, self.receive, self.send)

    def log(self) -> None:
        took = (time.perf_counter() - self._began) * 1000
        level = logging.INFO if self.method not in _SAFE_METHODS or self.status >= 400 else logging.DEBUG
        path = _on_one_line(self.scope["path"])
        user = self.scope["state"].get("user", "")
        if cluster := self.scope.get("path_params", {}).get("name"):
            concerning(_on_one_line(str(cluster)))
        fields = {"method": self.method, "path": path, "status": self.status, "ms": round(took, 1), "user": user}
        told = (self.method, path, self.status or "-", took, self.id, f", user {user}" if user else "")
        log.log(level, "%s %s -> %s in %.1f ms, request %s%s", *told, extra={FIELDS: fields})


def _on_one_line(text: str) -> str:
    return text.encode("unicode_escape").decode()


def _too_large() -> str:
    return f"the body is larger than {LARGEST_BODY:,} bytes, which no real request is"
