"""Which cluster's scheduler is where: the proxy's table, and the stream that keeps it up to date."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypedDict

from ..wire.states import ClusterState
from .model import ClusterRecord, Event
from .store import Store

KEEP_ALIVE_S = 10.0


class Route(TypedDict):
    """One line of the table. `scheduler_port` None: there is such a cluster, but no scheduler yet."""

    name: str
    host: str
    scheduler_port: int | None
    dashboard_port: int | None
    state: str


def route_of(record: ClusterRecord) -> Route | None:
    """The route to a cluster; None once it is ending."""
    if not record.state.is_active:
        return None
    running = record.state is ClusterState.RUNNING
    scheduler = record.scheduler
    return Route(
        name=record.name,
        host=scheduler.host,
        scheduler_port=scheduler.port if running else None,
        dashboard_port=scheduler.dashboard_port if running else None,
        state=str(record.state),
    )


class Routes:
    """The table of routes. Follows the store; told before anyone who waits for a cluster is woken."""

    def __init__(self, store: Store, ticket_key: bytes) -> None:
        self.ticket_key = ticket_key
        self._store = store
        self._routes: dict[str, Route] = {}
        self.followed = asyncio.Event()
        """Set once a proxy follows the table."""
        self._streams: set[asyncio.Queue[dict[str, Any]]] = set()
        store.on_change(self._changed)

    @property
    def followers(self) -> int:
        """How many proxies follow the table."""
        return len(self._streams)

    async def load(self) -> None:
        """Read the routes of clusters that were there before this server."""
        active = [state for state in ClusterState if state.is_active]
        for record in await self._store.clusters(states=active):
            self._changed(record, ())

    def get(self, name: str) -> Route | None:
        """The route to this cluster."""
        return self._routes.get(name)

    async def stream(self) -> AsyncIterator[dict[str, Any]]:
        """A snapshot, then every change as it comes, and `{}` while nothing changes."""
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._streams.add(queue)
        try:
            yield {"snapshot": list(self._routes.values()), "ticket_key": self.ticket_key.hex()}
            self.followed.set()
            while True:
                try:
                    async with asyncio.timeout(KEEP_ALIVE_S):
                        change = await queue.get()
                except TimeoutError:
                    change = {}
                yield change
        finally:
            self._streams.discard(queue)

    def _changed(self, record: ClusterRecord, _happened: tuple[Event, ...]) -> None:
        route = route_of(record)
        if route == self._routes.get(record.name):
            return
        if route is None:
            del self._routes[record.name]
        else:
            self._routes[record.name] = route
        change: dict[str, Any] = {"delete": record.name} if route is None else {"put": route}
        for queue in self._streams:
            queue.put_nowait(change)
