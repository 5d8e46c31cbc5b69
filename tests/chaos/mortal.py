"""A whole core that can die anywhere: before or after a write, a call of the backend, a turn of the event loop.

Whatever it would do after its death never happens: it waits for ever where it stands, until it is cleared away.
What runs in the world outside, and what is in the database, stays as it is.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from dask_sluice.server.backends.fake import Dials, FakeBackend, World
from dask_sluice.server.backends.fake_agent import Line
from dask_sluice.server.backends.protocol import Handle, Job, JobState, Seen
from dask_sluice.server.changes import Changes
from dask_sluice.server.control import Control
from dask_sluice.server.jobs import LaunchSettings
from dask_sluice.server.links import Links
from dask_sluice.server.loop import Loop
from dask_sluice.server.policy import Policy
from dask_sluice.server.routes import Routes
from dask_sluice.server.settings_limits import Ceiling, ClusterCeiling, Limits
from dask_sluice.server.store import Store, schema
from dask_sluice.server.store.database import Database
from dask_sluice.server.turnstile import Turnstile
from dask_sluice.wire.errors import BackendUnavailable
from dask_sluice.wire.launch import SchedulerLaunch

from .virtual_time import VirtualClock

T = TypeVar("T")
MAX_WORKERS, USER_WORKERS, SITE_WORKERS, USER_CLUSTERS = 5, 7, 14, 4
LIMITS = Limits(
    cluster=ClusterCeiling(workers=MAX_WORKERS),
    user=Ceiling(workers=USER_WORKERS, clusters=USER_CLUSTERS),
    site=Ceiling(workers=SITE_WORKERS),
    submits_at_once=3,
)
POINTS = (
    "before write",
    "after write",
    "before submit",
    "after papers",
    "between handles",
    "after submit",
    "before observe",
    "before remove",
    "after remove",
    "before recover",
    "after recover",
    "link",
)


class Died(Exception):
    """The server died before it answered."""


@dataclass(frozen=True)
class Fuse:
    """Where to die: at the `count`-th time that the point is reached."""

    point: str
    count: int


@dataclass
class Life:
    """One life of a server, from its start to its death."""

    fuse: Fuse | None = None
    disk_full: bool = False
    reached: Counter[str] = field(default_factory=Counter)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    lines: list[Line] = field(default_factory=list)

    async def reach(self, point: str) -> None:
        """Pass this point, or die there."""
        self.reached[point] += 1
        if self.fuse is not None and self.fuse == Fuse(point, self.reached[point]):
            self.over.set()
        if self.over.is_set():
            await asyncio.get_running_loop().create_future()

    async def call(self, request: Coroutine[Any, Any, T]) -> T:
        """The answer to a request from outside.

        raises  Died where there was none
        """
        asked, end = asyncio.create_task(request), asyncio.create_task(self.over.wait())
        try:
            await asyncio.wait({asked, end}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            end.cancel()
        if asked.done() and not asked.cancelled():
            return asked.result()
        asked.cancel()
        raise Died


@dataclass
class ChaosWorld(World):
    """Every job has papers beside its process: two things that are made, and can be left behind, one by one."""

    papers: dict[str, Handle] = field(default_factory=dict)
    births: Counter[str] = field(default_factory=Counter)

    def living(self) -> set[str]:
        """Jobs of which anything exists."""
        return {key for key, thing in self.things.items() if thing.state is not JobState.ENDED} | set(self.papers)

    def tasks(self) -> set[asyncio.Task[None]]:
        return {task for thing in self.things.values() for task in thing.tasks}


class MortalDatabase(Database):
    """Runs its transactions in the event loop itself: no thread, so no chance."""

    def __init__(self, path: Path, life: Life) -> None:
        super().__init__(path)
        self._life = life

    async def write(self, work: Callable[[Connection], T], *, durable: bool, **_: object) -> T:
        await asyncio.sleep(0)
        await self._life.reach("before write")
        if self._life.disk_full:
            raise BackendUnavailable("the server cannot write its database: the disk is full", retry_after_s=5)
        with (self._durable if durable else self._quick).begin() as connection:
            result = work(connection)
        await self._life.reach("after write")
        await asyncio.sleep(0)
        return result

    async def read(self, work: Callable[[Connection], T]) -> T:
        await asyncio.sleep(0)
        with self._reader.begin() as connection:
            result = work(connection)
        await asyncio.sleep(0)
        return result

    async def close(self) -> None:
        self._close()


class MortalStore(Store):
    def __init__(self, path: Path, life: Life) -> None:
        super().__init__(path)
        self._place = path
        self._life = life

    def open(self) -> None:
        schema.prepare(self._place)
        self._database = MortalDatabase(self._place, self._life)


class MortalBackend(FakeBackend):
    def __init__(self, world: ChaosWorld, dials: Dials, life: Life) -> None:
        super().__init__(world=world, dials=dials, clock=VirtualClock())
        self._chaos = world
        self._life = life

    async def submit(self, job: Job) -> AsyncIterator[Handle]:
        await self._life.reach("before submit")
        self._answer()
        papers = Handle(job.id, job.cluster, job.kind, {"papers": job.id})
        self._chaos.papers[job.id] = papers
        await self._life.reach("after papers")
        yield papers
        await self._life.reach("between handles")
        known = set(self.world.things)
        async for handle in super().submit(job):
            self._chaos.births[job.id] += job.id not in known
            await self._life.reach("after submit")
            yield handle

    async def observe(self, handles: Sequence[Handle]) -> list[Seen]:
        await self._life.reach("before observe")
        return [self._paper_seen(h, s) for h, s in zip(handles, await super().observe(handles), strict=True)]

    def _paper_seen(self, handle: Handle, seen: Seen) -> Seen:
        """Papers alone are a job that is still to come."""
        waiting = "papers" in handle.data and handle.job_id in self._chaos.papers
        return Seen(handle.job_id, JobState.PENDING) if waiting and handle.job_id not in self.world.things else seen

    async def remove(self, handle: Handle) -> None:
        await self._life.reach("before remove")
        if "papers" in handle.data:
            self._answer()
            self._chaos.papers.pop(handle.job_id, None)
        else:
            await super().remove(handle)
        await self._life.reach("after remove")

    async def recover(self) -> list[Handle]:
        await self._life.reach("before recover")
        found = [*self._chaos.papers.values(), *await super().recover()]
        await self._life.reach("after recover")
        return found


@dataclass
class MortalCore:
    """A server's inside, at work until its life is over."""

    life: Life
    world: ChaosWorld
    store: MortalStore
    backend: MortalBackend
    routes: Routes
    control: Control
    loop: Loop
    links: Links
    turnstile: Turnstile

    async def start(self) -> asyncio.Task[None]:
        """Return its work once that has begun, or died at its beginning."""
        started = asyncio.Event()
        working = asyncio.create_task(self._run(started))
        waiting = [asyncio.create_task(event.wait()) for event in (started, self.life.over)]
        await asyncio.wait([*waiting, working], return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        return working

    async def _run(self, started: asyncio.Event) -> None:
        self._let_agents_call()
        await self.routes.load()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.loop.run(started))
            await started.wait()
            group.create_task(self.turnstile.run())

    def _let_agents_call(self) -> None:
        self.backend.call_home_to(self.links)
        (answers,) = self.world.doors

        async def answer(launch: SchedulerLaunch) -> Line | None:
            await self.life.reach("link")
            return await answers(launch)

        async def dial(launch: SchedulerLaunch) -> Line | None:
            try:
                line = await self.life.call(answer(launch))
            except Died:
                return None
            if line is not None:
                self.life.lines.append(line)
            return line

        self.world.doors[:] = [dial]

    async def bury(self, outsiders: set[asyncio.Task[Any]]) -> None:
        """Clear away what is left of it, without letting it do anything more."""
        self.life.over.set()
        self.world.doors.clear()
        for _ in range(100):
            left = asyncio.all_tasks() - outsiders - self.world.tasks() - {asyncio.current_task()}
            if not left:
                break
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        else:
            raise AssertionError(f"it will not die: {left}")
        for line in self.life.lines:
            await line.close()
        self.world.watchers.clear()
        await self.store.close()


def born(directory: Path, world: ChaosWorld, dials: Dials, fuse: Fuse | None) -> MortalCore:
    """A new server on this database and this world, to be started."""
    life, clock, changes = Life(fuse), VirtualClock(), Changes()
    store = MortalStore(directory / "sluice.db", life)
    store.open()
    backend = MortalBackend(world, dials, life)
    routes = Routes(store, b"ticket key")
    loop = Loop(store, backend, clock, launch=LaunchSettings("ws://127.0.0.1:1"))
    links = Links(store, loop, clock)
    store.on_change(changes)
    policy = Policy(limits=LIMITS)
    turnstile = Turnstile(store, loop, clock, policy.limits)
    control = Control(store, policy, backend, changes, clock)
    return MortalCore(life, world, store, backend, routes, control, loop, links, turnstile)
