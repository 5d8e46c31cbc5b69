"""Servers and proxies as processes that share nothing but a secret and a network: `dask-sluice proxy`.

What a proxy carries depends on no server; a server depends on no proxy; each finds the other again, whoever comes
first; and of several servers a proxy asks one that answers.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from distributed import Client

from dask_sluice import Gateway
from dask_sluice.wire.processes import process_ids, process_stat

from ..postgresql import PostgreSQL, address
from .serving import PATIENCE_S, ServerProcess, created, reached

TOKEN = "a-secret-of-at-least-16-characters"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Return once it holds; looked at often, since nothing tells."""
    async with asyncio.timeout(PATIENCE_S):
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


class Proxies:
    """`dask-sluice proxy` on a port of its own."""

    def __init__(self, folder: Path, *servers: str, port: int = 0, options: tuple[str, ...] = ()) -> None:
        token_file = folder / "proxy-token"
        token_file.write_text(TOKEN + "\n")
        self._command = ["--token-file", str(token_file), "--port", str(port), *options]
        for server in servers:
            self._command += ["--server", server]
        self.url = ""
        self._log = folder / "proxies.log"
        self.process: asyncio.subprocess.Process

    async def start(self) -> Proxies:
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "dask_sluice", "proxy", *self._command, stdout=asyncio.subprocess.PIPE, stderr=log
            )
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            line = (await self.process.stdout.readline()).decode()
        assert line.startswith("listening: "), line + self.log()
        self.url = line.removeprefix("listening: ").strip()
        return self

    def log(self) -> str:
        return self._log.read_text()

    @property
    def address(self) -> tuple[str, int]:
        url = httpx.URL(self.url)
        return url.host, url.port or 0

    def children(self) -> list[int]:
        stats = {pid: process_stat(pid) for pid in process_ids()}
        return [pid for pid, stat in stats.items() if stat is not None and _parent(pid) == self.process.pid]

    async def health(self) -> int:
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(f"{self.url}/health/proxy")).status_code

    async def is_ready(self) -> bool:
        return await self.health() == 200

    async def wait(self) -> int:
        async with asyncio.timeout(PATIENCE_S):
            return await self.process.wait()

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGTERM)
            await self.wait()


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


