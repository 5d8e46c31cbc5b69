"""A database that several servers use, dumped and put back: what still runs is found again, the rest is ended."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..chaos import shared_processes
from ..chaos.servers_run import Replica, end_proxies, free_port, settings_of
from ..postgresql import PostgreSQL
from ..server.core import eventually
from ..server.serving import created, leftovers, reached

pytestmark = pytest.mark.real


def client(port: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", auth=("ada", "chaos"), timeout=30, trust_env=False)


async def test_a_dump_of_a_database_in_use_is_a_backup(tmp_path: Path, postgresql: PostgreSQL) -> None:
    database, shared, dump = postgresql.new_database(), tmp_path / "shared", tmp_path / "sluice.dump"
    servers = []
    for name in ("one", "two"):
        server = Replica(tmp_path / name, port=(port := free_port()))
        server.document = settings_of(server, port, database, shared, port)
        servers.append(server)
    one, two = (server.document["listen"]["port"] for server in servers)
    try:
        await asyncio.gather(*(server.start() for server in servers))
        async with client(one) as ada:
            stays, ends = (await created(ada))["name"], (await created(ada))["name"]
            await asyncio.to_thread(postgresql.dump, database, dump)
            later = (await created(ada))["name"]
            await ada.delete(f"/api/v2/clusters/{ends}")
            await reached(ada, ends, "stopped")
        for server in servers:
            assert await server.stop() == 0
        running = {f"{stays}-scheduler", f"{later}-scheduler"}
        assert shared_processes.jobs(shared) == running, "servers that share a database end no clusters when they stop"
        await asyncio.to_thread(postgresql.restore, database, dump)
        await asyncio.gather(*(server.start() for server in servers))
        async with client(two) as ada:
            assert (await reached(ada, stays, "running"))["name"] == stays
            await reached(ada, ends, "failed")
            assert (await ada.get(f"/api/v2/clusters/{later}")).status_code == 404
            await until_only(shared, {f"{stays}-scheduler"})
            linked: Any = await ada.post(f"/api/v2/clusters/{stays}/scale", json={"count": 1})
            assert linked.status_code == 200
            await until_only(shared, {f"{stays}-scheduler", f"{stays}-worker-1"})
            await ada.delete(f"/api/v2/clusters/{stays}")
            await until_only(shared, set())
    finally:
        for server in servers:
            if server.lives:
                await server.stop()
            end_proxies(server.data_dir)
        for place in (shared / "jobs").glob("*/*"):
            await shared_processes.end(place)
    assert not [line for server in servers for line in leftovers(server.data_dir)]


async def until_only(shared: Path, jobs: set[str]) -> None:
    await eventually(lambda: shared_processes.jobs(shared) == jobs)
