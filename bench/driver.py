"""One user of one gateway, in a process of their own that stays warm: `driver.py MODULE ADDRESS`.

Runs with either client, `dask_sluice` or `dask_gateway`, in the environment that it is started in, and does what
standard input asks for, one word a line; each answer is a line with the seconds that it took.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

SCATTERED_BYTES = 100_000_000
TASKS = 2000
WORKERS = 2


async def _until_running(count: int, dask_scheduler: Any) -> None:
    """In the scheduler: until so many workers are connected, to the millisecond."""

    def running() -> int:
        return sum(worker.status.name == "running" for worker in dask_scheduler.workers.values())

    while running() < count:  # noqa: ASYNC110 - distributed has no event for it
        await asyncio.sleep(0.001)


def _increment(number: int) -> int:
    return number + 1


class User:
    """What can be asked for. Each method does one thing and gives back how long it took."""

    def __init__(self, module: str, address: str) -> None:
        self._gateway = importlib.import_module(module).Gateway(address)
        self._cluster: Any = None
        self._client: Any = None
        self._direct: Any = None
        self._ended: list[Any] = []
        """Kept, since `dask_gateway.Gateway.__del__` waits for its event loop, for ever if called within it."""
        self._data = np.random.default_rng(0).integers(0, 255, SCATTERED_BYTES, dtype=np.uint8)

    def new_cluster(self) -> float:
        """Until a client of the new cluster has an answer from its scheduler."""
        started = time.perf_counter()
        self._cluster = self._gateway.new_cluster()
        self._client = self._cluster.get_client()
        self._client.nthreads()
        return time.perf_counter() - started

    def scale_up(self) -> float:
        """From 0 until all workers are connected, as the scheduler sees it."""
        started = time.perf_counter()
        self._cluster.scale(WORKERS)
        self._client.run_on_scheduler(_until_running, WORKERS)
        return time.perf_counter() - started

    def connect_directly(self) -> float:
        """A second client past the proxy, for the measures that end in `_direct`."""
        from distributed import Client

        started = time.perf_counter()
        address = self._client.scheduler_info()["address"]
        self._direct = Client(address, security=self._cluster.security, set_as_default=False)
        return time.perf_counter() - started

    def scatter(self) -> float:
        return self._scatter(self._client)

    def scatter_direct(self) -> float:
        return self._scatter(self._direct)

    def tasks(self) -> float:
        return _run_tasks(self._client)

    def tasks_direct(self) -> float:
        return _run_tasks(self._direct)

    def close(self) -> float:
        """Until nothing of the cluster is left, so that it takes no time from what is measured next."""
        started = time.perf_counter()
        for client in (self._direct, self._client):
            if client is not None:
                client.close()
        self._ended.append(self._cluster)
        name = self._cluster.name
        self._cluster.close()
        while self._gateway.get_cluster(name).status.name != "STOPPED":
            time.sleep(0.05)
        self._cluster = self._client = self._direct = None
        return time.perf_counter() - started

    def _scatter(self, client: Any) -> float:
        started = time.perf_counter()
        future = client.scatter(self._data, hash=False, direct=False)
        seconds = time.perf_counter() - started
        future.release()
        return seconds


def _run_tasks(client: Any) -> float:
    started = time.perf_counter()
    total = sum(client.gather(client.map(_increment, range(TASKS), pure=False)))
    seconds = time.perf_counter() - started
    assert total == TASKS * (TASKS + 1) // 2
    return seconds


def main() -> None:
    # What clients print must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    user = User(*sys.argv[1:])
    for line in sys.stdin:
        measure: Callable[[], float] = getattr(user, line.strip())
        print(measure(), file=answers, flush=True)


if __name__ == "__main__":
    main()
