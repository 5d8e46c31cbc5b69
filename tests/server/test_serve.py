"""A real server process: it starts, says so, outlives faults, and leaves nothing behind that it should not."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ..postgresql import PostgreSQL
from .core import eventually
from .serving import ServerProcess, created, reached


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerProcess]:
    server = await ServerProcess(tmp_path / "data").start()
    yield server
    await ended(server)


async def ended(*servers: ServerProcess) -> None:
    """However a test ends, nothing of its servers goes on."""
    for server in servers:
        if server.process.returncode is None:
            assert await server.stop() == 0
    await eventually(lambda: not servers[0].leftovers())


async def test_it_says_where_it_is_and_answers_there(server: ServerProcess) -> None:
    async with server.client() as client:
        cluster = await created(client)
        assert cluster["state"] == "running"
        assert (await client.get("/api/v2/clusters")).json()[0]["name"] == cluster["name"]


async def test_stopping_it_ends_clusters_and_proxies_and_tells_why(server: ServerProcess) -> None:
    async with server.client() as client:
        cluster = await created(client)
        waiting = asyncio.create_task(reached(client, cluster["name"], "stopped"))
        await asyncio.sleep(0.2)
        assert await server.stop() == 0
        assert (await waiting)["reason"]["code"] == "server_stopping"
    assert server.leftovers() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
async def test_other_signals_stop_it_as_well(server: ServerProcess, number: int) -> None:
    assert await server.stop(number) == 0


async def test_a_second_server_on_the_same_data_learns_of_the_first(server: ServerProcess) -> None:
    second = ServerProcess(server.data_dir)
    await second.launch()
    said = await second.error()
    assert f"another dask-sluice server already runs on {server.data_dir}" in said
    assert f"process {server.process.pid} at {server.url}" in said
    assert second.process.returncode == 1
    async with server.client() as client:
        assert (await client.get("/api/v2/clusters")).status_code == 200


async def test_a_second_server_learns_of_one_that_is_still_starting(tmp_path: Path) -> None:
    first, second = ServerProcess(tmp_path / "data"), ServerProcess(tmp_path / "data")
    await first.launch()
    lock = tmp_path / "data" / "server.lock"
    await eventually(lambda: lock.exists() and str(first.process.pid) in lock.read_text())
    await second.launch()
    assert f"another dask-sluice server already runs on {first.data_dir}" in await second.error()
    assert first.process.stdout is not None
    assert (await first.process.stdout.readline()).startswith(b"ready: ")
    await ended(first)


@pytest.mark.parametrize("when", ["starting", "ready"])
async def test_a_killed_server_leaves_the_data_directory_to_the_next(tmp_path: Path, when: str) -> None:
    first = ServerProcess(tmp_path / "data")
    lock = tmp_path / "data" / "server.lock"
    if when == "ready":
        await first.start()
    else:
        await first.launch()
        await eventually(lambda: lock.exists() and str(first.process.pid) in lock.read_text())
    await first.kill()
    second = await ServerProcess(tmp_path / "data").start()
    assert str(second.process.pid) in lock.read_text()
    await ended(second)


async def test_a_second_server_on_the_same_port_names_the_port(server: ServerProcess, tmp_path: Path) -> None:
    second = ServerProcess(tmp_path / "other", port=server.port)
    await second.launch()
    said = await second.error()
    assert f"port {server.port} on 127.0.0.1 is taken" in said
    assert "--port 0" in said
    assert second.leftovers() == []


async def test_a_strangers_port_is_named_too(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        server = ServerProcess(tmp_path / "data", port=stranger.getsockname()[1])
        await server.launch()
        assert "is taken by another program" in await server.error()


async def test_a_data_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    server = ServerProcess(Path("/proc/data"))
    await server.launch()
    assert "cannot use the data directory" in await server.error()


async def test_a_data_directory_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    server = ServerProcess(tmp_path / "data")
    await server.launch()
    assert f"cannot use the data directory {tmp_path / 'data'}" in await server.error()


async def test_a_database_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sluice.db").write_text("not a database at all, and long enough to be sure of it" * 100)
    server = ServerProcess(tmp_path / "data")
    await server.launch()
    assert "cannot use its database" in await server.error()
    assert server.leftovers() == []


async def test_a_killed_proxy_is_replaced_and_nobody_is_refused(server: ServerProcess) -> None:
    (old,) = server.proxies()
    os.kill(old, signal.SIGKILL)
    async with server.client() as client:
        assert (await client.get("/api/v2/clusters")).status_code == 200
    (new,) = server.proxies()
    assert new != old
    assert "ended by signal 9; starting another one" in server.log()


async def test_proxies_outlive_a_killed_server_and_are_taken_over(tmp_path: Path) -> None:
    first = await ServerProcess(tmp_path / "data").start()
    proxies = first.proxies()
    await first.kill()
    second = await ServerProcess(tmp_path / "data").start()
    assert second.proxies() == proxies
    assert second.port == first.port
    async with second.client() as client:
        assert (await client.get("/api/v2/clusters")).status_code == 200
        os.kill(proxies[0], signal.SIGKILL)
        await eventually(lambda: second.proxies() != proxies)
        assert (await client.get("/api/v2/clusters")).status_code == 200
    await ended(second)


async def test_proxies_with_other_settings_are_replaced(tmp_path: Path) -> None:
    first = await ServerProcess(tmp_path / "data").start()
    proxies = first.proxies()
    await first.kill()
    second = await ServerProcess(tmp_path / "data", listen={"port": 0, "hello_timeout_s": 3}).start()
    assert second.proxies() != proxies
    await ended(second)


async def test_it_never_imports_what_belongs_to_clusters() -> None:
    code = (
        "import sys, dask_sluice.server.app, dask_sluice.server.assembly, dask_sluice.server.http.app,"
        " dask_sluice.server.web, dask_sluice.server.backends.local;"
        "print([name for name in ('dask', 'distributed', 'bokeh', 'tornado', 'alembic') if name in sys.modules])"
    )
    found = await asyncio.to_thread(subprocess.check_output, [sys.executable, "-c", code], text=True)
    assert found.strip() == "[]"


async def test_servers_that_share_a_database_share_their_clusters(tmp_path: Path, postgresql: PostgreSQL) -> None:
    url = postgresql.new_database().set(drivername="postgresql").render_as_string()
    servers = [ServerProcess(tmp_path / name, database={"url": url}) for name in ("one", "two")]
    one, two = await asyncio.gather(*(server.start() for server in servers))
    try:
        async with one.client() as client, two.client() as other:
            cluster = await created(client)
            assert (await reached(other, cluster["name"], "running"))["name"] == cluster["name"]
            assert await one.stop() == 0
            still = (await other.get(f"/api/v2/clusters/{cluster['name']}")).json()
            assert still["state"] != "stopping", "one server's stop is not the clusters' end"
    finally:
        proxies = [pid for server in servers for pid in server.proxies()]
        for server in servers:
            if server.process.returncode is None:
                assert await server.stop() == 0
        for pid in proxies:  # they outlive their server, as its clusters' connections do
            os.kill(pid, signal.SIGTERM)
    await eventually(lambda: not one.leftovers() + two.leftovers())


async def test_a_database_that_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data", database={"url": f"postgresql://ada@/sluice?host={tmp_path}"})
    await server.launch()
    assert "cannot use its database postgresql://ada@/sluice" in await server.error()
