"""One data directory of the local backend as it looks from outside: its server, its processes, its files."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from dask_sluice.server.directories import runtime_dir
from dask_sluice.server.store import Store
from dask_sluice.wire.processes import ZOMBIE, is_alive, process_ids, process_stat

from ..server.serving import ServerProcess
from .fake_checks import Seen


@dataclass(frozen=True)
class Process:
    """A process that belongs to the data directory. `what`: server, proxy, nursery or a job's id."""

    pid: int
    start_time: str
    session: int
    what: str

    @property
    def leads(self) -> bool:
        return self.pid == self.session

    def kill(self) -> bool:
        """Whether it was there to be killed."""
        if not is_alive(self.pid, self.start_time):
            return False
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
            return True
        return False


def processes(data_dir: Path) -> list[Process]:
    """Everything that runs for this data directory."""
    return [found for pid in process_ids() if pid != os.getpid() and (found := _process(data_dir, pid)) is not None]


def _process(data_dir: Path, pid: int) -> Process | None:
    stat = process_stat(pid)
    if stat is None or stat.state == ZOMBIE:
        return None
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        place, errors = os.readlink(f"/proc/{pid}/cwd"), os.readlink(f"/proc/{pid}/fd/2")
    except OSError:
        return None
    words = [os.fsdecode(word) for word in line]
    text = " ".join(words)
    home, sockets = str(data_dir), str(runtime_dir(data_dir))
    if not any(mark in story for mark in (home, sockets) for story in (text, place, errors)):
        return None
    clusters = f"{home}/clusters/"
    if errors.startswith(clusters):
        what = Path(errors).name.removesuffix(".log")
    elif place.startswith(clusters):
        what = f"stray of {Path(place).name}"
    elif "dask_sluice.proxy" in words:
        what = "proxy"
    elif "nursery" in words:
        what = "nursery"
    else:
        what = "server" if "tests.chaos.doomed" in words else f"stray: {text[:200]}"
    return Process(pid, stat.start_time, stat.session, what)


class DoomedServer(ServerProcess):
    """A server that may be told at its start where to die."""

    fuse: tuple[str, int] | None = None

    async def launch(self) -> None:
        arguments = [json.dumps(self.document), json.dumps(self.fuse)]
        with self.log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.chaos.doomed", *arguments, stdout=asyncio.subprocess.PIPE, stderr=log
            )

    @property
    def lives(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start_or_die(self) -> bool:
        """Whether it became ready; False where its fuse, or somebody else, ended it before."""
        await self.launch()
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            line = (await self.process.stdout.readline()).decode()
            if not line:
                code = await self.process.wait()
                assert code == -signal.SIGKILL, f"it ended with {code}: {self.log()[-3000:]}"
                return False
        address = httpx.URL(line.removeprefix("ready: ").strip())
        token, url = address.params["token"], str(address.copy_with(query=None)).rstrip("/")
        assert self.token in ("", token), "the token has changed"
        assert self.url in ("", url), "the address has changed"
        self.token, self.url = token, url
        return True


class Books:
    """The database, read beside its server."""

    def __init__(self, data_dir: Path) -> None:
        self._store = Store(data_dir / "sluice.db")
        self._store.open()

    async def read(self) -> dict[str, Seen]:
        return {record.name: await self._look(record.name) for record in await self._store.clusters()}

    async def _look(self, name: str) -> Seen:
        events = tuple(await self._store.events(cluster=name, limit=100_000))
        record = await self._store.cluster(name)
        return Seen(record, events, tuple(await self._store.workers(name)), await self._store.secrets(name))

    async def close(self) -> None:
        await self._store.close()


def keys(data_dir: Path) -> dict[str, Any]:
    """What must be the same for ever: tokens and keys."""
    found: dict[str, Any] = {name: (data_dir / name).read_bytes() for name in ("token", "proxy-token")}
    with closing(sqlite3.connect(data_dir / "sluice.db")) as connection:
        found |= dict(connection.execute("SELECT name, value FROM keys"))
    return found


async def routes(data_dir: Path) -> dict[str, dict[str, Any]]:
    """The table as the server gives it to its proxies."""
    transport = httpx.AsyncHTTPTransport(uds=str(runtime_dir(data_dir) / "server.sock"))
    headers = {"Authorization": f"Bearer {(data_dir / 'proxy-token').read_text().strip()}"}
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://server", headers=headers) as client,
        client.stream("GET", "/api/v2/routes") as answer,
    ):
        async for line in answer.aiter_lines():
            return {route["name"]: route for route in json.loads(line)["snapshot"]}
    raise AssertionError("the server tells no routes")


def by_job(found: list[Process]) -> dict[str, list[Process]]:
    jobs: defaultdict[str, list[Process]] = defaultdict(list)
    for process in found:
        jobs[process.what].append(process)
    return jobs


def socket_files(data_dir: Path) -> Iterator[str]:
    place = runtime_dir(data_dir)
    if place.exists():
        yield from sorted(path.name for path in place.iterdir())
