"""Which clusters there are and where their schedulers listen, as the server tells.

The server streams a snapshot and then changes. When the stream breaks, the last routes stay in force:
connections to running clusters do not need the server.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from .upstream import ServerConnections, UpstreamGone

log = logging.getLogger(__name__)

_SILENCE_S = 30.0
"""The server says something each 10 s; after this long without a word the stream counts as broken."""
_FIRST_DELAY_S, _LAST_DELAY_S = 0.1, 5.0
_MAX_LINE = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Route:
    """One cluster. `scheduler_port` is None while its scheduler does not listen yet."""

    name: str
    host: str
    scheduler_port: int | None
    dashboard_port: int | None
    state: str = ""

    @property
    def host_is_address(self) -> bool:
        """Whether the host needs no look-up."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True


def read_route(document: dict[str, Any]) -> Route:
    """A route as the server sends it. Raises KeyError where the name is missing."""
    return Route(
        name=document["name"],
        host=document.get("host") or "",
        scheduler_port=document.get("scheduler_port"),
        dashboard_port=document.get("dashboard_port"),
        state=document.get("state") or "",
    )


class RouteTable:
    """The routes in force, and the key with which the server signs tickets."""

    def __init__(self) -> None:
        self._routes: dict[str, Route] = {}
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self.ticket_key = b""
        self.known = False
        """Whether any server has told its routes yet."""

    def get(self, name: str) -> Route | None:
        return self._routes.get(name)

    def __len__(self) -> int:
        return len(self._routes)

    def apply(self, message: dict[str, Any]) -> None:
        """One message of the stream: a snapshot replaces everything, others change one route."""
        if "snapshot" in message:
            self._routes = {route["name"]: read_route(route) for route in message["snapshot"]}
            self.ticket_key = bytes.fromhex(message.get("ticket_key", ""))
            self.known = True
            changed = list(self._routes)
        elif "put" in message:
            route = read_route(message["put"])
            self._routes[route.name] = route
            changed = [route.name]
        else:
            self._routes.pop(message.get("delete", ""), None)
            changed = []
        for name in changed:
            for waiter in self._waiting.pop(name, ()):
                if not waiter.done():
                    waiter.set_result(None)

    async def wait_for(self, name: str, timeout_s: float) -> Route | None:
        """The route once its scheduler listens, or what is known of it after the time: it may have just come up."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        try:
            async with asyncio.timeout_at(deadline):
                while (route := self.get(name)) is None or route.scheduler_port is None:
                    await self._change_of(name)
        except TimeoutError:
            pass
        return self.get(name)

    async def _change_of(self, name: str) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, []).append(waiter)
        try:
            await waiter
        finally:
            waiters = self._waiting.get(name, [])
            if waiter in waiters:
                waiters.remove(waiter)
                if not waiters:
                    del self._waiting[name]


async def follow_routes(table: RouteTable, server: ServerConnections) -> None:
    """Keep the table as the server tells, for ever."""
    delay = _FIRST_DELAY_S
    while True:
        try:
            async for message in _messages(server):
                table.apply(message)
                delay = _FIRST_DELAY_S
            log.info("the server ended the stream of routes; going on with %d", len(table))
        except (UpstreamGone, TimeoutError) as error:
            log.info("no routes from the server (%s); going on with %d", error or "silence", len(table))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("the server sent routes that cannot be read: %r", error)
        await asyncio.sleep(delay * random.uniform(0.7, 1.3))
        delay = min(delay * 2, _LAST_DELAY_S)


async def _messages(server: ServerConnections) -> AsyncIterator[dict[str, Any]]:
    """The messages of one stream as they come: each is a line of JSON."""
    rest = b""
    async with aclosing(server.stream("/api/v2/routes")) as pieces:
        while True:
            async with asyncio.timeout(_SILENCE_S):
                piece = await anext(pieces, None)
            if piece is None:
                return
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > _MAX_LINE:
                raise ValueError("a line without an end")
            for line in lines:
                if line.strip():
                    yield json.loads(line)
