"""The scheduler's one connection to the server: dialled from here, and dialled again for ever.

It knows how to connect and how long to wait; what is said over it is the scheduler agent's business.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any, Optional

from tornado.httpclient import HTTPError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, websocket_connect

from ..wire.launch import SchedulerLaunch

log = logging.getLogger("sluice.agent")

Message = Mapping[str, Any]

CONNECT_TIMEOUT_S = 10.0
PING_EVERY_S = 20.0
"""A link that is silently dead is noticed after about two of these."""
_FIRST_PAUSE_S = 0.1
_EARLY_S = 30.0
_LONGEST_EARLY_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 10.0


def pause_s(attempt: int, away_s: float, chance: float) -> float:
    """How long to wait before dialling again.

    attempt   failures since the link last stood, from 0
    away_s    seconds since it last stood: for the first 30 a server is probably just restarting
    chance    0 to 1: spreads a thousand schedulers that lost the same server
    """
    longest = _LONGEST_EARLY_PAUSE_S if away_s < _EARLY_S else _LONGEST_PAUSE_S
    return float(min(_FIRST_PAUSE_S * 2.0 ** min(attempt, 20), longest) * (0.5 + chance / 2))


class Link:
    """Keeps one WebSocket to the server for as long as it runs."""

    def __init__(
        self, launch: SchedulerLaunch, on_open: Callable[[], None], on_message: Callable[[Message], None]
    ) -> None:
        self._launch = launch
        self._on_open = on_open
        self._on_message = on_message
        self._socket: Optional[WebSocketClientConnection] = None

    async def run(self) -> None:
        """Never returns; ends when cancelled."""
        attempt, away_since = 0, time.monotonic()
        try:
            while True:
                if await self._serve_one():
                    attempt, away_since = 0, time.monotonic()
                away_s = time.monotonic() - away_since
                await asyncio.sleep(pause_s(attempt, away_s, random.random()))
                attempt += 1
        finally:
            self.close()

    def send(self, message: Message) -> bool:
        """Whether the message is on its way. Without a link it is not: what matters is said anew on the next."""
        if self._socket is None:
            return False
        try:
            self._socket.write_message(json.dumps(message))
        except WebSocketClosedError:
            return False
        return True

    def close(self) -> None:
        """Hang up, if connected."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    async def _serve_one(self) -> bool:
        """One connection from dialling to its end. Whether the server took part: it said at least one thing."""
        try:
            socket = await websocket_connect(self._request(), ping_interval=PING_EVERY_S)
        except (OSError, HTTPError, ssl.SSLError, asyncio.TimeoutError) as error:
            log.info("the server cannot be reached at %s: %s", self._launch["link_url"], error)
            return False
        self._socket = socket
        heard = False
        try:
            self._on_open()
            while (text := await socket.read_message()) is not None:
                heard = True
                self._take(text)
        finally:
            self.close()
        log.info("the link to the server ended (%s %s)", socket.close_code, socket.close_reason or "")
        return heard

    def _take(self, text: Any) -> None:
        try:
            message = json.loads(text)
        except ValueError:
            message = None
        if isinstance(message, dict):
            self._on_message(message)
        else:
            log.warning("the server said something that is no JSON object: %.100r", text)

    def _request(self) -> HTTPRequest:
        url, ca = self._launch["link_url"], self._launch["link_ca"]
        context = ssl.create_default_context(cadata=ca) if url.startswith("wss:") else None
        return HTTPRequest(
            url,
            headers={"Authorization": f"Bearer {self._launch['link_token']}"},
            connect_timeout=CONNECT_TIMEOUT_S,
            request_timeout=CONNECT_TIMEOUT_S,
            ssl_options=context,
        )
