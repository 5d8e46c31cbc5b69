"""Limits and the queue over a real store and loop: what people see who have to wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dask_sluice.server.backends.fake import Dials, JobDials, World
from dask_sluice.server.clock import ManualClock
from dask_sluice.server.model import Caller, ClusterRecord, Grant
from dask_sluice.server.settings_limits import Ceiling, ClusterCeiling, Limits
from dask_sluice.server.turnstile import PLACES_TOLD
from dask_sluice.wire.errors import LimitExceeded
from dask_sluice.wire.reasons import ReasonCode
from dask_sluice.wire.states import ClusterState

from .core import ADA, GRACE, PATIENCE_S, ROOT, Core, end_world, eventually, running_core


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    end_world(world)


async def until_reason(core: Core, name: str, code: ReasonCode) -> ClusterRecord:
    record = await core.store.cluster(name)
    async with asyncio.timeout(PATIENCE_S):
        while record.reason.code is not code:
            record = await core.control.wait(ROOT, name, after_version=record.version, timeout_s=PATIENCE_S)
    return record


async def test_one_more_cluster_than_allowed_is_refused_with_limit_and_use(tmp_path: Path, world: World) -> None:
    async with running_core(tmp_path, world=world, limits=Limits(user=Ceiling(clusters=2))) as core:
        made = await asyncio.gather(*(core.new() for _ in range(5)), return_exceptions=True)
        refused = [each for each in made if isinstance(each, LimitExceeded)]
        assert len(refused) == 3
        assert "ada has 2 clusters, and the limit is 2 clusters (limits.user.clusters)" in str(refused[0])
        await core.new(GRACE)
        (first, *_) = [each for each in made if isinstance(each, ClusterRecord)]
        await core.control.stop(ADA, first.name)
        await core.until(first.name, ClusterState.STOPPED)
        await core.new()


async def test_workers_without_room_wait_with_reason_and_place_and_start_when_there_is_some(
    tmp_path: Path, world: World
) -> None:
    async with running_core(tmp_path, world=world, limits=Limits(site=Ceiling(workers=4))) as core:
        mine, hers = await core.running(ADA, workers=4), await core.running(GRACE)
        await core.control.scale(GRACE, hers.name, 3)
        record = await until_reason(core, hers.name, ReasonCode.WORKERS_QUEUED)
        assert record.reason.sentence == (
            "3 workers must wait for room: 4 of 4 workers (limits.site.workers) are in use by all users together; "
            "number 1 in the queue"
        )
        await core.control.scale(ADA, mine.name, 1)
        record = await core.until_workers(hers.name, 3)
        assert record.reason.code is ReasonCode.RUNNING
        codes = [event.reason.code for event in await core.control.events(GRACE, hers.name)]
        assert codes.count(ReasonCode.WORKERS_QUEUED) == 1


async def test_a_cluster_without_room_waits_as_long_as_that_takes(tmp_path: Path, world: World) -> None:
    async with running_core(tmp_path, world=world, limits=Limits(site=Ceiling(clusters=1))) as core:
        mine = await core.running(ADA)
        waiting = await core.new(GRACE)
        record = await until_reason(core, waiting.name, ReasonCode.QUEUED)
        assert record.state is ClusterState.PENDING
        assert "1 of 1 clusters (limits.site.clusters) are in use by all users together" in record.reason.sentence
        await core.control.stop(ADA, mine.name)
        await core.until(waiting.name, ClusterState.RUNNING)


async def test_a_waiting_cluster_can_be_stopped(tmp_path: Path, world: World) -> None:
    async with running_core(tmp_path, world=world, limits=Limits(site=Ceiling(clusters=1))) as core:
        await core.running(ADA)
        waiting = await core.new(GRACE)
        await core.control.stop(GRACE, waiting.name)
        record = await core.until(waiting.name, ClusterState.STOPPED)
        assert record.grant == Grant()


async def test_five_hundred_scale_calls_at_once_never_exceed_the_limit(tmp_path: Path, world: World) -> None:
    limits = Limits(user=Ceiling(workers=12))
    async with running_core(tmp_path, world=world, limits=limits) as core:
        names = [(await core.running(ADA)).name for _ in range(5)]
        await asyncio.gather(*(core.control.scale(ADA, names[n % 5], n % 17) for n in range(500)))
        await asyncio.gather(*(core.control.scale(ADA, name, 10) for name in names))
        async with asyncio.timeout(PATIENCE_S):
            with core.store_changes() as changed:
                while True:
                    changed.clear()
                    records = [await core.store.cluster(name) for name in names]
                    alive = sum(not worker.state.is_final for record in records for worker in record.workers)
                    assert alive <= 12
                    if alive == 12 and sum(record.grant.workers for record in records) == 12:
                        break
                    await changed.wait()


async def test_after_a_restart_what_ran_still_counts(tmp_path: Path, world: World) -> None:
    limits = Limits(site=Ceiling(workers=3))
    async with running_core(tmp_path, world=world, limits=limits) as core:
        await core.running(ADA, workers=3)
    async with running_core(tmp_path, world=world, limits=limits) as core:
        hers = await core.running(Caller("grace"))
        await core.control.scale(GRACE, hers.name, 2)
        record = await until_reason(core, hers.name, ReasonCode.WORKERS_QUEUED)
        assert not record.workers


async def test_after_a_restart_who_used_much_is_still_served_later(tmp_path: Path, world: World) -> None:
    clock = ManualClock()
    async with running_core(tmp_path, world=world, clock=clock) as core:
        await core.running(ADA, workers=3)
        await clock.advance(600)
    async with running_core(tmp_path, world=world, clock=clock) as core:
        standing = core.turnstile.admission.standing
        await eventually(lambda: standing.of("ada", "", clock.now())[1] > 4)
        assert standing.of("grace", "", clock.now())[1] == 0


async def test_a_thousand_workers_of_one_user_do_not_delay_anothers_first(tmp_path: Path, world: World) -> None:
    """Counted in starts, not in seconds: how many of his come between her asking and hers."""
    limits, dials = Limits(cluster=ClusterCeiling(workers=1000)), Dials(worker=JobDials(submit_takes_s=0.02))
    async with running_core(tmp_path, world=world, limits=limits, dials=dials) as core:
        his = await core.running(ADA)
        await core.control.scale(ADA, his.name, 1000)
        await eventually(lambda: len(core.backend.submits) > 50)
        before = len(core.backend.submits)
        hers = await core.running(GRACE, workers=1)
        (worker,) = hers.workers
        starts = core.backend.submits[before:]
        assert starts.index(hers.scheduler.job.job_id) <= 2 * limits.submits_at_once
        his_between = starts[: starts.index(worker.job.job_id)]
        assert len(his_between) <= 10 * limits.submits_at_once, "of a thousand"
        his = await core.store.cluster(his.name)
        assert his.reason.code in (ReasonCode.RUNNING, ReasonCode.QUEUED_FOR_TURN)
        assert sum(not each.state.is_final for each in his.workers) < 1000


async def test_everyone_in_a_long_queue_is_told_and_nobody_waits_two_seconds_for_that(
    tmp_path: Path, world: World
) -> None:
    clock = ManualClock()
    async with running_core(tmp_path, world=world, clock=clock, limits=Limits(site=Ceiling(clusters=1))) as core:
        await core.running(ADA)
        names = [(await core.new(Caller(f"user{number}"))).name for number in range(PLACES_TOLD + 20)]
        for _ in range(4):
            await clock.advance(0.45)

        async def all_told() -> bool:
            records = [await core.store.cluster(name) for name in names]
            places = {record.reason.details.get("position") for record in records}
            return places == set(range(1, len(names) + 1))

        await eventually(all_told)
