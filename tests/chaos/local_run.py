"""Kills of real processes under load: server, proxy, nursery, schedulers, workers, or everything at once.

A round is an operation under way, a kill at some moment of it, and whatever is needed for a server to be there again;
then everything comes to rest and is looked at from outside.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dask_sluice.server.model import ClusterRecord
from dask_sluice.wire.reasons import ReasonCode
from dask_sluice.wire.states import ClusterState

from . import doomed, tenants
from . import fake_checks as checks
from .fake_checks import Seen
from .local_site import Books, DoomedServer, Process, by_job, keys, processes, routes, socket_files
from .tenants import Tenant

TENANTS = 2
REST_WITHIN_S = 60.0
SLOW_S = 10.0
"""Whoever takes longer than this to recover is worth a line."""
VICTIMS = {
    "server": 8,
    "server at a point": 10,
    "server at its start": 6,
    "proxy": 4,
    "nursery": 4,
    "server and proxy": 3,
    "server and nursery": 3,
    "server and scheduler": 2,
    "scheduler": 2,
    "worker": 3,
    "worker's process": 2,
    "everything": 2,
}
ENDS_WITH = (ReasonCode.SCHEDULER_ENDED, ReasonCode.SCHEDULER_START_FAILED)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Kill:
    """One kill, so that it can be told."""

    victim: str
    during: str
    delay_s: float
    fuse: tuple[str, int] | None


class LocalRun:
    """One run: so many kills from one seed."""

    def __init__(self, seed: int, directory: Path, say: Say) -> None:
        self.kills: list[str] = []
        self._say = say
        self._random = random.Random(f"local {seed}")
        self._data_dir = directory / "data"
        self._server = DoomedServer(self._data_dir, backend="local")
        self._tenants = [Tenant(number, self._server) for number in range(TENANTS)]
        self._visitors: list[str] = []
        """Clusters that come and go while tenants stay."""
        self._stopped: set[str] = set()
        self._struck: set[str] = set()
        """Clusters whose scheduler was killed."""
        self._before: dict[str, Seen] = {}
        self._keys: dict[str, Any] = {}
        self._books: Books | None = None
        self._began = time.monotonic()

    @property
    def log(self) -> str:
        return self._server.log()

    async def run(self, kills: int) -> None:
        """Kill so often.

        raises  AssertionError where something that must hold did not
        """
        try:
            assert await self._server.start_or_die()
            self._books, self._keys = Books(self._data_dir), keys(self._data_dir)
            for tenant in self._tenants:
                await tenant.settle_in()
            await self._rest()
            while len(self.kills) < kills:
                await self._round()
            await self._close_down()
        finally:
            await self._clear_away()

    # -- rounds

    async def _round(self) -> None:
        kill, began = self._plan(), time.monotonic()
        self.kills.append(f"{len(self.kills) + 1}: {kill}")
        proxies = {p.pid for p in processes(self._data_dir) if p.what == "proxy"}
        if kill.victim == "server at a point":
            await self._start_with(kill.fuse)
            await self._under_way(kill, self._until_dead(kill.delay_s))
        else:
            await self._under_way(kill, self._strike_after(kill))
        await self._until_ready()
        seen = await self._rest()
        same_proxies = {p.pid for p in processes(self._data_dir) if p.what == "proxy"} == proxies
        await self._look_after_tenants(seen, connection_held=same_proxies)
        if (took_s := time.monotonic() - began) > SLOW_S:
            self._say(f"local: {took_s:.0f} s for {self.kills[-1]}")
        if len(self.kills) % 10 == 0:
            passed_s = time.monotonic() - self._began
            self._say(f"local: {len(self.kills)} kills, {passed_s:.0f} s, {len(seen)} clusters so far")

    def _plan(self) -> Kill:
        (victim,) = self._random.choices(list(VICTIMS), list(VICTIMS.values()))
        during = self._random.choice(["create", "create", "scale", "scale", "stop", "quiet"])
        delay_s = self._random.choice([0.0, 0.02, 0.05, 0.1, 0.2, 0.4]) * self._random.random() * 2
        fuse = None
        if victim == "server at a point":
            fuse = (self._random.choice(doomed.POINTS), self._random.choice([1, 1, 2, 3, 4, 6, 9]))
        elif victim == "server at its start":
            fuse = (self._random.choice(doomed.AT_START), 1)
        return Kill(victim, during, delay_s, fuse)

    async def _start_with(self, fuse: tuple[str, int] | None) -> None:
        """Another server in the place of this one, that dies at its point once it works."""
        if self._server.lives:
            await self._server.kill()
        self._server.fuse = fuse
        await self._server.start_or_die()
        self._server.fuse = None

    async def _until_dead(self, most_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(1 + most_s):
                await self._server.process.wait()
        if self._server.lives:
            await self._server.kill()

    async def _strike_after(self, kill: Kill) -> None:
        await asyncio.sleep(kill.delay_s)
        if kill.victim == "server at its start":
            await self._start_with(kill.fuse)
            if self._server.lives:
                await self._server.kill()
            return
        for victim in self._victims(kill.victim):
            self._kill(victim)
        if "server" in kill.victim or kill.victim == "everything":
            await self._server.process.wait()

    def _victims(self, who: str) -> list[Process]:
        found = sorted(processes(self._data_dir), key=lambda process: process.pid)
        if who == "everything":
            self._random.shuffle(found)
            return found
        chosen: list[Process] = []
        for kind in who.split(" and "):
            if kind in ("server", "proxy", "nursery"):
                chosen += [process for process in found if process.what == kind]
            else:
                job = "-scheduler" if kind == "scheduler" else "-worker-"
                leads = kind != "worker's process"
                theirs = [process for process in found if job in process.what and process.leads is leads]
                chosen += [self._random.choice(theirs)] if theirs else []
        return chosen

    def _kill(self, victim: Process) -> None:
        if victim.kill() and victim.what.endswith("-scheduler"):
            self._struck.add(victim.what.removesuffix("-scheduler"))

    async def _under_way(self, kill: Kill, strike: Any) -> None:
        """Do something, and let the strike fall meanwhile."""
        operation = asyncio.create_task(self._operation(kill.during))
        await strike
        if not self._server.lives:
            await self._until_ready()
        await operation

    async def _operation(self, what: str) -> None:
        if what == "stop" and self._visitors:
            name = self._visitors.pop(self._random.randrange(len(self._visitors)))
            self._stopped.add(name)
            await tenants.stop(self._server, name)
        elif what == "scale":
            name = self._random.choice([*self._visitors, *(tenant.name for tenant in self._tenants)])
            await tenants.scale(self._server, name, self._random.randint(1, 3))
        elif what in ("create", "stop"):
            if len(self._visitors) > 1:
                self._stopped.add(name := self._visitors.pop(0))
                await tenants.stop(self._server, name)
            name = await tenants.create(self._server)
            self._visitors.append(name)
            await tenants.scale(self._server, name, 1)

    async def _until_ready(self) -> None:
        while not self._server.lives:
            await self._server.start_or_die()

    # -- rest

    async def _rest(self) -> dict[str, Seen]:
        assert self._books is not None
        deadline = time.monotonic() + REST_WITHIN_S
        while True:
            seen = await self._books.read()
            amiss = self._amiss(seen) or checks.wrong_routes(await routes(self._data_dir), seen.values())
            if not amiss and seen == await self._books.read():
                break
            assert time.monotonic() < deadline, "\n".join(["never at rest:", *amiss])
            await asyncio.sleep(0.1)
        self._check(seen)
        self._before = seen
        return seen

    def _amiss(self, seen: dict[str, Seen]) -> list[str]:
        """What is not as it should be at rest, and may become so."""
        amiss = [checks.story(each) for each in seen.values() if not checks.is_at_rest(each.record)]
        found = by_job(processes(self._data_dir))
        ours = {job.job_id for each in seen.values() for job in each.record.jobs if job.is_out_there}
        for what, least in (("server", 1), ("proxy", 1), ("nursery", 0)):  # a nursery is started when it is needed
            theirs = found.pop(what, [])
            if not least <= len(theirs) <= 1:
                amiss.append(f"{len(theirs)} of {what}: {theirs}")
        amiss += [f"leaked: {what} {pids}" for what, pids in found.items() if what not in ours]
        amiss += [f"on the books only: {what}" for what in ours if what not in found]
        amiss += [f"twice: {what} {theirs}" for what, theirs in found.items() if sum(each.leads for each in theirs) > 1]
        return amiss

    def _check(self, seen: dict[str, Seen]) -> None:
        """What must hold at once."""
        assert keys(self._data_dir) == self._keys, "a key has changed"
        checks.check_ledger(self._data_dir / "sluice.db", seen.values())
        assert self._before.keys() <= seen.keys(), "clusters were forgotten"
        for name, each in seen.items():
            checks.check_story(each)
            if name in self._before:
                checks.check_same(self._before[name], each, None, set())
            self._check_end(each)
        for name in self._visitors:
            assert name in seen, f"{name} was accepted and is not there"

    def _check_end(self, seen: Seen) -> None:
        record = seen.record
        if record.name in self._stopped and not record.state.is_final:
            raise AssertionError(f"{record.name} was to be stopped: {checks.story(seen)}")
        if not record.state.is_final or (record.name in self._stopped and _was_stopped(record)):
            return
        killed = record.name in self._struck and record.reason.code in ENDS_WITH
        assert killed, f"it ended without a cause: {checks.story(seen)}"
        assert record.state is ClusterState.FAILED
        sentence = record.reason.sentence
        assert "SIGKILL" in sentence or "how is not known" in sentence, sentence

    async def _look_after_tenants(self, seen: dict[str, Seen], *, connection_held: bool) -> None:
        self._visitors = [name for name in self._visitors if not seen[name].record.state.is_final]
        for tenant in self._tenants:
            if seen[tenant.name].record.state.is_final:
                await tenant.settle_in()
                self._before = await self._rest()
            else:
                await tenant.check(connection_held=connection_held)

    # -- the end

    async def _close_down(self) -> None:
        """Everything stops; then nothing is left of it but what is on record, and in the end not even that."""
        for tenant in self._tenants:
            await tenant.leave()
        assert await self._server.stop() == 0
        await self._until(lambda: not processes(self._data_dir), "no process is left")
        names = list(socket_files(self._data_dir))
        assert not [name for name in names if name != "server.sock"], names
        self._server.document = {**self._server.document, "timeouts": {"ended_kept_s": 0.001}}
        self._server.url = ""
        assert await self._server.start_or_die()
        await self._until(lambda: not list((self._data_dir / "clusters").iterdir()), "no directory is left")
        assert self._books is not None
        assert await self._books.read() == {}
        assert await self._server.stop() == 0
        await self._until(lambda: not processes(self._data_dir), "no process is left")

    async def _until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 60  # after hundreds of clusters, on a busy machine
        while not holds():
            assert time.monotonic() < deadline, f"still not: {what}: {processes(self._data_dir)}"
            await asyncio.sleep(0.05)

    async def _clear_away(self) -> None:
        """However it ended: nothing of this run goes on."""
        for tenant in self._tenants:
            await tenant.leave()
        if self._books is not None:
            await self._books.close()
        for _ in range(50):
            if not (left := processes(self._data_dir)):
                return
            for process in left:
                process.kill()
            await asyncio.sleep(0.05)


def _was_stopped(record: ClusterRecord) -> bool:
    return record.reason.code is ReasonCode.STOPPED_BY_USER
