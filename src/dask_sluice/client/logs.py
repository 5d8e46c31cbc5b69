"""What schedulers and workers wrote, as `AsyncGateway` gives it: all at once, or as it is written."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING

from ..wire.api import EventView
from .connection import Connection
from .errors import ServerUnreachable

if TYPE_CHECKING:
    from .async_gateway import AsyncGateway

AT_ONCE = 8
LONGEST_PAUSE_S = 10.0


async def collect(
    gateway: AsyncGateway,
    name: str,
    cluster: bool,
    scheduler: bool,
    workers: bool | Iterable[str],
    lines: int | None,
) -> dict[str, str]:
    """See `AsyncGateway.get_logs`."""
    found: dict[str, str] = {}
    if cluster:
        found["Cluster"] = in_lines(await gateway.events(name), lines)
    if scheduler:
        found["Scheduler"] = await gateway.logs(name, lines=lines)
    chosen = () if workers is False else workers
    names = [worker.name for worker in await gateway.workers(name)] if chosen is True else list(chosen)
    some = asyncio.Semaphore(AT_ONCE)

    async def one(worker: str) -> str:
        async with some:
            return await gateway.logs(name, worker, lines=lines)

    texts = await asyncio.gather(*map(one, names))
    return {**found, **dict(zip(names, texts, strict=True))}


async def follow(connection: Connection, path: str, worker: str | None, lines: int | None) -> AsyncIterator[str]:
    """See `AsyncGateway.follow_logs`. What broke off is taken up again where it broke off."""
    position, pause_s = "", 0.2
    while True:
        event = ""
        params = {"worker": worker, "lines": None if position else lines, "follow": True}
        try:
            async with contextlib.aclosing(connection.lines(path, params, position)) as stream:
                async for line in stream:
                    key, _, value = line.partition(": ")
                    if key == "event":
                        event = value
                    elif key == "id":
                        position = value
                    elif key == "data" and event == "end":
                        return
                    elif key == "data":
                        pause_s = 0.2
                        yield json.loads(value)["text"]
        except ServerUnreachable:
            if not position:
                raise
        await asyncio.sleep(pause_s)  # the server is away, or stopping: patience
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)


def in_lines(events: Iterable[EventView], lines: int | None = None) -> str:
    """Events as a text, one line each, or the last `lines` of them."""
    told = [f"{_clock(event.time)} {event.subject}: {event.sentence}" for event in events]
    return "\n".join(told if lines is None else told[max(0, len(told) - lines) :])


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
