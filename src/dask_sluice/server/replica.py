"""Running the loop, alone or as one of several servers that share a PostgreSQL.

Every two seconds it renews its lease, looks whether another server has let its own run out, and takes over
clusters that nobody works on. Between that it listens: what another server changes is told to the store's listeners
here as well, so that loop, links, routes and waiters need not know who wrote it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing

from ..wire.errors import BackendUnavailable
from .clock import Clock
from .loop import Loop
from .store import Store

log = logging.getLogger(__name__)

LEASE_S = 6.0
"""With the time until the next look of another server, 8 s from a death to the takeover."""
RENEWALS = 3
"""How often a lease is renewed in its time: two in a row may fail before the others take over."""
TAKE_AT_ONCE = 100
"""Few enough that the survivors of a server share what it leaves."""
RETRY_S = 1.0
MISSED_S = 60.0
"""A broken connection may be noticed so much later, and the servers' clocks may differ."""


class Replica:
    """Keeps our lease, takes what is left alone, and passes on what others change."""

    def __init__(
        self, store: Store, loop: Loop, clock: Clock, leads: Callable[[bool], None], *, lease_s: float = LEASE_S
    ) -> None:
        self._store = store
        self._loop = loop
        self._clock = clock
        self._leads = leads
        self._lease_s = lease_s
        self.renewed_at: float | None = None
        """When our lease was last renewed and nothing was left alone; None before, and where nobody else is."""
        self._heard: set[str] = set()
        self._anything_heard = asyncio.Event()
        self._knows_all = asyncio.Event()

    async def run(self, started: asyncio.Event) -> None:
        """Run the loop until cancelled; `started` is set once every cluster that is ours is being looked after."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._loop.run(loop_started := asyncio.Event()))
            await loop_started.wait()
            if self._store.replica:
                group.create_task(self._hear())
                group.create_task(self._pass_on())
                group.create_task(self._lead())
                group.create_task(self._keep_lease(started))
            else:
                self._leads(True)
                started.set()

    async def leave(self) -> None:
        """Let the others, if any, take our clusters at once."""
        try:
            if self._store.replica:
                await self._store.replicas.release()
        except BackendUnavailable as error:
            log.warning("our lease runs on until it ends by itself: %s", error.message)

    async def _keep_lease(self, started: asyncio.Event) -> None:
        while True:
            try:
                await self._take_part()
                started.set()
            except BackendUnavailable as error:
                log.warning("our lease is not renewed: %s", error.message)
            await self._clock.sleep(self._lease_s / RENEWALS)

    async def _take_part(self) -> None:
        now, replicas = self._clock.now(), self._store.replicas
        await replicas.renew(now + self._lease_s)
        if dead := await replicas.bury(now):
            log.warning("no longer there: %s; what they left is taken over", ", ".join(dead))
            self._loop.recover()
        while names := await replicas.take(TAKE_AT_ONCE):
            log.info("taking over %d clusters", len(names))
            await self._store.tell(names)
        self.renewed_at = now

    async def _hear(self) -> None:
        missing_since, missing = self._clock.now(), True
        while True:
            try:
                async with aclosing(self._store.news()) as news:
                    async for name in news:
                        if name is None:
                            self._heard.update(await self._store.names(ended_after=missing_since - MISSED_S))
                            missing = False
                        else:
                            self._heard.add(name)
                        self._anything_heard.set()
            except BackendUnavailable as error:
                log.warning("%s; trying again", error.message)
            if not missing:
                missing_since, missing = self._clock.now(), True
            await self._clock.sleep(RETRY_S)

    async def _lead(self) -> None:
        """Be the one that decides for all, as soon as no other is."""
        await self._knows_all.wait()
        while True:
            try:
                async with aclosing(self._store.leadership()) as leadership:
                    async for _ in leadership:
                        self._leads(True)
            except BackendUnavailable as error:
                log.warning("%s; trying again", error.message)
            self._leads(False)
            await self._clock.sleep(RETRY_S)

    async def _pass_on(self) -> None:
        while True:
            await self._anything_heard.wait()
            self._anything_heard.clear()
            names, self._heard = self._heard, set()
            try:
                await self._store.tell(list(names))
                self._knows_all.set()
            except BackendUnavailable:
                self._heard |= names
                self._anything_heard.set()
                await self._clock.sleep(RETRY_S)
