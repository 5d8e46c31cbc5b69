"""Agents of many clusters in one process: each keeps its link and reports now and then. Started by `python -m`.

Reads one JSON line, `{"url", "every_s", "agents": [[cluster, token], ...]}`, then a line for each question: the answer
to `linked` is how many links stand, `dialled` how many were made so far.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from typing import Any

import websockets

_REPORT = {"op": "report", "workers": [], "retired": [], "clients": 0, "tasks": 0, "active": True, "idle_since": None}


class Fleet:
    """All of them."""

    def __init__(self, url: str, every_s: float) -> None:
        self.url = url
        self.every_s = every_s
        self.linked = 0
        self.dialled = 0

    async def agent(self, cluster: str, token: str) -> None:
        """One agent, for ever; it dials again as ours do: soon, then less and less often, with jitter."""
        failures = 0
        while True:
            try:
                async with websockets.connect(
                    f"{self.url}/api/v2/clusters/{cluster}/link",
                    additional_headers={"Authorization": f"Bearer {token}"},
                    compression=None,
                    ping_interval=None,
                    open_timeout=30,
                ) as socket:
                    failures = 0
                    await self._talk(socket, cluster)
            except (OSError, websockets.WebSocketException, TimeoutError):
                failures += 1
            await asyncio.sleep(random.uniform(0.5, 1.0) * min(10.0, 0.5 * 2.0**failures))

    async def _talk(self, socket: Any, cluster: str) -> None:
        hello = {"op": "hello", "cluster": cluster, "scheduler_port": 8786, "dashboard_port": 8787, "pid": 1}
        await socket.send(json.dumps(hello))
        self.linked += 1
        self.dialled += 1
        try:
            reporting = asyncio.ensure_future(self._report(socket))
            async for _ in socket:
                pass
        finally:
            reporting.cancel()
            self.linked -= 1

    async def _report(self, socket: Any) -> None:
        await asyncio.sleep(random.uniform(0, self.every_s))
        while True:
            await socket.send(json.dumps(_REPORT))
            await asyncio.sleep(self.every_s)


async def main() -> None:
    reader = asyncio.StreamReader(limit=100_000_000)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    start = json.loads(await reader.readline())
    fleet = Fleet(start["url"], start["every_s"])
    async with asyncio.TaskGroup() as group:
        for number, (cluster, token) in enumerate(start["agents"]):
            group.create_task(fleet.agent(cluster, token))
            if number % 50 == 49:
                await asyncio.sleep(0.2)  # a fleet grows; only a restart of the server brings all at once
        while question := (await reader.readline()).decode().strip():
            print(getattr(fleet, question), flush=True)
        sys.exit(0)


if __name__ == "__main__":
    asyncio.run(main())
