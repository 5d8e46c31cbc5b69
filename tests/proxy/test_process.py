"""The proxy as a process: it starts light, outlives its parent and its server, and stops when asked."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from dask_sluice.proxy.settings import Settings, SettingsInvalid, parse_settings

from .conftest import StartProxy
from .rig import Proxy, Server, client_hello, echo, raw_scheduler


async def _passes(proxy: Proxy, name: str = "c1") -> bool:
    reader, writer = await asyncio.open_connection(*proxy.address)
    sent = client_hello(f"daskgateway-{name}")
    writer.write(sent)
    try:
        async with asyncio.timeout(10):
            return await reader.read(len(sent)) == sent
    finally:
        writer.close()


async def test_routes_stay_in_force_without_the_server_and_are_replaced_when_it_is_back(
    server: Server, proxy: Proxy
) -> None:
    async with raw_scheduler(echo) as port:
        server.put("c1", port)
        server.put("c2", port)
        assert await _passes(proxy)
        await server.stop()
        assert await _passes(proxy)
        del server.routes["c1"]
        await server.start()
        async with asyncio.timeout(20):
            while await _passes(proxy, "c1"):  # until the snapshot is there: nothing tells when
                pass
        assert await _passes(proxy, "c2")


async def test_a_proxy_started_before_its_server_finds_it(server: Server, start_proxy: StartProxy) -> None:
    await server.stop()
    proxy = start_proxy()
    await asyncio.sleep(0.3)
    async with raw_scheduler(echo) as port:
        server.put("c1", port)
        await server.start()
        async with asyncio.timeout(10):
            await server.listening_to_routes.wait()
        assert await _passes(proxy)


async def test_routes_that_cannot_be_read_do_not_end_the_proxy(server: Server, proxy: Proxy) -> None:
    server._tell({"put": {"no": "name"}})
    async with raw_scheduler(echo) as port:
        server.put("c1", port)
        async with asyncio.timeout(10):
            while not await _passes(proxy):
                pass
    assert "routes that cannot be read" in proxy.log


async def test_it_stops_at_once_when_nothing_is_carried(proxy: Proxy) -> None:
    async with httpx.AsyncClient(base_url=proxy.url) as client:
        await client.get("/")
        proxy.processes[0].send_signal(signal.SIGTERM)
        started = time.monotonic()
        assert await asyncio.to_thread(proxy.processes[0].wait, 10) == 0
        assert time.monotonic() - started < 2


async def test_it_lets_a_running_request_finish(server: Server, proxy: Proxy) -> None:
    async with httpx.AsyncClient(base_url=proxy.url) as client, client.stream("GET", "/ticks") as answer:
        proxy.processes[0].send_signal(signal.SIGTERM)
        received = b"".join([piece async for piece in answer.aiter_raw()])
    assert received.count(b"data:") == 3
    assert await asyncio.to_thread(proxy.processes[0].wait, 10) == 0


async def test_it_cuts_connections_to_schedulers_after_a_grace(server: Server, proxy: Proxy) -> None:
    async with raw_scheduler(echo) as port:
        server.put("c1", port)
        reader, writer = await asyncio.open_connection(*proxy.address)
        sent = client_hello("daskgateway-c1")
        writer.write(sent)
        await reader.readexactly(len(sent))
        proxy.processes[0].send_signal(signal.SIGTERM)
        started = time.monotonic()
        writer.write(b"still carried")
        assert await reader.readexactly(13) == b"still carried"
        assert await asyncio.to_thread(proxy.processes[0].wait, 10) == 0
        assert 4 < time.monotonic() - started < 7
        assert await reader.read(-1) == b""
        writer.close()


async def test_several_processes_share_one_listening_socket(server: Server, start_proxy: StartProxy) -> None:
    proxy = start_proxy(count=2)
    async with raw_scheduler(echo) as port:
        server.put("c1", port)
        async with asyncio.timeout(20):
            while [process.poll() for process in proxy.processes] != [None, None] or not await _passes(proxy):
                pass
        assert all([await _passes(proxy) for _ in range(50)])
        proxy.processes[0].send_signal(signal.SIGTERM)
        await asyncio.to_thread(proxy.processes[0].wait, 10)
        assert all([await _passes(proxy) for _ in range(50)])


async def test_running_out_of_file_descriptors_is_survived(server: Server, proxy: Proxy) -> None:
    resource.prlimit(proxy.processes[0].pid, resource.RLIMIT_NOFILE, (24, 24))
    async with raw_scheduler(echo) as port:
        server.put("c1", port)
        idle = [socket.create_connection(proxy.address) for _ in range(40)]
        await asyncio.sleep(0.5)
        assert "cannot accept connections" in proxy.log
        for sock in idle:
            sock.close()
        async with asyncio.timeout(10):
            assert await _passes(proxy)


async def test_it_is_small(proxy: Proxy) -> None:
    async with httpx.AsyncClient(base_url=proxy.url) as client:
        await client.get("/")
    assert proxy.resident_bytes() < 30 * 1024 * 1024


def test_starting_loads_nothing_heavy() -> None:
    code = "import dask_sluice.proxy.__main__, sys; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & {"distributed", "dask", "websockets", "httpx", "pydantic", "cryptography", "uvicorn"}


def test_it_outlives_the_process_that_started_it(proxy: Proxy) -> None:
    assert proxy.processes[0].poll() is None  # standard input is closed already, and it runs
    with open(f"/proc/{proxy.processes[0].pid}/stat") as stat:
        session = int(stat.read().rpartition(")")[2].split()[3])
    assert session == proxy.processes[0].pid


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("{", "not JSON"),
        ("[]", "one JSON object"),
        ('{"listen_fd": 3, "server": "unix:/x"}', "'token' is missing"),
        ('{"listen_fd": 3, "server": "unix:/x", "token": "t", "prefx": ""}', "Did you mean 'prefix'?"),
        ('{"listen_fd": true, "server": "unix:/x", "token": "t"}', "'listen_fd' must be a number"),
        ('{"listen_fd": 3, "server": "x", "token": "t"}', "'server' must be"),
        ('{"listen_fd": 3, "server": "unix:/x", "token": "t", "prefix": "dask"}', "must begin with '/'"),
        ('{"listen_fd": 3, "server": "unix:/x", "token": "t", "log_level": "loud"}', "must be one of"),
    ],
)
def test_settings_that_cannot_be_used_are_named(document: str, says: str) -> None:
    with pytest.raises(SettingsInvalid, match=says.replace("?", r"\?").replace("(", r"\(")):
        parse_settings(document)


def test_a_token_is_not_shown() -> None:
    assert "secret" not in repr(Settings(listen_fd=3, server="unix:/x", token="secret"))


def test_a_wrong_setting_stops_the_start_with_a_sentence() -> None:
    done = subprocess.run([sys.executable, "-m", "dask_sluice.proxy"], input=b"{}", capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (2, b"dask-sluice proxy: The proxy setting 'listen_fd' is missing.\n")
