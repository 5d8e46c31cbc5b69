"""Answers that go on until somebody leaves: server-sent events and JSON lines.

They end by themselves when the server stops, so that stopping need not break connections.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

KEEP_ALIVE_S = 10.0
"""Shorter than the idle limits of reverse proxies (60 s is common, 15 s occurs), long enough to cost nothing."""


async def until_stopping(
    source: AsyncIterator[T], stopping: asyncio.Event, *, quiet_s: float = KEEP_ALIVE_S
) -> AsyncIterator[T | None]:
    """What `source` gives; None whenever it was quiet for so long. Ends with it, or when `stopping` is set."""
    stop = asyncio.create_task(stopping.wait())
    pending: asyncio.Task[T] | None = None
    try:
        while not stopping.is_set():
            pending = pending or asyncio.create_task(_next(source))
            await asyncio.wait({pending, stop}, timeout=quiet_s, return_when=asyncio.FIRST_COMPLETED)
            if pending.done():
                with suppress(StopAsyncIteration):
                    item, pending = pending.result(), None
                    yield item
                    continue
                return
            if not stopping.is_set():
                yield None
    finally:
        await _cancel(stop, pending)
        await source.aclose()  # type: ignore[attr-defined]  # every source of ours is a generator


async def server_sent(
    source: AsyncIterator[T],
    encode: Callable[[T], tuple[int | str, dict[str, Any]]],
    stopping: asyncio.Event,
    *,
    tell_end: bool = False,
) -> AsyncIterator[bytes]:
    """Frames of `text/event-stream`; `encode` gives an item's id and data.

    tell_end  whether `event: end` comes last where the source ended, and not the server
    """
    yield b"retry: 1000\n\n"
    async for item in until_stopping(source, stopping):
        if item is None:
            yield b": still here\n\n"
        else:
            number, data = encode(item)
            yield f"id: {number}\ndata: {json.dumps(data)}\n\n".encode()
    if tell_end and not stopping.is_set():
        yield b"event: end\ndata: {}\n\n"


async def json_lines(source: AsyncIterator[dict[str, Any]], stopping: asyncio.Event) -> AsyncIterator[bytes]:
    """One JSON object a line. The source keeps the connection alive by itself."""
    async for item in until_stopping(source, stopping):
        if item is not None:
            yield json.dumps(item).encode() + b"\n"


async def _next(source: AsyncIterator[T]) -> T:
    return await anext(source)


async def _cancel(*tasks: asyncio.Task[Any] | None) -> None:
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
