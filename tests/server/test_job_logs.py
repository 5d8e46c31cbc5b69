"""Logs of the living and the dead, whole and as they are written, for those who may read them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dask_sluice.client.async_gateway import AsyncGateway
from dask_sluice.server.backends.fake import FakeBackend
from dask_sluice.server.changes import Changes
from dask_sluice.server.clock import SystemClock
from dask_sluice.server.control import Control
from dask_sluice.server.job_logs import last
from dask_sluice.server.policy import Policy
from dask_sluice.wire.errors import ClusterNotFound, NotSupported, RequestInvalid
from dask_sluice.wire.states import ClusterState

from .core import ADA, GRACE, ROOT, eventually, running_core
from .serving import ServerProcess


class Mute:
    """A backend that shows nothing of what its jobs write."""

    describe = FakeBackend.describe


async def test_a_strangers_log_looks_like_no_cluster_and_administrators_read_all(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        record = await core.running(ADA, workers=1)
        assert "running" in await core.control.logs(ROOT, record.name, None, max_bytes=1000)
        for worker in (None, "worker-1"):
            with pytest.raises(ClusterNotFound):
                await core.control.logs(GRACE, record.name, worker, max_bytes=1000)
            with pytest.raises(ClusterNotFound):
                await core.control.follow_logs(GRACE, record.name, worker)
        with pytest.raises(RequestInvalid, match="no worker 'worker-9'"):
            await core.control.follow_logs(ADA, record.name, "worker-9")


async def test_a_backend_that_reads_no_logs_is_said_to(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        record = await core.running(ADA)
        mute = Control(core.store, Policy(), Mute(), Changes(), SystemClock())  # type: ignore[arg-type]
        with pytest.raises(NotSupported, match="the fake backend cannot show what schedulers and workers write"):
            await mute.logs(ADA, record.name, None, max_bytes=1000)
        with pytest.raises(NotSupported, match="cannot follow"):
            await mute.follow_logs(ADA, record.name, None)


async def test_following_goes_on_until_the_process_has_ended_and_misses_nothing(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        record = await core.running(ADA, workers=1)
        parts = await core.control.follow_logs(ADA, record.name, "worker-1")
        async with asyncio.timeout(10):
            first = await anext(parts)
            assert first.text == f"{record.workers[0].job.job_id}: running\n"
            core.backend.kill(record.workers[0].job.job_id)
            rest = [part.text async for part in parts]
        assert "".join(rest) == f"{record.workers[0].job.job_id}: ended\n"
        resumed = await core.control.follow_logs(ADA, record.name, "worker-1", position=first.position)
        assert [part.text async for part in resumed] == rest
        await core.control.stop(ADA, record.name)
        await core.until(record.name, ClusterState.STOPPED)
        ended = await core.control.follow_logs(ADA, record.name, None, lines=1)
        assert "".join([part.text async for part in ended]).endswith("-scheduler: ended\n")


def test_the_last_lines_are_what_they_say() -> None:
    assert last("a\nb\nc", None) == "a\nb\nc"
    assert last("a\nb\nc", 2) == "b\nc"
    assert last("a\n", 0) == ""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    server = await ServerProcess(tmp_path / "data", backend="local").start()
    yield server
    if server.process.returncode is None:
        assert await server.stop() == 0
    await eventually(lambda: not server.leftovers())


def pid_of(server: ServerProcess, name: str, job: str) -> int:
    return int((server.data_dir / "clusters" / name / f"{name}-{job}.pid").read_text().split()[0])


async def test_logs_of_real_processes_living_and_dead(server: ServerProcess) -> None:
    async with AsyncGateway(f"{server.url}/?token={server.token}") as gateway:
        view = await gateway.wait_until_running(await gateway.create({}))
        await gateway.scale_cluster(view.name, 1)

        async def state(*states: str) -> bool:
            return [worker.state.value for worker in await gateway.workers(view.name)] == list(states)

        await eventually(lambda: state("running"))
        found: list[str] = []

        async def follow() -> None:
            async for text in gateway.follow_logs(view.name, "worker-1"):
                found.append(text)

        following = asyncio.create_task(follow())
        await eventually(lambda: bool(found))
        os.kill(pid_of(server, view.name, "worker-1"), signal.SIGKILL)
        await asyncio.wait_for(following, 30)
        await eventually(lambda: state("failed", "running"))

        logs = await gateway.get_logs(view.name)
        assert list(logs) == ["Cluster", "Scheduler", "worker-1", "worker-2"]
        assert "worker-1: killed by SIGKILL" in logs["Cluster"]
        assert "Register worker" in logs["Scheduler"]
        assert "".join(found) == logs["worker-1"]
        assert list(await gateway.get_logs(view.name, False, True, ["worker-2"], lines=1)) == ["Scheduler", "worker-2"]

        os.kill(pid_of(server, view.name, "scheduler"), signal.SIGKILL)
        async for text in gateway.follow_logs(view.name, lines=10**6):
            found.append(text)
        assert found[-1].startswith(logs["Scheduler"][:100])
        assert logs["Scheduler"] in await gateway.logs(view.name)
        assert (await gateway.logs(view.name, lines=1)).count("\n") == 1
        with pytest.raises(ClusterNotFound):
            await gateway.get_logs("nobody-1")


async def test_following_outlives_a_restart_of_the_server(server: ServerProcess) -> None:
    async with AsyncGateway(f"{server.url}/?token={server.token}") as gateway:
        view = await gateway.wait_until_running(await gateway.create({}))
        found: list[str] = []

        async def follow() -> None:
            async for text in gateway.follow_logs(view.name):
                found.append(text)

        following = asyncio.create_task(follow())
        await eventually(lambda: bool(found))
        await server.kill()
        await server.start()
        await gateway.stop_cluster(view.name)
        await asyncio.wait_for(following, 60)
        assert "".join(found) == await gateway.logs(view.name)
