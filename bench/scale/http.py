"""Requests with next to no cost of their own: the driver shares two cores with the server that it measures."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from bench.scale.server import PASSWORD


class Answer(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__(f"{status}: {body[:300]!r}")
        self.status, self.headers = status, headers


class Wire:
    """One connection, one request at a time, as one user."""

    def __init__(self, url: str, user: str) -> None:
        self._host, self._port = str(urlsplit(url).hostname), urlsplit(url).port
        secret = base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()
        self._head = f"Host: {self._host}\r\nAuthorization: Basic {secret}\r\n"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """What the answer holds; `Answer` where it is no success."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        content = b"" if body is None else json.dumps(body).encode()
        sizes = f"Content-Type: application/json\r\nContent-Length: {len(content)}"
        writer.write(f"{method} {path} HTTP/1.1\r\n{self._head}{sizes}\r\n\r\n".encode() + content)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        content = await _body(reader, headers)
        if headers.get("connection") == "close":
            self.close()
        status = int(head[0].split()[1])
        if status >= 300:
            raise Answer(status, headers, content)
        return json.loads(content) if content else None

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    parts = []
    while size := int(await reader.readline(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(parts)


async def at_once(work: Sequence[Callable[[], Awaitable[None]]], hands: int) -> float:
    """Do all of it, so many at a time; seconds."""
    todo = iter(work)

    async def hand() -> None:
        for each in todo:
            await each()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(min(hands, len(work))):
            group.create_task(hand())
    return time.perf_counter() - began


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which that part of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
