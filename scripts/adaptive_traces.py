"""Record what a real scheduler says of its work, look by look, as traces for tests of adaptive scaling.

A scheduler with workers in this process runs each kind of work; each second its `Load` is written down, and what
`decide` asks for is granted. The tests of `decide` play the traces back (tests/agent/test_adaptive_traces.py).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dask
from distributed import Client, LocalCluster

from dask_sluice.agent.adaptive import Adaptive, load_of

TRACES = Path(__file__).parent.parent / "tests" / "agent" / "traces"
EVERY_S, MAXIMUM = 1.0, 8
Work = Callable[[Client], Awaitable[None]]


async def _naps(client: Client, count: int, seconds: float) -> None:
    await client.gather(client.map(lambda _: time.sleep(seconds), range(count), pure=False))


async def burst(client: Client) -> None:
    """Much at once, then nothing."""
    await _naps(client, 200, 0.2)
    await asyncio.sleep(25)


async def drain(client: Client) -> None:
    """Ever less: what is left needs ever fewer workers."""
    for count in (120, 60, 30, 15, 8, 4, 2, 1):
        await _naps(client, count, 0.5)


async def long_tail(client: Client) -> None:
    """Short tasks, and two that take for ever."""
    await asyncio.gather(_naps(client, 100, 0.3), _naps(client, 2, 40))


async def tiny_tasks(client: Client) -> None:
    """A backlog of tasks that are known to take hardly any time, from somebody who adds to it without a pause."""
    await _naps(client, 100, 0.001)
    until = time.monotonic() + 40
    ahead = [_naps(client, 2000, 0.001) for _ in range(3)]
    waiting = {asyncio.ensure_future(one) for one in ahead}
    while waiting:
        _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if time.monotonic() < until:
            waiting.add(asyncio.ensure_future(_naps(client, 2000, 0.001)))


async def sawtooth(client: Client) -> None:
    """A person at a notebook: computes, thinks, computes."""
    for think_s in (6, 14, 4, 20, 8, 15):
        await _naps(client, 60, 0.5)
        await asyncio.sleep(think_s)


async def wait_on_io(client: Client) -> None:
    """Tasks that wait for others most of their time, and a program that waits between them."""
    for _ in range(6):
        await _naps(client, 12, 4)
        await asyncio.sleep(2)


KINDS: Mapping[str, Work] = {
    work.__name__: work for work in (burst, drain, long_tail, tiny_tasks, sawtooth, wait_on_io)
}


async def record(work: Work) -> list[dict[str, Any]]:
    """Loads while that work is done, and for a while after."""
    async with (
        LocalCluster(
            n_workers=0, threads_per_worker=1, processes=False, asynchronous=True, dashboard_address=None
        ) as cluster,
        Client(cluster, asynchronous=True) as client,
    ):
        adaptive, began, looks = Adaptive(), time.monotonic(), []
        adaptive.set_bounds(0, MAXIMUM)
        adaptive.wanted, adaptive.patience_s = 0, 10.0
        working = asyncio.ensure_future(work(client))
        while not working.done() or adaptive.wanted:
            await asyncio.sleep(EVERY_S)
            now = time.monotonic()
            looks.append(
                {"time": round(now - began, 3), "wanted": adaptive.wanted, **asdict(load_of(cluster.scheduler))}
            )
            if decision := adaptive.look(cluster.scheduler, now):
                print(f"{now - began:5.1f} {adaptive.wanted:3d} -> {decision.count:3d} {decision.why}", flush=True)
                adaptive.wanted = decision.count
                await cluster.scale(decision.count)
        await working
    return looks


def main() -> None:
    dask.config.set({"distributed.worker.memory.terminate": False})
    TRACES.mkdir(exist_ok=True)
    for name in sys.argv[1:] or KINDS:
        print(name)
        looks = asyncio.run(record(KINDS[name]))
        lines = ",\n".join(json.dumps(look) for look in looks)
        (TRACES / f"{name}.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
