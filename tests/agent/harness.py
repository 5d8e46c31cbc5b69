"""Real schedulers and workers as a backend starts them, and a small server for them to talk to.

The server is a real WebSocket server that says what a test tells it to, and remembers what it hears.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from dask_sluice.server.certificates import Role, issue, new_authority
from dask_sluice.server.staging import stage
from dask_sluice.wire.launch import (
    LAST_WORDS_VARIABLE,
    LAUNCH_VARIABLE,
    SchedulerLaunch,
    TLSFiles,
    WaitingLaunch,
    WorkerLaunch,
)
from dask_sluice.wire.processes import process_ids, process_stat

CLUSTER = "c1"
TOKEN = "link-token"
PATIENCE_S = 60.0
"""Far beyond what anything here takes, even on a loaded machine with an old Python."""

Message = dict[str, Any]


class LinkServer:
    """The server's side of one link at a time."""

    def __init__(self) -> None:
        self.heard: list[Message] = []
        self.authorizations: list[str | None] = []
        self.port = 0
        self._news = asyncio.Condition()
        self._link: ServerConnection | None = None
        self._server: Server | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/api/v2/clusters/{CLUSTER}/link"

    async def open(self) -> None:
        """Listen; again on the same port after a `close`."""
        self._server = await serve(self._serve, "127.0.0.1", self.port)
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def close(self) -> None:
        """Be gone, as a server that was killed."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def say(self, op: str, **fields: Any) -> None:
        assert self._link is not None
        await self._link.send(json.dumps({"op": op, **fields}))

    async def hear(self, op: str, matches: Callable[[Message], bool] = lambda _: True, *, since: int = 0) -> Message:
        """The first such message, already heard or still to come."""

        def found() -> Message | None:
            return next((m for m in self.heard[since:] if m["op"] == op and matches(m)), None)

        async with asyncio.timeout(PATIENCE_S), self._news:
            await self._news.wait_for(found)
        message = found()
        assert message is not None
        return message

    async def hear_workers(self, *names: str, since: int = 0) -> Message:
        """The first report that lists exactly these workers."""
        return await self.hear("report", lambda m: {w["name"] for w in m["workers"]} == set(names), since=since)

    async def _serve(self, link: ServerConnection) -> None:
        assert link.request is not None
        self.authorizations.append(link.request.headers.get("Authorization"))
        self._link = link
        with contextlib.suppress(ConnectionClosed):
            await link.send(json.dumps({"op": "welcome", "report_every_s": 5.0, "adaptive_every_s": 0.1}))
            async for text in link:
                async with self._news:
                    self.heard.append({**json.loads(text), "at": time.monotonic()})
                    self._news.notify_all()


class Agents:
    """Starts agents of one cluster, each in a process group of its own, and ends what is left of them."""

    def __init__(self, directory: Path, server: LinkServer, python: str = sys.executable) -> None:
        self.directory = directory
        self.server = server
        self.python = python
        self.stage = stage(directory / "agent")
        self.now = time.time()
        self.authority = new_authority(CLUSTER, self.now)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.variables: dict[str, str] = {}
        self.address = ""

    def scheduler_launch(self, **changes: Any) -> SchedulerLaunch:
        launch: dict[str, Any] = {
            "role": "scheduler",
            "cluster": CLUSTER,
            "host": "127.0.0.1",
            "port": 0,
            "dashboard_port": 0,
            "tls": self.tls(Role.SCHEDULER, "scheduler"),
            "link_url": self.server.url,
            "link_token": TOKEN,
            "link_ca": None,
        }
        return SchedulerLaunch(**(launch | changes))  # type: ignore[typeddict-item]

    def worker_launch(self, name: str, **changes: Any) -> WorkerLaunch:
        launch: dict[str, Any] = {
            "role": "worker",
            "cluster": CLUSTER,
            "name": name,
            "scheduler_address": self.address,
            "host": "127.0.0.1",
            "threads": 1,
            "memory_limit_bytes": 0,
            "local_directory": str(self.directory / "scratch"),
            "tls": self.tls(Role.WORKER, name),
            "max_restarts": 10,
            "restart_window_s": 60.0,
        }
        return WorkerLaunch(**(launch | changes))  # type: ignore[typeddict-item]

    def tls(self, role: Role, name: str) -> TLSFiles:
        identity = issue(self.authority.certificate, self.authority.key, role, CLUSTER, name, self.now)
        return TLSFiles(ca_certificate=self.authority.certificate, certificate=identity.certificate, key=identity.key)

    async def start_scheduler(self) -> Message:
        """A scheduler that has said hello: that message."""
        self.start("scheduler", self.scheduler_launch())
        hello = await self.server.hear("hello")
        self.address = f"tls://127.0.0.1:{hello['scheduler_port']}"
        return hello

    async def start_workers(self, *names: str, **changes: Any) -> Message:
        """Workers that are connected: the report that says so."""
        self.launch_workers(*names, **changes)
        running = [name for name, process in self.processes.items() if name != "scheduler" and process.poll() is None]
        return await self.server.hear_workers(*running)

    async def until_ready(self, name: str) -> None:
        """A scheduler knows a worker a moment before its Nanny is through with starting."""
        async with asyncio.timeout(PATIENCE_S):
            while f"worker {name} is ready" not in self.log(name):  # noqa: ASYNC110 - a log has no event
                await asyncio.sleep(0.02)

    def launch_workers(self, *names: str, **changes: Any) -> None:
        """Workers of which nobody knows yet how they do."""
        for name in names:
            self.start(name, self.worker_launch(name, **changes))

    def start(self, name: str, launch: SchedulerLaunch | WorkerLaunch | WaitingLaunch) -> None:
        """As a backend does that has no nursery: the staged agent as a command."""
        path = self.directory / f"{name}.json"
        path.write_text(json.dumps(launch))
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "DASK_"))}
        environ |= {LAUNCH_VARIABLE: str(path), LAST_WORDS_VARIABLE: str(self.directory / f"{name}.why")}
        with open(self.directory / f"{name}.log", "wb") as log:
            self.processes[name] = subprocess.Popen(
                [self.python, str(self.stage), "worker" if launch["role"] == "worker" else "scheduler"],
                env=environ | self.variables,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def end_of(self, name: str) -> int:
        """The exit code of this process, once it has ended."""
        process = self.processes[name]
        return await asyncio.wait_for(asyncio.to_thread(process.wait), PATIENCE_S)

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text()

    def last_words(self, name: str) -> Message:
        words: Message = json.loads((self.directory / f"{name}.why").read_text())
        return words

    def living(self, name: str) -> list[int]:
        """Processes of this agent's session that live."""
        session = self.processes[name].pid
        found = (process_stat(pid) for pid in process_ids())
        return [stat.pid for stat in found if stat is not None and stat.session == session and stat.state != "Z"]

    async def until_nothing_lives(self, name: str) -> None:
        """Return once no process of this agent is left."""
        async with asyncio.timeout(PATIENCE_S):
            while self.living(name):  # noqa: ASYNC110 - nobody tells of the end of a stranger's child
                await asyncio.sleep(0.02)

    def end_all(self) -> None:
        for name, process in self.processes.items():
            for pid in self.living(name):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[User]:
        """A user's session, in the environment of the cluster."""
        process = await asyncio.create_subprocess_exec(
            self.python,
            str(Path(__file__).with_name("dask_client.py")),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=self.directory,
        )
        user = User(process)
        try:
            await user.tell({"address": self.address, **self.tls(Role.CLIENT, "client")})
            yield user
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            user.close()


class User:
    """Somebody at a prompt (`dask_client.py`)."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def do(self, command: str, *arguments: Any) -> Any:
        """The result of this command."""
        return await self.tell([command, *arguments])

    async def tell(self, line: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(line).encode() + b"\n")
        answer = await asyncio.wait_for(self._process.stdout.readline(), PATIENCE_S)
        return json.loads(answer)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()


@contextlib.asynccontextmanager
async def agents(directory: Path, python: str = sys.executable) -> AsyncIterator[Agents]:
    """A server that listens, and a starter of agents for it."""
    server = LinkServer()
    await server.open()
    starter = Agents(directory, server, python)
    try:
        yield starter
    finally:
        starter.end_all()
        await server.close()
