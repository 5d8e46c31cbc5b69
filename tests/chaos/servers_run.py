"""Kills of real servers that share a PostgreSQL, behind a load balancer, with real agents and real clients.

Nobody is helped: people use our client as anybody would, and what it does not get over by itself is a failure. The
balancer is a plain one: it asks `/health/ready` twice a second, and for so long sends people to a dead server.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from distributed import Client
from sqlalchemy import URL, text

from dask_sluice import BasicAuth, Gateway, GatewayCluster
from dask_sluice.server.replica import LEASE_S
from dask_sluice.server.store import Store
from dask_sluice.wire.processes import process_ids
from dask_sluice.wire.reasons import ReasonCode

from ..postgresql import PostgreSQL
from ..server.serving import ServerProcess, leftovers
from . import fake_checks as checks
from . import shared_processes
from .fake_checks import Seen

SERVERS = 3
TAKEN_OVER_WITHIN_S = 10.0
REST_WITHIN_S = 60.0
PATIENCE_S = 60.0
VICTIMS = {"server": 6, "server and proxy": 4, "two servers": 2, "all servers": 1, "database": 2}

Say = Callable[[str], None]


class Balancer:
    """Passes connections on to servers that say they are ready, in turn."""

    def __init__(self, ports: list[int]) -> None:
        self.port = 0
        self._ports = ports
        self._ready: list[int] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._server: asyncio.Server | None = None
        self._turn = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._tasks = [asyncio.create_task(self._watch())]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self) -> None:
        async with httpx.AsyncClient(timeout=2, trust_env=False, limits=httpx.Limits(keepalive_expiry=0)) as client:
            while True:
                answers = await asyncio.gather(*(self._is_ready(client, port) for port in self._ports))
                self._ready = [port for port, ready in zip(self._ports, answers, strict=True) if ready]
                await asyncio.sleep(0.5)

    async def _is_ready(self, client: httpx.AsyncClient, port: int) -> bool:
        with suppress(httpx.HTTPError):
            return (await client.get(f"http://127.0.0.1:{port}/health/ready")).status_code == 200
        return False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.append(task)
        try:
            for _ in self._ports:
                self._turn += 1
                if self._ready:
                    with suppress(OSError):
                        there = await asyncio.open_connection("127.0.0.1", self._ready[self._turn % len(self._ready)])
                        await asyncio.gather(_carry(reader, there[1]), _carry(there[0], writer))
                        return
        finally:
            writer.close()
            self._tasks.remove(task)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


class Replica(ServerProcess):
    """One of the servers; its port is known before it starts, and stays."""

    async def start(self) -> ServerProcess:
        await self.launch()
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            line = (await self.process.stdout.readline()).decode()
        assert line.startswith("ready: "), line + self.log()[-3000:]
        return self

    @property
    def lives(self) -> bool:
        return self._process is not None and self._process.returncode is None


class Person:
    """One person with one cluster, a client on it and a published result. Uses nothing but our client."""

    def __init__(self, address: str) -> None:
        self.gateway = Gateway(address, auth=BasicAuth("ada", "chaos"), asynchronous=True)
        self.name = ""
        self._cluster: GatewayCluster | None = None
        self._client: Any = None

    async def settle_in(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            self._cluster = await self.gateway.new_cluster(shutdown_on_close=False)
            assert self._cluster is not None
            self.name = self._cluster.name
            await self._cluster.scale(1)
            self._client = await Client(self._cluster, asynchronous=True, set_as_default=False)
            await self._client.publish_dataset(self._client.submit(str.upper, self.name), name="result")

    async def check(self) -> None:
        """The result is there, and it computes; through connections that are just being made anew."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                async with asyncio.timeout(10):
                    future = await self._client.get_dataset("result")
                    assert await self._client.submit(len, future, pure=False) == len(self.name)
                    return
            except (OSError, asyncio.TimeoutError, asyncio.CancelledError) as error:
                assert time.monotonic() < deadline, f"the data of {self.name} cannot be had: {error!r}"
            await asyncio.sleep(0.1)

    async def leave(self) -> None:
        for each in (self._client, self._cluster, self.gateway):
            if each is not None:
                with suppress(OSError, asyncio.TimeoutError, RuntimeError):
                    async with asyncio.timeout(10):
                        await each.close()


