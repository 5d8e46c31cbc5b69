"""A whole core over the fake backend, as tests want it: store, loop, links, routes, control."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from dask_sluice.server.backends.fake import Dials, FakeBackend, World
from dask_sluice.server.backends.fake_agent import FakeAgent
from dask_sluice.server.budget_keeper import BudgetKeeper
from dask_sluice.server.budgets import Budgets
from dask_sluice.server.changes import Changes
from dask_sluice.server.clock import Clock, SystemClock
from dask_sluice.server.control import Control
from dask_sluice.server.decision import Rules
from dask_sluice.server.jobs import LaunchSettings
from dask_sluice.server.links import Links
from dask_sluice.server.loop import Loop
from dask_sluice.server.model import Caller, ClusterRecord, Prices
from dask_sluice.server.policy import Policy
from dask_sluice.server.policy.hooks import Hooks
from dask_sluice.server.replica import LEASE_S, Replica
from dask_sluice.server.routes import Routes
from dask_sluice.server.settings_leases import Leases
from dask_sluice.server.settings_limits import Limits
from dask_sluice.server.settings_schema import Settings, Timeouts
from dask_sluice.server.settings_usage import Usage
from dask_sluice.server.store import Store
from dask_sluice.server.store.engines import Location
from dask_sluice.server.turnstile import Turnstile
from dask_sluice.wire.states import ClusterState, WorkerState

ADA = Caller("ada")
GRACE = Caller("grace")
ROOT = Caller("root", is_admin=True)
PATIENCE_S = 10.0


@dataclass
class Core:
    store: Store
    backend: FakeBackend
    loop: Loop
    links: Links
    routes: Routes
    control: Control
    turnstile: Turnstile
    changes: Changes
    keeper: BudgetKeeper
    replica: Replica

    async def new(self, caller: Caller = ADA) -> ClusterRecord:
        record, _ = await self.control.create(caller, {}, None)
        return record

    async def running(self, caller: Caller = ADA, workers: int = 0) -> ClusterRecord:
        """A new cluster that runs, with so many workers connected."""
        record = await self.until((await self.new(caller)).name, ClusterState.RUNNING)
        if workers:
            await self.control.scale(caller, record.name, workers)
            record = await self.until_workers(record.name, workers)
        return record

    async def until(self, name: str, *states: ClusterState) -> ClusterRecord:
        record = await self.store.cluster(name)
        async with asyncio.timeout(PATIENCE_S):
            while record.state not in states:
                assert not record.state.is_final, f"{record.state}: {record.reason.sentence}"
                record = await self.control.wait(ROOT, name, after_version=record.version, timeout_s=PATIENCE_S)
        return record

    async def until_workers(self, name: str, count: int, *states: WorkerState, others: bool = False) -> ClusterRecord:
        """The record once exactly `count` workers are in these states, and no other living ones exist."""
        states = states or (WorkerState.RUNNING,)
        record = await self.store.cluster(name)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                alive = [worker for worker in record.workers if not worker.state.is_final]
                there = [worker for worker in record.workers if worker.state in states]
                if len(there) == count and (others or len(alive) in (count, 0) or alive == there):
                    return record
                record = await self.control.wait(ROOT, name, after_version=record.version, timeout_s=PATIENCE_S)

    def store_changes(self) -> AbstractContextManager[asyncio.Event]:
        """Set at each change of any cluster."""
        return self.changes.of_owner(None)

    def agent(self, name: str) -> FakeAgent:
        return self.backend.world.agents[name]


@asynccontextmanager
async def running_core(
    place: Location,
    *,
    dials: Dials | None = None,
    world: World | None = None,
    clock: Clock | None = None,
    timeouts: Timeouts | None = None,
    limits: Limits | None = None,
    rules: Rules | None = None,
    leases: Leases | None = None,
    settings: Settings | None = None,
    usage: Usage | None = None,
    name: str = "",
    lease_s: float = LEASE_S,
) -> AsyncIterator[Core]:
    """A core at work; leaving it is like `kill -9`: nothing is ended, nothing is told.

    place  a directory for an SQLite file, or a PostgreSQL database, which several may share
    name   its name among them
    """
    clock = clock or SystemClock()
    store, changes = Store(place / "sluice.db" if isinstance(place, Path) else place, name), Changes()
    store.open()
    backend = FakeBackend(world=world, dials=dials, clock=clock)
    routes = Routes(store, b"ticket key")
    loop = Loop(store, backend, clock, launch=LaunchSettings("ws://127.0.0.1:1"), rules=rules)
    links = Links(store, loop, clock)
    store.on_change(changes)
    usage = usage or (Usage() if settings is None else settings.usage)
    prices = Prices(**usage.prices.model_dump())
    policy = Policy(limits=limits, timeouts=timeouts, leases=leases, prices=prices)
    policy = policy if settings is None else Policy.of(settings, None)
    hooks = Hooks(policy.rules, clock)
    hooks.load()
    turnstile = Turnstile(store, loop, clock, policy.limits)
    keeper = BudgetKeeper(store, loop, clock, Budgets(usage))
    control = Control(store, policy, backend, changes, clock, hooks=hooks, budgets=keeper)
    backend.call_home_to(links)
    await routes.load()
    replica = Replica(store, loop, clock, turnstile.lead, lease_s=lease_s)
    started = asyncio.Event()
    working = asyncio.create_task(replica.run(started))
    try:
        await asyncio.wait([working, asyncio.create_task(started.wait())], return_when=asyncio.FIRST_COMPLETED)
        letting_in = asyncio.create_task(turnstile.run())
        loop.start_task(keeper.run())
        yield Core(store, backend, loop, links, routes, control, turnstile, changes, keeper, replica)
    finally:
        working.cancel()
        letting_in.cancel()
        result, _ = await asyncio.gather(working, letting_in, return_exceptions=True)
        await backend.close()
        await store.close()
        if isinstance(result, Exception):
            raise result


async def eventually(true: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for something that nobody tells of."""
    async with asyncio.timeout(PATIENCE_S):
        while not (await result if isinstance(result := true(), Awaitable) else result):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def end_world(world: World) -> None:
    """Nothing of a fake world outlives its test."""
    for thing in world.things.values():
        for task in thing.tasks:
            task.cancel()
