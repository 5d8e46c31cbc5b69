"""The WebSocket that a scheduler's agent opens to us. What is said over it is `Links`' matter.

It is outermost, before routes and middleware: thousands of links stand open for weeks, and each of them would
keep all that a request passes through. Nothing of the request itself is kept either.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ...wire.errors import SluiceError
from ...wire.names import LINK_PATH, PROBLEM_TYPE
from ..identity.shown import from_header
from ..links import Links
from .pressure import Crush

_PATH = re.compile(LINK_PATH.replace("{name}", "([^/]+)"))
_LINE = 500
"""Agents that wait to be admitted: as many as are let in within a few seconds, before they would hang up."""


class LinkDoor:
    """Lets agents in; everything else goes on to the app."""

    def __init__(self, app: ASGIApp, links: Links) -> None:
        self._app = app
        self._links = links
        self._crush = Crush(_LINE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = _PATH.fullmatch(scope["path"]) if scope["type"] == "websocket" else None
        if found is None:
            await self._app(scope, receive, send)
        elif await self._admit(scope, found[1], receive, send):
            scope["headers"].clear()  # our web server would keep them for as long as the link stands
            await self._links.serve(_JsonSocket(receive, send), found[1])

    async def _admit(self, scope: Scope, name: str, receive: Receive, send: Send) -> bool:
        """Whether the agent is in; only its cluster's link token opens the door."""
        shown = from_header(Headers(scope=scope).get("authorization", ""))
        await receive()  # that it wants to connect
        try:
            with self._crush.entered():
                await self._links.admit(name, shown.secret if shown else "")
                await send({"type": "websocket.accept"})
        except SluiceError as error:
            await _refuse(send, error)
            return False
        return True


class _JsonSocket:
    """A WebSocket of JSON objects; a cut line is silence, not an exception."""

    __slots__ = ("_open", "_receive", "_send")

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._open = True

    async def send(self, message: Mapping[str, Any]) -> None:
        if self._open:
            with suppress(OSError, RuntimeError):  # RuntimeError: our web server has closed it
                await self._send({"type": "websocket.send", "text": json.dumps(message)})

    async def receive(self) -> Mapping[str, Any] | None:
        if not self._open:
            return None
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._open = False
            return None
        try:
            value = json.loads(message.get("text") or message.get("bytes") or "")
        except ValueError:
            value = None
        # What no agent sends reaches `Links` as an op that it does not know, and is counted there.
        return value if isinstance(value, dict) else {"op": None}

    async def close(self) -> None:
        if self._open:
            self._open = False
            with suppress(OSError, RuntimeError):
                await self._send({"type": "websocket.close", "code": 1000, "reason": ""})


async def _refuse(send: Send, error: SluiceError) -> None:
    headers = [(b"content-type", PROBLEM_TYPE.encode())]
    if error.retry_after_s is not None:
        headers.append((b"retry-after", str(round(error.retry_after_s)).encode()))
    await send({"type": "websocket.http.response.start", "status": error.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": json.dumps(error.to_problem()).encode()})
