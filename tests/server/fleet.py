"""Several cores over one PostgreSQL and one fake world, to be started and killed one by one."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from sqlalchemy import URL

from dask_sluice.server.backends.fake import World
from dask_sluice.server.backends.protocol import JobState
from dask_sluice.server.clock import Clock, SystemClock

from .core import Core, end_world, eventually, running_core


class Fleet:
    """Cores by name. What they run outlives each of them."""

    def __init__(self, database: URL, clock: Clock, settings: dict[str, Any]) -> None:
        self.world = World()
        self.cores: dict[str, Core] = {}
        self._database = database
        self._clock = clock
        self._settings = settings
        self._stacks: dict[str, AsyncExitStack] = {}
        self._numbers = itertools.count(1)

    async def start(self) -> Core:
        name = f"server-{next(self._numbers)}"
        stack = self._stacks[name] = AsyncExitStack()
        context = running_core(self._database, world=self.world, clock=self._clock, name=name, **self._settings)
        self.cores[name] = await stack.enter_async_context(context)
        return self.cores[name]

    async def kill(self, core: Core) -> None:
        """As `kill -9` would: nothing is ended, nothing is told, its lease runs on."""
        del self.cores[core.store.replica]
        await self._stacks.pop(core.store.replica).aclose()

    def at_work(self, name: str) -> list[Core]:
        """Whose loop works on this cluster."""
        return [core for core in self.cores.values() if core.loop.record(name)]

    async def held_by(self, core: Core, name: str) -> None:
        """Return once this one, and no other, works on the cluster."""
        await eventually(lambda: self.at_work(name) == [core])

    def alive(self, cluster: str | None = None) -> list[str]:
        """Jobs that are out there."""
        return [
            job_id
            for job_id, thing in self.world.things.items()
            if thing.state is not JobState.ENDED and cluster in (None, thing.job.cluster)
        ]


@asynccontextmanager
async def fleet_of(count: int, database: URL, *, clock: Clock | None = None, **settings: Any) -> AsyncIterator[Fleet]:
    """So many cores at work."""
    fleet = Fleet(database, clock or SystemClock(), settings)
    try:
        for _ in range(count):
            await fleet.start()
        yield fleet
    finally:
        for core in list(fleet.cores.values()):
            await fleet.kill(core)
        end_world(fleet.world)
