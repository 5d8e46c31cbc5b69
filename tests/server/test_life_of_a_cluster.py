"""A cluster lives as docs/life-of-a-cluster.md says: over a real store and loop, on the fake backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dask_sluice.server.backends.fake import PRESETS, Dials, JobDials, World
from dask_sluice.server.backends.protocol import JobState
from dask_sluice.server.decision import Rules
from dask_sluice.server.settings_leases import Idle, Leases
from dask_sluice.server.settings_schema import Timeouts
from dask_sluice.wire.reasons import Reason, ReasonCode
from dask_sluice.wire.states import ClusterState, WorkerState

from .core import ADA, Core, end_world, eventually, running_core

FAST = Timeouts(scheduler_start_s=0.3, worker_start_s=0.3)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    end_world(world)


@pytest.fixture
async def core(tmp_path: Path, world: World) -> AsyncIterator[Core]:
    async with running_core(tmp_path, world=world) as core:
        yield core


def alive(core: Core) -> list[str]:
    return [key for key, thing in core.backend.world.things.items() if thing.state is not JobState.ENDED]


async def linked(core: Core, name: str) -> bool:
    return (await core.store.cluster(name)).scheduler.linked_at is not None


async def test_a_cluster_starts_runs_and_stops(core: Core) -> None:
    record = await core.running()
    assert (record.scheduler.host, record.scheduler.port) == ("127.0.0.1", 8786)
    await core.control.stop(ADA, record.name)
    ended = await core.until(record.name, ClusterState.STOPPED)
    assert ended.reason.sentence == "stopped by ada"
    assert alive(core) == []


async def test_every_change_has_its_event(core: Core) -> None:
    record = await core.running(workers=1)
    await core.control.stop(ADA, record.name)
    await core.until(record.name, ClusterState.STOPPED)
    events = await core.control.events(ADA, record.name)
    told = [(e.subject, e.reason.details.get("state")) for e in events if "state" in e.reason.details]
    assert [state for subject, state in told if subject == "cluster"] == [
        "pending",
        "starting",
        "running",
        "stopping",
        "stopped",
    ]
    assert [state for subject, state in told if subject == "worker-1"] == [
        "starting",
        "running",
        "stopping",
        "stopped",
    ]


async def test_events_are_in_the_order_of_their_times_whoever_writes_at_once(core: Core) -> None:
    record = await core.running()
    scaling = [core.control.scale(ADA, record.name, count % 3) for count in range(30)]
    await asyncio.gather(*scaling, *(core.control.adapt(ADA, record.name, 0, count % 3, True) for count in range(30)))
    await core.control.stop(ADA, record.name)
    await core.until(record.name, ClusterState.STOPPED)
    times = [event.time for event in await core.control.events(ADA, record.name)]
    assert times == sorted(times)


async def test_workers_come_and_go(core: Core) -> None:
    record = await core.running(workers=3)
    await core.control.scale(ADA, record.name, 1)
    record = await core.until_workers(record.name, 1)
    assert {w.reason.code for w in record.workers if w.state is WorkerState.STOPPED} == {ReasonCode.WORKER_RETIRED}
    await core.control.scale(ADA, record.name, 2)
    record = await core.until_workers(record.name, 2)
    assert [m["op"] for m in core.agent(record.name).heard].count("retire") == 1


async def test_a_worker_whose_data_cannot_be_moved_ends_at_last_and_says_so(tmp_path: Path, world: World) -> None:
    async with running_core(tmp_path, world=world, rules=Rules(retire_s=0)) as core:
        name = (await core.running(workers=2)).name
        core.agent(name).keeps_retiring = True
        await core.control.scale(ADA, name, 1)
        record = await core.until_workers(name, 1, WorkerState.STOPPED, others=True)
        (stopped,) = [worker for worker in record.workers if worker.state is WorkerState.STOPPED]
        assert stopped.reason.code is ReasonCode.WORKER_RETIRE_TIMEOUT


async def test_the_scheduler_is_told_what_is_wanted(core: Core) -> None:
    record = await core.running(workers=2)
    await core.control.adapt(ADA, record.name, 1, 5, True)
    await core.agent(record.name).say({"op": "wish", "count": 4, "why": "12 tasks wait"})
    record = await core.until_workers(record.name, 4)
    heard = core.agent(record.name).heard
    assert {"op": "adapt", "minimum": 1, "maximum": 5} in heard
    assert {"op": "wanted", "count": 4} in heard
    events = await core.control.events(ADA, record.name)
    assert "adaptive scaling asks for 4 workers instead of 2: 12 tasks wait" in [e.reason.sentence for e in events]


async def test_a_killed_worker_is_replaced_and_says_why(core: Core) -> None:
    record = await core.running(workers=2)
    core.backend.kill(record.workers[0].job.job_id)
    record = await core.until_workers(record.name, 1, WorkerState.FAILED, others=True)
    failed = next(worker for worker in record.workers if worker.state is WorkerState.FAILED)
    assert failed.reason.sentence == "killed by SIGKILL"
    record = await core.until_workers(record.name, 2)
    assert record.next_worker == 4


async def test_a_killed_scheduler_fails_its_cluster_and_leaves_nothing(core: Core) -> None:
    record = await core.running(workers=2)
    core.backend.kill(record.scheduler.job.job_id)
    record = await core.until(record.name, ClusterState.FAILED)
    assert record.reason.sentence.startswith("the scheduler ended unexpectedly: killed by SIGKILL")
    assert alive(core) == []


async def test_a_scheduler_that_dies_at_start_shows_its_last_lines(tmp_path: Path, world: World) -> None:
    dials = Dials(scheduler=JobDials(connect_after_s=None, end_after_s=0.01, last_lines="No module named 'x'"))
    async with running_core(tmp_path, world=world, dials=dials) as core:
        record = await core.until((await core.new()).name, ClusterState.FAILED)
        assert "No module named 'x'" in record.reason.sentence
        assert record.reason.code is ReasonCode.SCHEDULER_START_FAILED


async def test_a_scheduler_that_never_calls_home_times_out(tmp_path: Path, world: World) -> None:
    async with running_core(tmp_path, world=world, dials=PRESETS["never_connects"], timeouts=FAST) as core:
        record = await core.until((await core.new()).name, ClusterState.FAILED)
        assert record.reason.code is ReasonCode.SCHEDULER_START_TIMEOUT
        assert "phase: connecting" in record.reason.sentence
        assert alive(core) == []


async def test_a_start_that_a_silent_backend_held_up_ends_by_its_silence(tmp_path: Path, world: World) -> None:
    dials = Dials(unavailable="the controller is down")
    async with running_core(tmp_path, world=world, dials=dials, timeouts=FAST) as core:
        record = await core.until((await core.new()).name, ClusterState.FAILED)
        assert record.reason.code is ReasonCode.BACKEND_UNAVAILABLE
        assert record.reason.sentence == "the fake backend does not answer: the controller is down"


async def test_a_start_that_the_backend_never_took_ends_with_the_backends_words(tmp_path: Path, world: World) -> None:
    async with running_core(tmp_path, world=world, dials=Dials(full="the disk is full"), timeouts=FAST) as core:
        record = await core.until((await core.new()).name, ClusterState.FAILED)
        assert record.reason.code is ReasonCode.SCHEDULER_START_TIMEOUT
        assert "phase: submitting; the fake backend does not answer: the disk is full)" in record.reason.sentence


async def test_a_refused_scheduler_fails_its_cluster_with_the_backends_words(tmp_path: Path, world: World) -> None:
    async with running_core(tmp_path, world=world, dials=PRESETS["refused"]) as core:
        record = await core.until((await core.new()).name, ClusterState.FAILED)
        assert "the queue 'dask' does not exist" in record.reason.sentence


async def test_a_backend_that_comes_back_starts_what_waited(tmp_path: Path, world: World) -> None:
    async with running_core(tmp_path, world=world, dials=Dials(unavailable="the controller is down")) as core:
        record = await core.new()
        while record.reason.code is ReasonCode.CREATED:
            record = await core.control.wait(ADA, record.name, after_version=record.version, timeout_s=5)
        assert "the controller is down" in record.reason.sentence
        core.backend.dials = Dials()
        await core.until(record.name, ClusterState.RUNNING)


async def test_a_start_that_cannot_be_seen_says_so_and_ends_by_that(tmp_path: Path, world: World) -> None:
    hidden = "the API server refuses to tell what is in /api/v1/pods"
    patient = Timeouts(scheduler_start_s=2)
    async with running_core(tmp_path, world=world, dials=PRESETS["never_connects"], timeouts=patient) as core:
        record = await core.until((await core.new()).name, ClusterState.STARTING)
        core.backend.dials = Dials(unavailable=hidden)
        core.loop.look(record.name)
        while record.reason.code is not ReasonCode.BACKEND_UNAVAILABLE:
            record = await core.control.wait(ADA, record.name, after_version=record.version, timeout_s=5)
        assert record.state is ClusterState.STARTING, "it is told while it starts"
        record = await core.until(record.name, ClusterState.STOPPING, ClusterState.FAILED)
        assert record.reason.code is ReasonCode.BACKEND_UNAVAILABLE
        assert hidden in record.reason.sentence
        core.backend.dials = Dials()
        await core.until(record.name, ClusterState.FAILED)


async def test_workers_that_keep_failing_are_given_up_until_someone_scales(tmp_path: Path, world: World) -> None:
    dials = Dials(worker=JobDials(connect_after_s=None, end_after_s=0.01, last_lines="ImportError: y"))
    async with running_core(tmp_path, world=world, dials=dials) as core:
        record = await core.running()
        await core.control.scale(ADA, record.name, 5)
        async with asyncio.timeout(5):
            while record.reason.code is not ReasonCode.WORKERS_KEEP_FAILING:
                record = await core.control.wait(ADA, record.name, after_version=record.version, timeout_s=5)
        assert "ImportError: y" in record.reason.sentence
        core.backend.dials = Dials()
        await core.control.scale(ADA, record.name, 2)
        record = await core.until_workers(record.name, 2)
        assert record.reason.code is ReasonCode.RUNNING


async def test_workers_that_are_taken_away_soon_after_they_connected_are_no_failures(
    tmp_path: Path, world: World
) -> None:
    taken = Reason(ReasonCode.PREEMPTED, {"message": "for something more important"})
    async with running_core(tmp_path, world=world, dials=Dials(worker=JobDials(reason=taken))) as core:
        name = (await core.running()).name
        await core.control.scale(ADA, name, 5)
        for _ in range(4):
            record = await core.until_workers(name, 5)
            for worker in record.workers:
                if worker.state is WorkerState.RUNNING:
                    core.backend.kill(worker.job.job_id)
            replaced = record.next_worker + 5
            while record.next_worker < replaced:
                record = await core.control.wait(ADA, name, after_version=record.version, timeout_s=5)
        record = await core.until_workers(name, 5)
        assert (record.reason.code, record.worker_failures) == (ReasonCode.RUNNING, 0)
        assert {w.reason.code for w in record.workers if w.state is WorkerState.FAILED} == {ReasonCode.PREEMPTED}


async def test_an_idle_cluster_ends(tmp_path: Path, world: World) -> None:
    async with running_core(
        tmp_path, world=world, leases=Leases(idle=Idle(default=0.2, minimum=0.1)), rules=Rules(lease_grace_s=0)
    ) as core:
        record = await core.until((await core.new()).name, ClusterState.STOPPED)
        assert record.reason.code is ReasonCode.IDLE


async def test_stopping_while_the_scheduler_is_being_submitted_leaves_nothing(tmp_path: Path, world: World) -> None:
    async with running_core(tmp_path, world=world, dials=Dials(scheduler=JobDials(submit_takes_s=0.1))) as core:
        record = await core.new()
        await core.control.stop(ADA, record.name)
        await core.until(record.name, ClusterState.STOPPED)
        assert alive(core) == []


async def test_scaling_down_while_workers_are_being_submitted_leaves_nothing(tmp_path: Path, world: World) -> None:
    async with running_core(tmp_path, world=world, dials=Dials(worker=JobDials(submit_takes_s=0.1))) as core:
        record = await core.running()
        await core.control.scale(ADA, record.name, 3)
        await core.until_workers(record.name, 3, WorkerState.PENDING)
        await core.control.scale(ADA, record.name, 0)
        await core.until_workers(record.name, 0)
        await eventually(lambda: len(alive(core)) == 1)
        assert alive(core) == [record.scheduler.job.job_id]


async def test_clusters_go_on_over_a_killed_server(tmp_path: Path, world: World) -> None:
    async with running_core(tmp_path, world=world) as core:
        record = await core.running(workers=2)
    before = dict.fromkeys(world.things)
    async with running_core(tmp_path, world=world) as core:
        assert dict.fromkeys(alive(core)) == before
        record = await core.until(record.name, ClusterState.RUNNING)
        await eventually(lambda: linked(core, record.name))
        assert core.routes.get(record.name)
        await core.control.scale(ADA, record.name, 3)
        await core.until_workers(record.name, 3)
        sentences = [e.reason.code for e in await core.control.events(ADA, record.name)]
        assert ReasonCode.SERVER_RESTARTED in sentences
        assert ReasonCode.SCHEDULER_LINK_BACK in sentences


async def test_what_nobody_asked_for_is_removed_at_the_next_start(tmp_path: Path, world: World) -> None:
    async with running_core(tmp_path, world=world) as core:
        await core.running(workers=1)
    (tmp_path / "another").mkdir()
    async with running_core(tmp_path / "another", world=world) as core:
        await eventually(lambda: alive(core) == [])


async def test_a_job_that_died_while_the_server_was_away_ends_its_cluster(tmp_path: Path, world: World) -> None:
    async with running_core(tmp_path, world=world) as core:
        record = await core.running()
    core.backend.kill(record.scheduler.job.job_id)
    async with running_core(tmp_path, world=world) as core:
        record = await core.until(record.name, ClusterState.FAILED)
        assert record.reason.code is ReasonCode.SCHEDULER_ENDED


async def test_a_server_killed_in_the_middle_of_a_submit_leaves_one_scheduler(tmp_path: Path, world: World) -> None:
    async with running_core(tmp_path, world=world, dials=Dials(scheduler=JobDials(submit_takes_s=5))) as core:
        record = await core.new()
        await eventually(lambda: bool(core.backend.submits))
    async with running_core(tmp_path, world=world) as core:
        await core.until(record.name, ClusterState.RUNNING)
        assert len(alive(core)) == 1


async def test_a_lost_link_is_told_and_the_cluster_goes_on(core: Core) -> None:
    record = await core.running(workers=1)
    await core.agent(record.name).cut()
    await eventually(lambda: len(core.agent(record.name).heard) > 4)
    await core.control.scale(ADA, record.name, 2)
    await core.until_workers(record.name, 2)
