"""A real API server that is gone for a while, and a token that is replaced: nothing is missed, nothing restarted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dask_sluice.server.backends.kubernetes.access import from_service_account
from dask_sluice.server.backends.protocol import JobState, Unavailable

from ..server.backends.conformance import running, submit, until
from .harness import KubernetesHarness, job
from .kube import Kube


class Wire:
    """A way to the API server that can be cut."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._to = (parts.hostname, parts.port or 443)
        self._ways: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for way in self._ways:
            way.transport.abort()
        await asyncio.sleep(0)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._to)
        self._ways |= {writer, there_writer}
        with contextlib.suppress(OSError):
            await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))
        for way in (writer, there_writer):
            way.close()
            self._ways.discard(way)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@pytest.fixture
async def wire(kube: Kube) -> AsyncIterator[Wire]:
    wire = Wire(kube.access.server)
    await wire.mend()
    yield wire
    await wire.cut()


async def test_what_happens_while_the_api_server_is_away_is_seen_when_it_is_back(
    kube: Kube, namespace: str, tmp_path: Path, wire: Wire
) -> None:
    account = kube.account(namespace, tmp_path / "account")
    access = replace(account, server=f"https://127.0.0.1:{wire.port}")
    harness = KubernetesHarness(kube, namespace, tmp_path, access)
    await harness.backend.start()
    (stays,) = await running(harness, job("one", "worker-1", "stay"))
    (goes,) = await running(harness, job("one", "worker-2", "stay"))
    await wire.cut()
    with pytest.raises(Unavailable, match="API server does not answer"):
        await submit(harness.backend, job("one", "worker-3", "stay"))
    kube.run("-n", namespace, "delete", "pod", goes.data["pod"], "--wait")
    with pytest.raises(Unavailable, match="API server does not answer"):
        while True:  # what was seen last is good for a moment
            assert (await harness.backend.observe([stays]))[0].state is JobState.RUNNING
            await asyncio.sleep(0.2)
    await wire.mend()
    async with asyncio.timeout(harness.patience_s):
        while True:
            with contextlib.suppress(Unavailable):
                states = [seen.state for seen in await harness.backend.observe([stays, goes])]
                if states == [JobState.RUNNING, JobState.ENDED]:
                    break
            await asyncio.sleep(0.1)
    await running(harness, job("one", "worker-3", "stay"))
    await harness.close()


async def test_a_token_that_is_replaced_is_used_from_then_on(kube: Kube, namespace: str, tmp_path: Path) -> None:
    directory = tmp_path / "account"
    kube.account(namespace, directory)
    harness = KubernetesHarness(kube, namespace, tmp_path, from_service_account(directory, kube.access.server))
    await harness.backend.start()
    (directory / "token").write_text("a token that has run out")
    with pytest.raises(Unavailable, match="does not accept this server's account"):
        await submit(harness.backend, job("one", "scheduler", "stay"))
    kube.new_token(namespace, directory)
    (handle,) = await submit(harness.backend, job("one", "scheduler", "stay"))
    await until(harness, handle, JobState.RUNNING)
    await harness.close()
