"""A real server over the local backend: clusters are processes, and they outlive it when they should."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from .core import eventually
from .serving import ServerProcess, created, reached


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    server = await ServerProcess(tmp_path / "data", backend="local").start()
    yield server
    if server.process.returncode is None:
        assert await server.stop() == 0
    await eventually(lambda: not server.leftovers())


async def scaled(client: httpx.AsyncClient, name: str, count: int) -> list[dict[str, Any]]:
    """The cluster's running workers once there are so many."""
    (await client.post(f"/api/v2/clusters/{name}/scale", json={"count": count})).raise_for_status()
    running: list[dict[str, Any]] = []

    async def there() -> bool:
        workers = (await client.get(f"/api/v2/clusters/{name}/workers")).json()
        running[:] = [worker for worker in workers if worker["state"] == "running"]
        return len(running) == count

    await eventually(there)
    return running


def scheduler_pid(server: ServerProcess, name: str) -> int:
    return int((server.data_dir / "clusters" / name / f"{name}-scheduler.pid").read_text().split()[0])


async def test_a_cluster_of_processes_scales_and_stops(server: ServerProcess) -> None:
    async with server.client() as client:
        name = (await created(client))["name"]
        await scaled(client, name, 2)
        await scaled(client, name, 1)
        (await client.delete(f"/api/v2/clusters/{name}")).raise_for_status()
        await reached(client, name, "stopped")
        await eventually(lambda: not [line for line in server.leftovers() if name in line])


async def test_a_killed_worker_is_replaced_and_a_killed_scheduler_ends_the_cluster(server: ServerProcess) -> None:
    async with server.client() as client:
        name = (await created(client))["name"]
        (worker,) = await scaled(client, name, 1)
        mark = server.data_dir / "clusters" / name / f"{name}-{worker['name']}.pid"
        os.kill(int(mark.read_text().split()[0]), signal.SIGKILL)

        async def replaced() -> bool:
            workers = (await client.get(f"/api/v2/clusters/{name}/workers")).json()
            return [w["state"] for w in workers] == ["failed", "running"] and "SIGKILL" in workers[0]["reason"][
                "sentence"
            ]

        await eventually(replaced)
        os.kill(scheduler_pid(server, name), signal.SIGKILL)
        cluster = await reached(client, name, "failed")
        assert "SIGKILL" in cluster["reason"]["sentence"]


async def test_clusters_go_on_over_a_killed_server_and_are_taken_up_by_the_next(server: ServerProcess) -> None:
    async with server.client() as client:
        name = (await created(client))["name"]
        await scaled(client, name, 2)
    before = scheduler_pid(server, name)
    await server.kill()
    os.kill(before, 0)
    await server.start()
    assert scheduler_pid(server, name) == before
    async with server.client() as client:
        assert len(await scaled(client, name, 3)) == 3
        events = (await client.get(f"/api/v2/clusters/{name}/events")).json()
        assert "server_restarted" in [event["code"] for event in events]
        (await client.delete(f"/api/v2/clusters/{name}")).raise_for_status()
        await reached(client, name, "stopped")


async def test_clusters_are_kept_over_a_stop_where_that_is_set(tmp_path: Path) -> None:
    server = await ServerProcess(tmp_path / "data", backend="local", on_stop="keep_clusters").start()
    async with server.client() as client:
        name = (await created(client))["name"]
    before = scheduler_pid(server, name)
    assert await server.stop() == 0
    os.kill(before, 0)
    last = await ServerProcess(tmp_path / "data", backend="local").start()
    async with last.client() as client:
        assert (await client.get(f"/api/v2/clusters/{name}")).json()["state"] == "running"
    assert await last.stop() == 0
    await eventually(lambda: not last.leftovers())
