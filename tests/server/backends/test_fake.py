"""The fake backend passes the suite that every backend passes, and its dials do what they say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from dask_sluice.server.backends.fake import PRESETS, Dials, FakeBackend, JobDials, World
from dask_sluice.server.backends.protocol import Backend, Job, JobKind, JobState, Refused, Size, Unavailable
from dask_sluice.server.clock import ManualClock
from dask_sluice.wire.launch import SchedulerLaunch, TLSFiles, WorkerLaunch

from .conformance import BackendConformance, Harness, submit

NO_TLS = TLSFiles(ca_certificate="", certificate="", key="")


def scheduler_job(cluster: str) -> Job:
    launch = SchedulerLaunch(
        role="scheduler",
        cluster=cluster,
        host="127.0.0.1",
        port=0,
        dashboard_port=0,
        tls=NO_TLS,
        link_url="",
        link_token="",
        link_ca=None,
    )
    return Job(f"{cluster}-scheduler", JobKind.SCHEDULER, cluster, "ada", Size(1, 0, 1), "", launch)


def worker_job(cluster: str, number: int) -> Job:
    launch = WorkerLaunch(
        role="worker",
        cluster=cluster,
        name=f"worker-{number}",
        scheduler_address="tls://127.0.0.1:8786",
        host="127.0.0.1",
        threads=1,
        memory_limit_bytes=0,
        local_directory="",
        tls=NO_TLS,
        max_restarts=3,
        restart_window_s=60,
    )
    return Job(f"{cluster}-worker-{number}", JobKind.WORKER, cluster, "ada", Size(1, 0, 1), "", launch)


class FakeHarness(Harness):
    def __init__(self) -> None:
        self._world = World()
        self._dials = Dials(
            worker=JobDials(), scheduler=JobDials(connect_after_s=None, last_lines="Traceback: it fell over")
        )
        self._backend = FakeBackend(world=self._world, dials=self._dials)

    @property
    def backend(self) -> Backend:
        return self._backend

    async def reopen(self) -> Backend:
        await self._backend.close()
        self._backend = FakeBackend(world=self._world, dials=self._backend.dials)
        return self._backend

    def scheduler_job(self, cluster: str) -> Job:
        return scheduler_job(cluster)

    def worker_job(self, cluster: str, number: int) -> Job:
        return worker_job(cluster, number)

    def dying_job(self, cluster: str) -> Job:
        self._backend.dials = Dials(
            scheduler=JobDials(connect_after_s=None, end_after_s=0.01, last_lines="Traceback: it fell over")
        )
        return scheduler_job(cluster)

    def refused_job(self, cluster: str) -> Job:
        self._backend.dials = PRESETS["refused"]
        return scheduler_job(cluster)

    async def leftovers(self) -> Sequence[str]:
        return [key for key, thing in self._world.things.items() if thing.state is not JobState.ENDED]


class TestFakeBackend(BackendConformance):
    @pytest.fixture
    async def harness(self) -> AsyncIterator[FakeHarness]:
        harness = FakeHarness()
        await harness.backend.start()
        yield harness
        await harness.backend.close()
        for thing in harness._world.things.values():
            for task in thing.tasks:
                task.cancel()


async def test_a_job_waits_in_the_queue_as_long_as_the_dial_says() -> None:
    clock = ManualClock()
    backend = FakeBackend(dials=PRESETS["slow_to_start"], clock=clock)
    handles = await submit(backend, scheduler_job("one"))
    await clock.advance(19)
    assert (await backend.observe(handles))[0].state is JobState.PENDING
    await clock.advance(1)
    assert (await backend.observe(handles))[0].state is JobState.RUNNING


async def test_a_job_gets_lost_when_the_dial_says() -> None:
    clock = ManualClock()
    backend = FakeBackend(dials=PRESETS["workers_get_lost"], clock=clock)
    handles = await submit(backend, worker_job("one", 1))
    await clock.advance(60)
    look = (await backend.observe(handles))[0]
    assert (look.state, look.signal) == (JobState.ENDED, "SIGKILL")


async def test_an_unavailable_backend_answers_no_call() -> None:
    backend = FakeBackend(dials=Dials(unavailable="the controller is down"))
    for call in (backend.observe([]), backend.recover(), submit(backend, scheduler_job("one"))):
        with pytest.raises(Unavailable, match="controller is down"):
            await call


async def test_a_refused_job_is_never_out_there() -> None:
    backend = FakeBackend(dials=PRESETS["refused"])
    with pytest.raises(Refused, match="queue"):
        await submit(backend, scheduler_job("one"))
    assert not backend.world.things


async def test_a_slow_submit_can_be_cut_before_anything_exists() -> None:
    clock = ManualClock()
    backend = FakeBackend(dials=Dials(scheduler=JobDials(submit_takes_s=5)), clock=clock)
    submitting = asyncio.create_task(submit(backend, scheduler_job("one")))
    await clock.advance(1)
    submitting.cancel()
    await asyncio.gather(submitting, return_exceptions=True)
    assert not backend.world.things
