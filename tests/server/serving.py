"""A real server process for tests, on a data directory and a port of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from dask_sluice.server.directories import runtime_dir
from dask_sluice.wire.processes import process_ids, process_stat

PATIENCE_S = 60.0
RUN = """
import asyncio, json, sys
from dask_sluice.server.app import serve
from dask_sluice.server.settings_schema import Settings
from dask_sluice.server.startup import CannotStart
try:
    asyncio.run(serve(Settings.model_validate(json.loads(sys.argv[1]))))
except CannotStart as error:
    sys.exit(f"cannot start: {error}")
"""


class ServerProcess:
    """`dask-sluice serve` without its command line."""

    def __init__(self, data_dir: Path, *, port: int = 0, backend: str = "fake", **settings: Any) -> None:
        self.data_dir = data_dir
        self.document: Mapping[str, Any] = {
            "data_dir": str(data_dir),
            "listen": {"port": port},
            "backend": {"kind": backend},
            **settings,
        }
        self.log_file = Path(tempfile.mkdtemp(prefix="serving-")) / "log"
        self.url = ""
        self.token = ""
        self._process: asyncio.subprocess.Process | None = None

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    @property
    def port(self) -> int:
        return httpx.URL(self.url).port or 0

    async def start(self) -> ServerProcess:
        """Return once it says that it is ready."""
        await self.launch()
        async with asyncio.timeout(PATIENCE_S):
            assert self.process.stdout is not None
            line = (await self.process.stdout.readline()).decode()
            assert line.startswith("ready: "), line + (await self.error())
        address = httpx.URL(line.removeprefix("ready: ").strip())
        self.token = address.params["token"]
        self.url = str(address.copy_with(query=None)).rstrip("/")
        return self

    async def launch(self) -> None:
        with self.log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", RUN, json.dumps(self.document), stdout=asyncio.subprocess.PIPE, stderr=log
            )

    async def error(self) -> str:
        """What it said when it could not start."""
        async with asyncio.timeout(PATIENCE_S):
            await self.process.wait()
        return self.log()

    def log(self) -> str:
        return self.log_file.read_text()

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop; its exit code."""
        self.process.send_signal(number)
        async with asyncio.timeout(PATIENCE_S):
            return await self.process.wait()

    async def kill(self) -> None:
        await self.stop(signal.SIGKILL)

    def client(self, timeout: float = 30) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.url, headers={"Authorization": f"Bearer {self.token}"}, timeout=timeout, trust_env=False
        )

    def proxies(self) -> list[int]:
        document = json.loads((self.data_dir / "proxy.json").read_text())
        return [proxy["pid"] for proxy in document["proxies"]]

    def leftovers(self) -> list[str]:
        return leftovers(self.data_dir)


def leftovers(data_dir: Path) -> list[str]:
    """Command lines of processes that belong to the server with this data."""
    marks = (str(data_dir).encode(), str(runtime_dir(data_dir)).encode())
    return [
        text.replace(b"\0", b" ").decode(errors="replace")
        for pid in process_ids()
        if pid != os.getpid() and any(mark in (text := _story(pid)) for mark in marks)
    ]


def _story(pid: int) -> bytes:
    """Command line, directory and log of a process: our proxies have only their log to tell them by."""
    try:
        parts = [Path(f"/proc/{pid}/cmdline").read_bytes(), os.fsencode(os.readlink(f"/proc/{pid}/cwd"))]
        parts.append(os.fsencode(os.readlink(f"/proc/{pid}/fd/2")))
    except OSError:
        return b""
    stat = process_stat(pid)
    return b"\0".join(parts) if stat is not None and stat.state != "Z" else b""


async def created(client: httpx.AsyncClient, state: str = "running") -> dict[str, Any]:
    """A new cluster that has reached this state."""
    cluster: dict[str, Any] = (await client.post("/api/v2/clusters", json={})).raise_for_status().json()
    return await reached(client, cluster["name"], state)


async def reached(client: httpx.AsyncClient, name: str, state: str) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE_S):
        version = 0
        while True:
            answer = await client.get(
                f"/api/v2/clusters/{name}/wait", params={"after_version": version, "timeout_s": 10}
            )
            cluster: dict[str, Any] = answer.raise_for_status().json()
            if cluster["state"] == state:
                return cluster
            version = cluster["version"]
