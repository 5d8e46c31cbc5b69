"""The agent of a fake scheduler: says and obeys what `wire/link.py` lays down, and computes nothing.

It shows the protocol in its shortest form, so it is also the first thing to read about it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from ...wire.launch import SchedulerLaunch
from ..clock import Clock


class Line(Protocol):
    """One end of a link."""

    async def send(self, message: Mapping[str, Any]) -> None:
        """Say something. Silently lost when the line is cut."""

    async def receive(self) -> Mapping[str, Any] | None:
        """What the other end says next; None when the line is cut."""

    async def close(self) -> None:
        """Cut the line."""


Dial = Callable[[SchedulerLaunch], Awaitable[Line | None]]
"""Reach the server; None when it cannot be reached just now."""


class FakeAgent:
    """One scheduler's agent, and the workers that it believes to have."""

    def __init__(self, launch: SchedulerLaunch, clock: Clock) -> None:
        self.launch = launch
        self.clock = clock
        self.workers: list[str] = []
        self.retired: list[str] = []
        self.idle_since: float | None = clock.now()
        self.heard: list[Mapping[str, Any]] = []
        """All that the server said, oldest first."""
        self.keeps_retiring = False
        """Set: a retire is never finished."""
        self._line: Line | None = None

    async def run(self, dial: Dial) -> int:
        """Serve the link, dialling again whenever it is cut; the exit code once told to stop."""
        while True:
            self._line = await dial(self.launch)
            if self._line is not None and await self._talk(self._line):
                await self._line.close()
                return 0
            self._line = None
            await self.clock.sleep(0.1)

    async def _talk(self, line: Line) -> bool:
        await line.send(
            {
                "op": "hello",
                "cluster": self.launch["cluster"],
                "scheduler_port": 8786,
                "dashboard_port": 8787,
                "versions": {},
                "pid": 1,
            }
        )
        await self.report()
        while (message := await line.receive()) is not None:
            self.heard.append(message)
            if message["op"] == "stop":
                return True
            if message["op"] == "retire" and not self.keeps_retiring:
                await self._retire(message["names"])
        return False

    async def _retire(self, names: list[str]) -> None:
        self.retired += [name for name in names if name in self.workers]
        self.workers = [name for name in self.workers if name not in names]
        await self.report()

    async def report(self) -> None:
        """Tell the server how things are."""
        await self.say(
            {
                "op": "report",
                "workers": [
                    {"name": name, "address": "", "nthreads": 1, "memory_used": 0, "processing": 0}
                    for name in self.workers
                ],
                "retired": self.retired,
                "clients": 0,
                "tasks": 0,
                "active": self.idle_since is None,
                "idle_since": self.idle_since,
            }
        )

    async def say(self, message: Mapping[str, Any]) -> None:
        """Send any message, if the line stands."""
        if self._line is not None:
            await self._line.send(message)

    async def add_worker(self, name: str) -> None:
        """A worker connected."""
        self.workers.append(name)
        await self.report()

    async def remove_worker(self, name: str) -> None:
        """A worker is gone."""
        if name in self.workers:
            self.workers.remove(name)
            await self.report()

    async def cut(self) -> None:
        """Lose the link, as a broken network would."""
        if self._line is not None:
            await self._line.close()


class MemoryLine:
    """One end of a link in memory."""

    def __init__(self) -> None:
        self._inbox: asyncio.Queue[Mapping[str, Any] | None] = asyncio.Queue()
        self._other: MemoryLine | None = None

    async def send(self, message: Mapping[str, Any]) -> None:
        if self._other is not None:
            self._other._inbox.put_nowait(message)

    async def receive(self) -> Mapping[str, Any] | None:
        return await self._inbox.get()

    async def close(self) -> None:
        for end in (self, self._other):
            if end is not None:
                end._inbox.put_nowait(None)
                end._other = None


def memory_lines() -> tuple[MemoryLine, MemoryLine]:
    """Both ends of one link."""
    ours, theirs = MemoryLine(), MemoryLine()
    ours._other, theirs._other = theirs, ours
    return ours, theirs