class ServersRun:
    """One run: so many kills from one seed."""

    def __init__(self, seed: int, directory: Path, say: Say) -> None:
        self.kills: list[str] = []
        self._say = say
        self._random = random.Random(f"servers {seed}")
        self._directory = directory
        self._postgresql = PostgreSQL()
        self._database: URL = self._postgresql.new_database()
        self._servers: list[Replica] = []
        self._balancer = Balancer([])
        self._person: Person | None = None
        self._visitors: list[str] = []
        self._stopped: set[str] = set()
        self._store: Store | None = None
        self._before: dict[str, Seen] = {}
        self._longest_s = 0.0

    @property
    def log(self) -> str:
        return "\n".join(f"-- {server.data_dir.name}\n{server.log()}" for server in self._servers)

    async def run(self, kills: int) -> None:
        """Kill so often.

        raises  AssertionError where something that must hold did not
        """
        try:
            await self._begin()
            while len(self.kills) < kills:
                await self._round()
            await self._close_down()
            self._say(f"servers: all was taken over within {self._longest_s:.1f} s")
        finally:
            await self._clear_away()

    async def _begin(self) -> None:
        ports = [free_port() for _ in range(SERVERS)]
        self._balancer = Balancer(ports)
        await self._balancer.start()
        public_port = self._balancer.port
        for number, port in enumerate(ports):
            server = Replica(self._directory / f"server-{number}", port=port)
            server.document = settings_of(server, port, self._database, self._directory / "shared", public_port)
            self._servers.append(server)
        await asyncio.gather(*(server.start() for server in self._servers))
        self._store = Store(self._database)
        self._store.open()
        self._person = Person(f"http://127.0.0.1:{self._balancer.port}")
        await self._person.settle_in()
        await self._rest()

    # -- rounds

    async def _round(self) -> None:
        (victim,) = self._random.choices(list(VICTIMS), list(VICTIMS.values()))
        during = self._random.choice(["create", "create", "scale", "stop", "quiet"])
        delay_s = self._random.choice([0.0, 0.05, 0.2, 0.5]) * self._random.random() * 2
        self.kills.append(f"{len(self.kills) + 1}: {victim} during {during} after {delay_s:.2f} s")
        operation = asyncio.create_task(self._operation(during))
        await asyncio.sleep(delay_s)
        struck = await self._strike(victim)
        killed_at = time.monotonic()
        if victim == "all servers":  # nobody is there to take over
            await asyncio.gather(*(server.start() for server in struck))
            struck, killed_at = [], time.monotonic()
        if victim != "database":
            await self._until_taken_over(killed_at)
        async with asyncio.timeout(PATIENCE_S):
            await operation
        await asyncio.gather(*(server.start() for server in struck))
        await self._rest()
        assert self._person is not None
        await self._person.check()
        if len(self.kills) % 10 == 0:
            self._say(f"servers: {len(self.kills)} kills, takeovers within {self._longest_s:.1f} s")

    async def _strike(self, victim: str) -> list[Replica]:
        if victim == "database":
            await asyncio.to_thread(self._postgresql.kill)
            await asyncio.sleep(self._random.choice([0, 1, 4]))
            await asyncio.to_thread(self._postgresql.start)
            return []
        count = {"two servers": 2, "all servers": SERVERS}.get(victim, 1)
        struck = self._random.sample(self._servers, count)
        for server in struck:
            server.process.send_signal(signal.SIGKILL)
            if victim == "server and proxy":
                for pid in server.proxies():
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        for server in struck:
            await server.process.wait()
        return struck

    async def _operation(self, what: str) -> None:
        """What a visitor does, once, with our client: it has to get over the kill."""
        assert self._person is not None
        gateway: Any = self._person.gateway
        if what in ("create", "stop") and len(self._visitors) > 1:
            name = self._visitors.pop(0)
            self._stopped.add(name)
            await gateway.stop_cluster(name)
        if what == "create":
            name = await gateway.submit()
            self._visitors.append(name)
            await gateway.scale_cluster(name, self._random.randint(0, 1))
        elif what == "scale":
            await gateway.scale_cluster(self._person.name, self._random.randint(1, 2))

    async def _until_taken_over(self, killed_at: float) -> None:
        """Each cluster has a holder that lives, ten seconds after a death at the latest."""
        living = sum(server.lives for server in self._servers)
        while True:
            orphans, replicas = await self._orphans()
            passed_s = time.monotonic() - killed_at
            late = f"{orphans} have no server {passed_s:.1f} s after the kill; {replicas} of {living} servers are there"
            assert passed_s < TAKEN_OVER_WITHIN_S * _overload(), late
            if not orphans and replicas == living:
                self._longest_s = max(self._longest_s, passed_s)
                return
            await asyncio.sleep(0.1)

    async def _orphans(self) -> tuple[list[str], int]:
        assert self._store is not None
        now = time.time()

        def work(connection: Any) -> tuple[list[str], int]:
            rows = connection.execute(text("SELECT name, lease_until FROM replicas")).all()
            alive = {name for name, until in rows if until > now}
            held = connection.execute(text("SELECT name, holder FROM clusters WHERE ended_at IS NULL")).all()
            return [name for name, holder in held if holder not in alive], len(alive)

        return await self._store._db.read(work)

    # -- rest

    async def _rest(self) -> dict[str, Seen]:
        deadline = time.monotonic() + REST_WITHIN_S
        while True:
            seen = await self._read()
            amiss = [checks.story(each) for each in seen.values() if not checks.is_at_rest(each.record)]
            there = shared_processes.jobs(self._directory / "shared")
            ours = {job.job_id for each in seen.values() for job in each.record.jobs if job.is_out_there}
            amiss += [f"leaked: {job}" for job in there - ours] + [f"on the books only: {job}" for job in ours - there]
            orphans, _ = await self._orphans()
            if not amiss and not orphans and seen == await self._read():
                break
            assert time.monotonic() < deadline, "\n".join(["never at rest:", *amiss, *orphans])
            await asyncio.sleep(0.2)
        await self._check(seen, there)
        self._before = seen
        return seen

    async def _check(self, seen: dict[str, Seen], there: set[str]) -> None:
        """What must hold at once."""
        assert self._store is not None
        assert self._before.keys() <= seen.keys(), "clusters were forgotten"
        for name, each in seen.items():
            checks.check_story(each)
            if name in self._before:
                checks.check_same(self._before[name], each, None, set())
            ended = each.record.state.is_final
            assert ended == (name in self._stopped), checks.story(each)
            assert not ended or each.record.reason.code is ReasonCode.STOPPED_BY_USER, checks.story(each)
        assert {*self._visitors} <= seen.keys(), "an accepted cluster is not there"
        ledger = await self._store.intervals(0, time.time() + LEASE_S, None, list)
        assert {each.job_id for each in ledger if each.ended_at is None} == there, "what is charged is not what runs"
        assert "Traceback" not in self.log, self.log[-5000:]

    async def _read(self) -> dict[str, Seen]:
        assert self._store is not None
        return {record.name: await self._look(record.name) for record in await self._store.clusters()}

    async def _look(self, name: str) -> Seen:
        assert self._store is not None
        events = tuple(await self._store.events(cluster=name, limit=100_000))
        record = await self._store.cluster(name)
        return Seen(record, events, tuple(await self._store.workers(name)), await self._store.secrets(name))

    # -- the end

    async def _close_down(self) -> None:
        """All clusters are stopped: nothing of them is left."""
        assert self._person is not None
        for name in (*self._visitors, self._person.name):
            self._stopped.add(name)
            await self._person.gateway.stop_cluster(name)
        self._visitors.clear()
        await self._rest()
        assert not shared_processes.jobs(self._directory / "shared")

    async def _clear_away(self) -> None:
        """However it ended: nothing of this run goes on."""
        if self._person is not None:
            await self._person.leave()
        for server in self._servers:
            if server.lives:
                await server.stop()
        if self._store is not None:
            await self._store.close()
        await self._balancer.close()
        for place in (self._directory / "shared" / "jobs").glob("*/*"):
            await shared_processes.end(place)
        for server in self._servers:
            end_proxies(server.data_dir)
        self._postgresql.close()
        assert not [line for server in self._servers for line in leftovers(server.data_dir)]


def settings_of(server: Replica, port: int, database: URL, shared: Path, public_port: int) -> dict[str, Any]:
    """A server on this database, with jobs in this directory, reached through this port. All log in by `chaos`."""
    return {
        "data_dir": str(server.data_dir),
        "listen": {"port": port, "public_url": f"http://127.0.0.1:{public_port}"},
        "database": {"url": database.set(drivername="postgresql").render_as_string()},
        "authenticator": {"kind": "basic", "basic": {"password": "chaos"}},
        "backend": {
            "kind": "tests.chaos.shared_processes:SharedProcesses",
            "settings": {"directory": str(shared)},
        },
    }


def _overload() -> float:
    """How many times as long everything may take here: 1 on a machine that has not more to do than twice its cores."""
    return max(1.0, os.getloadavg()[0] / (2 * (os.cpu_count() or 1)))


def end_proxies(data_dir: Path) -> None:
    """They outlive their server."""
    for pid in process_ids():
        if pid != os.getpid() and _is_proxy_of(pid, data_dir):
            os.kill(pid, signal.SIGKILL)


def _is_proxy_of(pid: int, data_dir: Path) -> bool:
    with suppress(OSError):
        return str(data_dir) in os.readlink(f"/proc/{pid}/fd/2")
    return False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
