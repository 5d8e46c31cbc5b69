"""What chaos has found, each by the shortest way: a death at the wrong moment, and what the next server makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from dask_sluice.server.backends.fake import Dials, JobDials
from dask_sluice.server.backends.protocol import Handle, JobKind
from dask_sluice.server.model import (
    AgentHello,
    Caller,
    ClusterRecord,
    Grant,
    JobRecord,
    Observation,
    Wanted,
    WorkerRecord,
)
from dask_sluice.server.reconcile import reconcile
from dask_sluice.wire.reasons import Reason, ReasonCode
from dask_sluice.wire.states import ClusterState, WorkerState

from ..server.records import record_of
from . import virtual_time
from .mortal import USER_WORKERS, ChaosWorld, Fuse, MortalCore, born

ADA = Caller("ada")
PATIENCE_S = 300.0


@asynccontextmanager
async def server(
    directory: Path, world: ChaosWorld, *, fuse: Fuse | None = None, dials: Dials | None = None
) -> AsyncIterator[MortalCore]:
    """A server that is killed at the end, or earlier by its fuse."""
    core = born(directory, world, dials or Dials(), fuse)
    await core.start()
    me = asyncio.current_task()
    assert me is not None
    try:
        yield core
    finally:
        await core.bury({me})


async def until(core: MortalCore, name: str, holds: Callable[[ClusterRecord], bool]) -> ClusterRecord:
    async with asyncio.timeout(PATIENCE_S):
        while not holds(record := await core.store.cluster(name)):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    return record


def running(record: ClusterRecord) -> bool:
    assert not record.state.is_final, record.reason.sentence
    return record.state is ClusterState.RUNNING and record.scheduler.linked_at is not None


def workers(count: int) -> Callable[[ClusterRecord], bool]:
    return lambda record: [w.state for w in record.workers if not w.state.is_final] == [WorkerState.RUNNING] * count


async def new(core: MortalCore) -> str:
    record, _ = await core.control.create(ADA, {}, None)
    return record.name


def in_virtual_time(story: Callable[[ChaosWorld], Awaitable[None]]) -> None:
    async def told() -> None:
        world = ChaosWorld()
        try:
            await story(world)
        finally:
            for task in world.tasks():
                task.cancel()

    virtual_time.run(told())


@pytest.mark.parametrize("point", ["after papers", "between handles"])
def test_what_was_made_by_half_is_finished_by_the_next_server(tmp_path: Path, point: str) -> None:
    async def story(world: ChaosWorld) -> None:
        async with server(tmp_path, world, fuse=Fuse(point, 1)) as core:
            name = await new(core)
            await core.life.over.wait()
        async with server(tmp_path, world) as core:
            await until(core, name, running)

    in_virtual_time(story)


def test_a_worker_that_is_refused_half_way_fails_for_that_reason_and_leaves_nothing(tmp_path: Path) -> None:
    async def story(world: ChaosWorld) -> None:
        async with server(tmp_path, world, dials=Dials(worker=JobDials(refuse="no room for workers"))) as core:
            name = await new(core)
            await until(core, name, running)
            await core.control.scale(ADA, name, 1)
            record = await until(core, name, lambda record: any(w.state.is_final for w in record.workers))
            assert record.workers[0].state is WorkerState.FAILED
            assert "no room for workers" in record.workers[0].reason.sentence
            await core.control.scale(ADA, name, 0)
            await until(core, name, workers(0))
            assert world.living() == {f"{name}-scheduler"}

    in_virtual_time(story)


@pytest.mark.parametrize("point", ["before submit", "between handles", "after submit", "link"])
def test_time_without_a_server_does_not_count_against_a_start(tmp_path: Path, point: str) -> None:
    async def story(world: ChaosWorld) -> None:
        async with server(tmp_path, world, fuse=Fuse(point, 1)) as core:
            name = await new(core)
            await core.life.over.wait()
        await asyncio.sleep(400)
        async with server(tmp_path, world) as core:
            await until(core, name, running)

    in_virtual_time(story)


def test_a_worker_is_not_given_up_before_the_scheduler_has_told_who_is_connected() -> None:
    job = JobRecord("ada-1-worker-1", (Handle("ada-1-worker-1", "ada-1", JobKind.WORKER, {}),), 0.0, 0.0)
    worker = WorkerRecord("worker-1", job, WorkerState.STARTING, Reason(ReasonCode.WORKER_STARTING), created_at=0.0)
    record = record_of("ada-1", state=ClusterState.RUNNING)
    record = replace(record, workers=(worker,), wanted=Wanted(workers=1), grant=Grant(True, 1))
    just_linked = Observation(1000.0, hello=AgentHello(8786, None))
    assert reconcile(record, just_linked, 1000.0).record.workers[0].state is WorkerState.STARTING


def test_a_worker_is_retired_and_not_killed_though_the_server_was_away_meanwhile(tmp_path: Path) -> None:
    async def story(world: ChaosWorld) -> None:
        async with server(tmp_path, world) as core:
            name = await new(core)
            await until(core, name, running)
            await core.control.scale(ADA, name, 2)
            await until(core, name, workers(2))
            world.agents[name].keeps_retiring = True
            await core.control.scale(ADA, name, 1)
            await until(core, name, lambda record: any(w.state is WorkerState.RETIRING for w in record.workers))
        await asyncio.sleep(400)
        world.agents[name].keeps_retiring = False
        async with server(tmp_path, world) as core:
            record = await until(core, name, workers(1))
            (gone,) = [worker for worker in record.workers if worker.state.is_final]
            assert gone.reason.code is ReasonCode.WORKER_RETIRED

    in_virtual_time(story)


def test_the_end_of_every_worker_is_on_the_books_however_long_it_lived(tmp_path: Path) -> None:
    async def story(world: ChaosWorld) -> None:
        async with server(tmp_path, world) as core:
            name = await new(core)
            await until(core, name, running)
            await core.control.scale(ADA, name, 1)
            await until(core, name, workers(1))
            for _ in range(6):
                await core.control.scale(ADA, name, 5)
                await until(core, name, workers(5))
                for job_id in sorted(world.things)[2:]:
                    core.backend.kill(job_id)
                await core.control.scale(ADA, name, 1)
                await until(core, name, workers(1))
            await core.control.scale(ADA, name, 0)
            await until(core, name, workers(0))
            assert not [worker.name for worker in await core.store.workers(name) if not worker.state.is_final]

    in_virtual_time(story)


def test_a_request_that_comes_before_the_books_are_read_changes_nothing_for_a_starting_cluster(tmp_path: Path) -> None:
    async def story(world: ChaosWorld) -> None:
        async with server(tmp_path, world, dials=Dials(scheduler=JobDials(connect_after_s=5))) as core:
            name = await new(core)
            await until(core, name, lambda record: record.scheduler.job.running_at is not None)
        await asyncio.sleep(400)
        core = born(tmp_path, world, Dials(), None)
        starting = asyncio.create_task(core.start())
        await core.control.scale(ADA, name, 1)
        await starting
        try:
            await until(core, name, lambda record: running(record) and workers(1)(record))
        finally:
            me = asyncio.current_task()
            assert me is not None
            await core.bury({me})

    in_virtual_time(story)


def test_workers_that_leave_count_beside_those_that_come(tmp_path: Path) -> None:
    async def story(world: ChaosWorld) -> None:
        async with server(tmp_path, world, dials=Dials(worker=JobDials(remove_takes_s=50))) as core:
            one, other = await new(core), await new(core)
            records: dict[str, ClusterRecord] = {}
            most = 0

            def changed(record: ClusterRecord, _: object) -> None:
                nonlocal most
                records[record.name] = record
                most = max(most, sum(not w.state.is_final for record in records.values() for w in record.workers))

            core.store.on_change(changed)
            for name, count in ((one, 3), (other, 4)):
                await until(core, name, running)
                await core.control.scale(ADA, name, count)
                await until(core, name, workers(count))
            await core.control.scale(ADA, one, 0)
            await core.control.scale(ADA, one, 3)
            await until(core, one, workers(3))
            assert most == USER_WORKERS

    in_virtual_time(story)


def test_a_cluster_whose_workers_keep_failing_leaves_its_room_to_others(tmp_path: Path) -> None:
    async def story(world: ChaosWorld) -> None:
        failing = Dials(worker=JobDials(connect_after_s=None, end_after_s=0.1))
        async with server(tmp_path, world, dials=failing) as core:
            one, other = await new(core), await new(core)
            await until(core, other, running)
            await until(core, one, running)
            await core.control.scale(ADA, one, 5)
            await until(core, one, lambda record: record.reason.code is ReasonCode.WORKERS_KEEP_FAILING)
            core.backend.dials = Dials()
            await core.control.scale(ADA, other, 5)
            await until(core, other, workers(5))
            await core.control.scale(ADA, one, 2)
            await until(core, one, workers(2))

    in_virtual_time(story)
