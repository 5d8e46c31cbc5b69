"""Whatever happens to servers that share a database, nothing is lost, done twice or left behind."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from dask_sluice.server.backends.fake import Dials, JobDials
from dask_sluice.server.decision import plain
from dask_sluice.server.model import ClusterRecord
from dask_sluice.wire.errors import ClusterNotRunning
from dask_sluice.wire.reasons import ReasonCode
from dask_sluice.wire.states import ClusterState, WorkerState

from ..postgresql import PostgreSQL
from .core import ADA, Core, eventually
from .fleet import Fleet, fleet_of

STEPS = 40
DIALS = Dials(
    scheduler=JobDials(submit_takes_s=0.02, start_after_s=0.02, remove_takes_s=0.02),
    worker=JobDials(submit_takes_s=0.01, start_after_s=0.01, remove_takes_s=0.01),
)
LEASE_S = 0.5
"""Short, and so now and then a server that lives is taken for dead: that must do no harm either."""


class Chaos:
    """What users, networks and operators do to a fleet, in an order that a seed decides."""

    def __init__(self, fleet: Fleet, postgresql: PostgreSQL, seed: int) -> None:
        self.fleet = fleet
        self.postgresql = postgresql
        self.random = random.Random(seed)
        self.names: list[str] = []
        self.log: list[str] = []

    async def step(self) -> None:
        ways: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (6, self.create),
            (6, self.scale),
            (2, self.stop),
            (3, self.cut),
            (1, self.deafen),
            (4, self.kill),
            (2, self.kill_worker),
        ]
        weights, acts = zip(*ways, strict=True)
        (act,) = self.random.choices(acts, weights)
        self.log.append(act.__name__)
        await act()
        await asyncio.sleep(self.random.choice((0, 0, 0.01, 0.05)))

    def any_core(self) -> Core:
        return self.random.choice(list(self.fleet.cores.values()))

    async def create(self) -> None:
        self.names.append((await self.any_core().new()).name)

    async def scale(self) -> None:
        await self.ask(lambda core, name: core.control.scale(ADA, name, self.random.randint(0, 4)))

    async def stop(self) -> None:
        await self.ask(lambda core, name: core.control.stop(ADA, name))

    async def ask(self, wish: Callable[[Core, str], Awaitable[object]]) -> None:
        if self.names:
            try:
                await wish(self.any_core(), self.random.choice(self.names))
            except ClusterNotRunning:
                self.log.append("(it has ended)")

    async def cut(self) -> None:
        """A network loses an agent's link."""
        if agents := list(self.fleet.world.agents.values()):
            await self.random.choice(agents).cut()

    async def deafen(self) -> None:
        """Servers lose the connections on which they listen."""
        listening = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
        await asyncio.to_thread(self.postgresql.execute, listening)

    async def kill(self) -> None:
        """A server dies, and another is started in its place."""
        await self.fleet.kill(self.any_core())
        await self.fleet.start()

    async def kill_worker(self) -> None:
        workers = [job for job in self.fleet.alive() if not job.endswith("-scheduler")]
        if workers:
            self.any_core().backend.kill(self.random.choice(workers))


@pytest.mark.parametrize("seed", range(5))
async def test_nothing_is_lost_done_twice_or_left_behind(seed: int, postgresql: PostgreSQL) -> None:
    async with fleet_of(3, postgresql.new_database(), dials=DIALS, lease_s=LEASE_S) as fleet:
        chaos = Chaos(fleet, postgresql, seed)
        for _ in range(STEPS):
            await chaos.step()
        try:
            for name in chaos.names:
                await at_rest(fleet, name)
            await end_all(fleet, chaos.names)
            for name in chaos.names:
                await told_once(fleet, name)
        except (AssertionError, TimeoutError) as error:
            error.add_note(f"seed {seed}: {' '.join(chaos.log)}")
            raise


async def at_rest(fleet: Fleet, name: str) -> None:
    """Each cluster comes to rest: ended, with nothing of it left, or running with the workers that are wanted,
    looked after by one server.
    """

    async def settled() -> bool:
        record = await anyone(fleet).store.cluster(name)
        return ended(fleet, record) or running_as_wanted(fleet, record)

    try:
        await eventually(settled)
    except TimeoutError as error:
        record = await anyone(fleet).store.cluster(name)
        at_work = [core.store.replica for core in fleet.at_work(name)]
        error.add_note(f"{record}, alive: {fleet.alive(name)}, at work: {at_work} of {list(fleet.cores)}")
        raise


def ended(fleet: Fleet, record: ClusterRecord) -> bool:
    return record.state.is_final and fleet.alive(record.name) == [] and fleet.at_work(record.name) == []


def running_as_wanted(fleet: Fleet, record: ClusterRecord) -> bool:
    living = [worker for worker in record.workers if not worker.state.is_final]
    wanted = {record.scheduler.job.job_id, *(worker.job.job_id for worker in living)}
    return (
        record.state is ClusterState.RUNNING
        and len(living) == record.wanted.workers
        and all(worker.state is WorkerState.RUNNING for worker in living)
        and set(fleet.alive(record.name)) == wanted
        and [core.store.replica for core in fleet.at_work(record.name)] == [record.holder]
    )


async def end_all(fleet: Fleet, names: list[str]) -> None:
    await anyone(fleet).control.stop_all(plain(ReasonCode.SERVER_STOPPING))
    await eventually(lambda: fleet.alive() == [])
    for core in fleet.cores.values():
        await eventually(lambda core=core: not core.loop.records() and not core.routes._routes)  # type: ignore[misc]
    assert {record.name for record in await anyone(fleet).store.clusters()} == set(names)


async def told_once(fleet: Fleet, name: str) -> None:
    """Every change of state was decided by one server, once."""
    events = await anyone(fleet).store.events(cluster=name)
    states = Counter((e.subject, e.reason.details["state"]) for e in events if "state" in e.reason.details)
    assert set(states.values()) == {1}, [entry for entry, times in states.items() if times > 1]
    assert [event.id for event in events] == sorted(event.id for event in events)


def anyone(fleet: Fleet) -> Core:
    return next(iter(fleet.cores.values()))