class Site:
    """Starts servers and proxies, and ends them."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder, self._stack = folder, stack

    async def server(self, name: str, port: int, **settings: Any) -> ServerProcess:
        server = ServerProcess(self.folder / name, **apart(port), **settings)
        self._stack.push_async_callback(_ended, server)
        return await server.start()

    async def proxies(self, *servers: str, options: tuple[str, ...] = (), port: int = 0) -> Proxies:
        proxies = Proxies(self.folder, *servers, port=port, options=options)
        self._stack.push_async_callback(proxies.end)
        return await proxies.start()


def apart(port: int) -> dict[str, Any]:
    url = f"http://127.0.0.1:{port}"
    return {"listen": {"for_proxies": f"127.0.0.1:{port}", "agent_url": url, "proxy_token": TOKEN}}


async def _ended(server: ServerProcess) -> None:
    if server.process.returncode is None:
        await server.stop()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        yield Site(tmp_path, stack)


async def test_clients_compute_on_while_the_only_server_is_killed_and_started_again(site: Site) -> None:
    port = free_port()
    server = await site.server("one", port, backend="local")
    proxies = await site.proxies(f"http://127.0.0.1:{port}")
    async with (
        Gateway(f"{proxies.url}/?token={server.token}", asynchronous=True) as gateway,
        await gateway.new_cluster() as cluster,
    ):
        await cluster.scale(1)
        async with Client(cluster, asynchronous=True, set_as_default=False) as client:
            assert await client.submit(sum, [1, 2]) == 3
            connection = client.scheduler_comm
            await server.kill()
            assert await client.submit(sum, [3, 4]) == 7
            assert await proxies.is_ready()
            await server.start()
            async with server.client() as api:
                assert (await reached(api, cluster.name, "running"))["name"] == cluster.name
            assert await client.submit(sum, [5, 6]) == 11
            assert client.scheduler_comm is connection, "the connection to the scheduler was never cut"


async def test_whoever_comes_first_waits_for_the_other(site: Site) -> None:
    port = free_port()
    proxies = await site.proxies(f"http://127.0.0.1:{port}")
    assert await proxies.health() == 503
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{proxies.url}/health/proxy/live")).status_code == 200
        assert (await client.get(f"{proxies.url}/health/ready")).status_code == 503
    server = await site.server("one", port)  # says that it is ready, whether or not a proxy is there
    await until(proxies.is_ready)
    async with server.client() as api:
        assert (await api.get("/health/ready")).status_code == 200


async def test_of_several_servers_the_proxy_asks_one_that_lives(site: Site, postgresql: PostgreSQL) -> None:
    database = {"url": address(postgresql.new_database())}
    ports = free_port(), free_port()
    servers = [await site.server(f"server-{port}", port, database=database) for port in ports]
    proxies = await site.proxies(*(f"http://127.0.0.1:{port}" for port in ports))
    await until(proxies.is_ready)
    for killed, survivor in ((servers[0], servers[1]), (servers[1], servers[0])):
        await killed.kill()
        header = {"Authorization": f"Bearer {survivor.token}"}
        async with httpx.AsyncClient(base_url=proxies.url, headers=header, trust_env=False, timeout=30) as client:
            cluster = await created(client)
            # The route has come to the proxy: it knows the cluster, behind which the fake has nothing.
            await until(lambda cluster=cluster, client=client: _is_routed(client, cluster["name"]))  # type: ignore[misc]
        await killed.start()


async def _is_routed(client: httpx.AsyncClient, name: str) -> bool:
    answer = await client.get(f"/clusters/{name}/status")
    return answer.json()["code"] in ("no_dashboard", "scheduler_unreachable")


async def test_only_a_proxy_is_believed_about_where_a_request_comes_from(site: Site) -> None:
    port = free_port()
    server = await site.server("one", port)
    proxies = await site.proxies(f"http://127.0.0.1:{port}")
    await until(proxies.is_ready)
    forged = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}
    async with (
        httpx.AsyncClient(base_url=server.url, trust_env=False) as direct,
        httpx.AsyncClient(base_url=proxies.url, trust_env=False) as through,
    ):
        for client, address in ((direct, server.url), (through, proxies.url)):
            page = await client.get("/", params={"token": server.token}, headers=forged, follow_redirects=True)
            assert "evil.example" not in page.text
            assert address in page.text


async def test_a_proxy_with_another_secret_learns_nothing(site: Site) -> None:
    port = free_port()
    server = ServerProcess(
        site.folder / "one", **{**apart(port), "listen": {**apart(port)["listen"], "proxy_token": "x" * 20}}
    )
    await server.start()
    try:
        proxies = await site.proxies(f"http://127.0.0.1:{port}")

        async def is_said() -> bool:
            return "answered 401 to /api/v2/routes" in proxies.log()

        await until(is_said)
        assert await proxies.health() == 503
    finally:
        await server.stop()


async def test_a_proxy_that_dies_is_replaced(site: Site) -> None:
    proxies = await site.proxies("http://127.0.0.1:9")
    (child,) = proxies.children()
    os.kill(child, signal.SIGKILL)

    async def is_replaced() -> bool:
        return proxies.children() not in ([], [child])

    await until(is_replaced)
    assert await proxies.health() == 503


async def test_nothing_is_left_and_the_port_is_free_when_it_is_killed(site: Site) -> None:
    proxies = await site.proxies("http://127.0.0.1:9")
    children = proxies.children()
    proxies.process.kill()
    await proxies.wait()

    async def are_gone() -> bool:
        return not any(pid in process_ids() for pid in children)

    await until(are_gone)
    again = await site.proxies("http://127.0.0.1:9", port=proxies.address[1])
    assert again.url == proxies.url


async def test_what_is_carried_goes_on_while_it_stops_and_nothing_new_is_taken(site: Site) -> None:
    port = free_port()
    server = await site.server("one", port, backend="local")
    proxies = await site.proxies(f"http://127.0.0.1:{port}", options=("--grace", "600"))
    async with (
        Gateway(f"{proxies.url}/?token={server.token}", asynchronous=True) as gateway,
        await gateway.new_cluster() as cluster,
    ):
        await cluster.scale(1)
        async with Client(cluster, asynchronous=True, set_as_default=False) as client:
            proxies.process.send_signal(signal.SIGTERM)

            async def takes_nothing_new() -> bool:
                try:
                    _, writer = await asyncio.open_connection(*proxies.address)
                except ConnectionRefusedError:
                    return True
                writer.close()
                return False

            await until(takes_nothing_new)
            assert await client.submit(sum, [1, 2]) == 3
            assert proxies.process.returncode is None
        proxies.process.send_signal(signal.SIGTERM)
        assert await proxies.wait() == 0
        other = await site.proxies(f"http://127.0.0.1:{port}", port=proxies.address[1])
        await until(other.is_ready)


@pytest.mark.parametrize(
    ("token", "arguments", "says"),
    [
        (TOKEN, ["--server", "server:8000"], "must be an address such as http://server:8000, not 'server:8000'"),
        ("short", ["--server", "http://server:8000"], "has 5 characters; it needs at least 16"),
        (None, ["--server", "http://server:8000"], "the token file cannot be read"),
        (TOKEN, [], "Missing option '--server'"),
    ],
)
def test_a_wrong_command_line_is_named(tmp_path: Path, token: str | None, arguments: list[str], says: str) -> None:
    file = tmp_path / "token"
    if token is not None:
        file.write_text(token)
    command = [sys.executable, "-m", "dask_sluice", "proxy", "--token-file", str(file), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 2
    assert says in done.stderr


def test_a_server_without_proxies_needs_to_know_where_schedulers_reach_it(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("listen:\n  for_proxies: 0.0.0.0:8000\n")
    command = [sys.executable, "-m", "dask_sluice", "check-config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 2
    assert "for_proxies needs agent_url" in done.stderr
