"""People with real Dask clients: they compute all the time, keep a result, and look for it after every kill."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from typing import Any

import httpx
from distributed import Client

from dask_sluice import Gateway, GatewayCluster

from .local_site import DoomedServer

PATIENCE_S = 60.0
WORKERS = 2
GONE = (OSError, httpx.HTTPError)


async def ask(server: DoomedServer, method: str, path: str, **arguments: Any) -> httpx.Response:
    """The answer of whatever server is there, once one is; repeated as our client does, with the same key."""
    headers = {"Authorization": f"Bearer {server.token}", **arguments.pop("headers", {})}
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(*GONE):
                async with httpx.AsyncClient(
                    base_url=server.url, headers=headers, timeout=30, trust_env=False
                ) as client:
                    answer = await client.request(method, path, **arguments)
                    if answer.status_code < 500:
                        return answer
            await asyncio.sleep(0.05)


async def create(server: DoomedServer) -> str:
    """A new cluster's name."""
    key = {"Idempotency-Key": uuid.uuid4().hex}
    answer = await ask(server, "POST", "/api/v2/clusters", json={}, headers=key)
    return str(answer.raise_for_status().json()["name"])


async def scale(server: DoomedServer, name: str, count: int) -> bool:
    """Whether that was accepted; not where the cluster has ended."""
    return (await ask(server, "POST", f"/api/v2/clusters/{name}/scale", json={"count": count})).status_code == 200


async def stop(server: DoomedServer, name: str) -> None:
    (await ask(server, "DELETE", f"/api/v2/clusters/{name}")).raise_for_status()


class Tenant:
    """One person with one cluster, a client on it, a future and a published result."""

    def __init__(self, number: int, server: DoomedServer) -> None:
        self.name = ""
        self._number = number
        self._server = server
        self._gateway: Gateway | None = None
        self._cluster: GatewayCluster | None = None
        self._client: Any = None
        self._future: Any = None
        self._load: asyncio.Task[None] | None = None
        self._marker = ""

    async def settle_in(self) -> None:
        """A new cluster with a result in it."""
        await self.leave()
        self.name = await create(self._server)
        self._gateway = Gateway(f"{self._server.url}/?token={self._server.token}", asynchronous=True)
        async with asyncio.timeout(PATIENCE_S):
            self._cluster = await self._gateway.connect(self.name)
            await scale(self._server, self.name, WORKERS)
            self._client = await Client(self._cluster, asynchronous=True, set_as_default=False)
            self._marker = f"tenant {self._number} {uuid.uuid4().hex}"
            self._future = self._client.submit(str.upper, self._marker)
            assert await self._future == self._marker.upper()
            await self._client.publish_dataset(self._future, name="result")
        self._load = asyncio.create_task(self._compute())

    async def leave(self) -> None:
        """Let go of everything; the cluster goes on."""
        if self._load is not None:
            self._load.cancel()
            await asyncio.gather(self._load, return_exceptions=True)
        for each in (self._client, self._cluster, self._gateway):
            if each is not None:
                with contextlib.suppress(OSError, asyncio.TimeoutError, RuntimeError):
                    async with asyncio.timeout(10):
                        await each.close()
        self._load = self._client = self._cluster = self._gateway = self._future = None

    async def _compute(self) -> None:
        """Some work at all times."""
        while True:
            with contextlib.suppress(Exception):  # what breaks here is what the kills break
                tasks = [self._client.submit(time.sleep, 0.02, pure=False) for _ in range(4)]
                async with asyncio.timeout(5):
                    await self._client.gather(tasks)
            await asyncio.sleep(0.02)

    async def check(self, *, connection_held: bool) -> None:
        """Result and future are still there, and it computes."""
        if connection_held:
            assert not self._future.cancelled(), f"the future of {self.name} was lost"
        result = await self._persistently("result")
        assert result == self._marker.upper(), result

    async def _persistently(self, name: str) -> Any:
        """Through connections that are just being made anew."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                async with asyncio.timeout(10):
                    self._future = await self._client.get_dataset(name)
                    assert await self._client.submit(len, self._future, pure=False) == len(self._marker)
                    return await self._future
            # A client cancels its futures when its connection breaks.
            except (OSError, asyncio.TimeoutError, asyncio.CancelledError) as error:
                assert time.monotonic() < deadline, f"the data of {self.name} cannot be had: {error!r}"
            await asyncio.sleep(0.1)
