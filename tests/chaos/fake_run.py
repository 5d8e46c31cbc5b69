"""Kills of a whole core over the fake backend: hundreds of deaths and hours of virtual time in a minute.

A round is some deaths while users act and the world misbehaves; then everything comes to rest, and is checked.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from dask_sluice.server.backends.fake import Dials, FakeBackend, JobDials
from dask_sluice.server.backends.protocol import JobState
from dask_sluice.server.model import ClusterRecord
from dask_sluice.wire.reasons import ReasonCode
from dask_sluice.wire.states import ClusterState

from . import fake_checks as checks
from .fake_checks import Seen, Trouble
from .mortal import POINTS, ChaosWorld, Fuse, MortalCore, MortalStore, born
from .users import User
from .virtual_time import VirtualClock

REST_WITHIN_S = 3000.0
STAYS_FOR_S = 60.0
UNFINISHED = tuple(state for state in ClusterState if not state.is_final)
USERS = 3
START_FAILS = frozenset({ReasonCode.SCHEDULER_START_TIMEOUT, ReasonCode.SCHEDULER_START_FAILED})
LOST = frozenset({ReasonCode.SCHEDULER_ENDED, ReasonCode.SCHEDULER_START_FAILED})

Say = Callable[[str], None]


class FakeRun:
    """One run: so many kills from one seed."""

    def __init__(self, seed: int, directory: Path, say: Say) -> None:
        self.kills: list[str] = []
        self._seed = seed
        self._directory = directory
        self._say = say
        self._random = random.Random(f"fake {seed}")
        self._world = ChaosWorld()
        self._dials = Dials()
        self._clock = VirtualClock()
        self._core: MortalCore | None = None
        self._alive = asyncio.Event()
        self._outsiders: set[asyncio.Task[Any]] = set()
        self._users = [User(f"user{n}", f"user {n} of {seed}", self) for n in range(USERS)]
        self._rested: dict[str, Seen] = {}
        self._troubles: list[Trouble] = []
        self._killed_workers: set[str] = set()
        self._faults: list[str] = []
        self._records: dict[str, ClusterRecord] = {}

    async def server(self) -> MortalCore:
        while True:
            await self._alive.wait()
            if self._core is not None and not self._core.life.over.is_set():
                return self._core
            await asyncio.sleep(0.01)

    async def run(self, kills: int) -> None:
        """Kill so often.

        raises  AssertionError where something that must hold did not
        """
        with _seeded(self._seed), _errors(self._faults):
            async with self._people():
                while len(self.kills) < kills:
                    await self._round(min(self._random.randint(1, 3), kills - len(self.kills)))

    @asynccontextmanager
    async def _people(self) -> AsyncIterator[None]:
        main = asyncio.current_task()
        assert main is not None
        living = [asyncio.create_task(user.live()) for user in self._users]
        living.append(asyncio.create_task(self._nature()))
        self._outsiders = {main, *living}
        try:
            yield
        finally:
            for task in living:
                task.cancel()
            results = await asyncio.gather(*living, return_exceptions=True)
            if self._core is not None:
                await self._core.bury(self._outsiders)
            for task in self._world.tasks():
                task.cancel()
            for result in results:
                if isinstance(result, Exception):
                    raise result

    # -- rounds

    async def _round(self, deaths: int) -> None:
        self._people_may_act(True)
        for _ in range(deaths):
            await self._weather()
            await self._one_death()
        await self._rest()
        if len(self.kills) // 50 > (len(self.kills) - deaths) // 50:
            self._say(f"fake: {len(self.kills)} kills, {len(self._rested)} clusters so far")

    async def _one_death(self) -> None:
        """Let a server live, or be born, until it dies by its fuse, by chance, or at leisure."""
        fuse = Fuse(self._random.choice(POINTS), self._random.choice([1, 1, 2, 3, 5, 8, 13, 21]))
        how = self._random.random()
        if self._core is not None and how < 0.5:
            life = self._core.life
            life.fuse = replace(fuse, count=life.reached[fuse.point] + fuse.count)
        elif self._core is not None:
            fuse = Fuse("turns", self._random.randint(0, 300))
            await asyncio.sleep(self._random.choice([0, 0.001, 0.1, 1, 10]))
            await self._turns(fuse.count)
            await self._kill(str(fuse))
            return
        core = self._core or await self._start(fuse)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._random.choice([5, 30])):
                await core.life.over.wait()
        await self._kill(str(fuse) if core.life.over.is_set() else "at leisure")

    async def _turns(self, count: int) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    async def _kill(self, how: str) -> None:
        assert self._core is not None
        self._alive.clear()
        core, self._core = self._core, None
        await core.bury(self._outsiders)
        away_s = self._random.choice([0, 0, 0.1, 3, 3, 70, 400])
        self.kills.append(f"{len(self.kills) + 1}: {how}, at {self._clock.now():.3f}, then away for {away_s} s")
        await asyncio.sleep(away_s)

    async def _start(self, fuse: Fuse | None) -> MortalCore:
        """A new server; it may die at its start."""
        core = self._core = born(self._directory, self._world, self._dials, fuse)
        core.store.on_change(lambda record, _: self._watch(record))
        self._alive.set()
        (await core.start()).add_done_callback(self._died_by_itself)
        return core

    def _died_by_itself(self, working: asyncio.Task[None]) -> None:
        if not working.cancelled() and working.exception() is not None:
            self._faults.append(f"the server ended by itself: {working.exception()!r}")

    def _watch(self, record: ClusterRecord) -> None:
        """At every change, not only at rest."""
        self._records[record.name] = record
        try:
            checks.check_limits(self._records.values())
        except AssertionError as error:
            self._faults.append(str(error))

    def _people_may_act(self, may: bool) -> None:
        for user in self._users:
            (user.may_act.set if may else user.may_act.clear)()

    # -- the world

    async def _weather(self) -> None:
        """Other dials from now on."""
        roll, now = self._random.choice, self._clock.now()
        waits = [0.0, 0.0, 0.05, 2.0]
        scheduler = JobDials(
            submit_takes_s=roll(waits), start_after_s=roll([0, 0, 1, 30]), connect_after_s=roll([0, 0, 0.5, 8]),
            remove_takes_s=roll(waits), refuse=roll(["", "", "", "", "", "no such queue"]),
        )  # fmt: skip
        worker = JobDials(
            submit_takes_s=roll(waits), start_after_s=roll([0, 0, 1, 20]), connect_after_s=roll([0, 0, 0.5, 8, None]),
            remove_takes_s=roll(waits), refuse=roll(["", "", "", "", "", "no room"]),
            end_after_s=roll([None, None, None, 0.5, 20]),
        )  # fmt: skip
        silent = roll(["", "", "", "", "the controller is down"])
        self._set_dials(Dials(scheduler, worker, silent))
        disk_full = self._random.random() < 0.1
        if self._core is not None:
            self._core.life.disk_full = disk_full
        codes: set[ReasonCode] = set()
        codes |= {ReasonCode.BACKEND_REFUSED} if scheduler.refuse else set()
        codes |= START_FAILS if silent or disk_full else set()
        self._close_troubles(now)
        self._troubles.append(Trouble(now, float("inf"), frozenset(codes)))

    def _calm(self) -> None:
        self._set_dials(Dials())
        self._close_troubles(self._clock.now() + 60)  # what it was told may still be under way
        if self._core is not None:
            self._core.life.disk_full = False

    def _close_troubles(self, now: float) -> None:
        self._troubles = [replace(t, until=now) if t.until == float("inf") else t for t in self._troubles]

    def _set_dials(self, dials: Dials) -> None:
        self._dials = dials
        if self._core is not None:
            self._core.backend.dials = dials

    async def _nature(self) -> None:
        """Kills, cuts and wishes at random, while people act."""
        while True:
            await asyncio.sleep(self._random.expovariate(0.2))
            if not self._users[0].may_act.is_set():
                continue
            living = sorted(key for key, thing in self._world.things.items() if thing.state is JobState.RUNNING)
            if living and self._random.random() < 0.5:
                self._strike(self._random.choice(living))
            elif agents := sorted(self._world.agents):
                name = self._random.choice(agents)
                agent = self._world.agents[name]
                if self._random.random() < 0.5:
                    await agent.cut()
                else:
                    self._disturb(name)
                    await agent.say({"op": "wish", "count": self._random.randint(0, 9), "why": "chaos"})

    def _strike(self, job_id: str) -> None:
        thing = self._world.things[job_id]
        if job_id.endswith("-scheduler"):
            if self._random.random() > 0.2:
                return
            now = self._clock.now()
            self._troubles.append(Trouble(now, now + 1000, LOST, thing.job.cluster))
        else:
            self._killed_workers.add(job_id)
        FakeBackend(world=self._world).kill(job_id)  # also where no server lives

    def _disturb(self, name: str) -> None:
        for user in self._users:
            if name in user.promises:
                user.promises[name].disturbed = True

    # -- rest

    async def _rest(self) -> None:
        """Fair weather, no more wishes, a server that lives: everything comes to rest, and is as it should be."""
        self._people_may_act(False)
        self._calm()
        core = self._core or await self._start(None)
        core.life.fuse = None
        assert not core.life.over.is_set()
        for user in self._users:
            await user.parked.wait()
        seen = await self._until_at_rest(core)
        self._check(core, seen)
        self._rested |= seen
        self._killed_workers.clear()
        for user in self._users:
            for promise in user.promises.values():
                promise.disturbed = False

    async def _until_at_rest(self, core: MortalCore) -> dict[str, Seen]:
        """All clusters that have not ended before, once nothing has changed for a while."""
        deadline = self._clock.now() + REST_WITHIN_S
        still_since, before = self._clock.now(), [(0, "")]
        while True:
            records = await core.store.clusters(states=UNFINISHED)
            versions = [(record.version, record.name) for record in records]
            if versions != before or not all(map(checks.is_at_rest, records)):
                still_since, before = self._clock.now(), versions
            elif self._clock.now() >= still_since + STAYS_FOR_S:
                return {
                    r.name: await self._look(core.store, r) for r in await core.store.clusters() if self._is_news(r)
                }
            if self._clock.now() > deadline:
                busy = [await self._look(core.store, record) for record in records if not checks.is_at_rest(record)]
                raise AssertionError("never at rest:\n" + "\n".join(map(checks.story, busy)))
            assert not self._faults, self._faults
            await asyncio.sleep(3)

    def _is_news(self, record: ClusterRecord) -> bool:
        before = self._rested.get(record.name)
        return before is None or not record.state.is_final or before.record != record

    async def _look(self, store: MortalStore, record: ClusterRecord) -> Seen:
        name = record.name
        events = tuple(await store.events(cluster=name, limit=100_000))
        return Seen(record, events, tuple(await store.workers(name)), await store.secrets(name))

    def _check(self, core: MortalCore, seen: dict[str, Seen]) -> None:
        assert not self._faults, self._faults
        checks.check_ownership(self._world, seen.values())
        checks.check_ledger(self._directory / "sluice.db", seen.values())
        checks.check_nobody_waits_for_nothing(each.record for each in seen.values())
        table = {name: route for name in seen if (route := core.routes.get(name)) is not None}
        assert not (wrong := checks.wrong_routes(table, seen.values())), wrong
        promises = {name: promise for user in self._users for name, promise in user.promises.items()}
        for name, each in seen.items():
            checks.check_story(each)
            checks.check_end(each, promises.get(name), self._troubles)
        lost = [n for n, each in self._rested.items() if n not in seen and not each.record.state.is_final]
        assert not lost, f"clusters were forgotten: {lost}"
        for name, before in self._rested.items():
            if name in seen:
                checks.check_same(before, seen[name], promises.get(name), self._killed_workers)
        for user in self._users:
            checks.check_promises(user, {**self._rested, **seen})


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Names of clusters and workers come from the seed as well: sets and tables are ordered by them."""
    source = random.Random(f"names {seed}")
    original = secrets.token_hex
    secrets.token_hex = lambda nbytes=None: source.randbytes(nbytes or 32).hex()
    try:
        yield
    finally:
        secrets.token_hex = original


class _Recorder(logging.Handler):
    def __init__(self, faults: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._faults = faults

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and "sweeping" not in record.getMessage():
            self._faults.append(self.format(record))


@contextmanager
def _errors(faults: list[str]) -> Iterator[None]:
    """Everything that a server logs with a traceback is a fault."""
    recorder, logger = _Recorder(faults), logging.getLogger("dask_sluice")
    logger.addHandler(recorder)
    try:
        yield
    finally:
        logger.removeHandler(recorder)
