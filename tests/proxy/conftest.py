"""A server and a proxy for each test, both real; see rig.py."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .rig import Certificate, Proxy, Server, make_certificate

StartProxy = Callable[..., Proxy]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    # Not under tmp_path: a Unix socket's path may have only 107 characters.
    with tempfile.TemporaryDirectory(prefix="sluice-") as directory:
        server = Server(f"{directory}/server.sock")
        await server.start()
        yield server
        await server.stop()


@pytest.fixture
def start_proxy(server: Server, tmp_path: Path) -> Iterator[StartProxy]:
    """Starts a proxy with these settings before the test's server; all are ended after the test."""
    started: list[Proxy] = []

    def start(**settings: Any) -> Proxy:
        proxy = Proxy(f"unix:{server.path}", tmp_path / f"proxy-{len(started)}.log", **settings)
        started.append(proxy)
        return proxy

    yield start
    for proxy in started:
        proxy.close()


@pytest.fixture
async def proxy(server: Server, start_proxy: StartProxy) -> Proxy:
    """A proxy with its default settings, which has its routes."""
    proxy = start_proxy()
    async with asyncio.timeout(10):
        await server.listening_to_routes.wait()
    return proxy


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))
