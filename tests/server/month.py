"""A month of many clusters: a world that starts and ends processes, and writes down itself when each ran.

Time is simulated; reconcile, store and ledger are the real ones. Now and then the server is killed in the middle of
a write, which is then lost, and does the step again when it is back.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from dask_sluice.server import facts, wishes
from dask_sluice.server.backends.protocol import Handle, JobKind, JobState, Seen, Size
from dask_sluice.server.decision import Change, Decision, Fact, Remove, Rules, Submit, plain
from dask_sluice.server.ledger import GIB
from dask_sluice.server.model import (
    DEFAULT_GROUP,
    AgentHello,
    AgentReport,
    ClusterRecord,
    Grant,
    LeaseTerms,
    Observation,
    Prices,
    WorkerGroup,
    WorkerLoad,
)
from dask_sluice.server.reconcile import reconcile
from dask_sluice.server.store import Secrets, Store
from dask_sluice.wire.reasons import ReasonCode
from dask_sluice.wire.states import WorkerState

from .records import record_of

BEGIN = 1_793_491_200.0  # 2026-11-01 00:00 UTC
DAY_S = 86400.0
MONTH_S = 30 * DAY_S
PRICES = Prices(core_hour=0.02, memory_gib_hour=0.005, gpu_hour=1.5)
SIZES = (Size(1, 2 * GIB, 1), Size(4, 16 * GIB, 4), Size(8, 64 * GIB, 8, gpus=2))
USERS = {"ada": ("physics",), "grace": ("physics", "all"), "emmy": ("maths",), "nobody": ()}
RULES = Rules(ended_workers_kept=2)


class Killed(Exception):
    """The server is killed while it writes."""


@dataclass
class Run:
    """One process as the world knows it."""

    size: Size
    owner: str
    began: float
    ended: float | None = None


@dataclass
class Site:
    """What is out there of one cluster."""

    jobs: dict[str, JobState] = field(default_factory=dict)
    submitting: set[str] = field(default_factory=set)
    removing: set[str] = field(default_factory=set)
    retired: set[str] = field(default_factory=set)
    linked_since: float | None = None
    wakes: set[float] = field(default_factory=set)
    over: bool = False


class Month:
    """The simulation. `runs` is the truth that the ledger has to agree with."""

    def __init__(self, directory: Path, seed: int) -> None:
        self._random = random.Random(seed)
        self._file = directory / "sluice.db"
        self.store = Store(self._file)
        self.runs: dict[str, Run] = {}
        self.kills = 0
        self.now = BEGIN
        self._sites: dict[str, Site] = {}
        self._agenda: list[tuple[float, int, Any]] = []
        self._order = count()

    async def run(self, clusters: int) -> None:
        """Let it all happen, until the month is over."""
        self.store.open()
        for number in range(clusters):
            # Some run on when the month is over.
            earliest = MONTH_S - DAY_S if number < 4 else 0
            self._at(BEGIN + self._random.uniform(earliest, MONTH_S), partial(self._create, number))
        while self._agenda and self._agenda[0][0] <= BEGIN + MONTH_S:
            self.now, _, happens = heapq.heappop(self._agenda)
            await happens()
        self.now = BEGIN + MONTH_S

    def _at(self, when: float, happens: Any) -> None:
        # Whole seconds, so that what follows can be said to be exact.
        heapq.heappush(self._agenda, (float(round(when)), next(self._order), happens))

    def _soon(self, seconds: float, happens: Any) -> None:
        self._at(self.now + self._random.uniform(1, seconds), happens)

    # -- what people do

    async def _create(self, number: int) -> None:
        owner = self._random.choice(list(USERS))
        name = f"{owner}-{number}"
        record = record_of(name, owner)
        size = self._random.choice(SIZES)
        spec = replace(
            record.spec,
            groups=USERS[owner],
            prices=PRICES,
            worker_groups=(WorkerGroup(DEFAULT_GROUP, size),),
            lease=LeaseTerms(),
            max_workers=8,
            start_timeout_s=1000,
            worker_start_timeout_s=1000,
        )
        self._sites[name] = Site()
        await self.store.create(Change(replace(record, spec=spec, created_at=self.now)), Secrets("", "", ""))
        lives_s = self._random.choice([600.0, 4 * 3600.0, 3 * DAY_S])
        if number >= 4:
            self._soon(lives_s, partial(self._stop, name))
        for _ in range(self._random.randint(1, 4)):
            self._soon(lives_s, partial(self._scale, name, self._random.randint(0, 8)))
        for _ in range(self._random.randint(0, 2)):
            self._soon(lives_s, partial(self._fault, name))
        await self._step(name, partial(facts.granted, grant=Grant(True)))

    async def _stop(self, name: str) -> None:
        stop = plain(ReasonCode.STOPPED_BY_USER, by="ada")
        await self.store.change(name, lambda record: wishes.stopped(record, stop, self.now), durable=False)
        await self._step(name)

    async def _scale(self, name: str, workers: int) -> None:
        def scaled(record: ClusterRecord) -> Change:
            active = record.state.is_active and record.wanted.stop is None
            return wishes.scaled(record, "ada", workers, self.now) if active else Change(record)

        await self.store.change(name, scaled, durable=False)
        await self._step(name, partial(facts.granted, grant=Grant(True, workers)))

    # -- what happens out there

    async def _starts(self, name: str, job_id: str) -> None:
        site = self._sites[name]
        if site.jobs.get(job_id) is not JobState.PENDING:
            return
        site.jobs[job_id] = JobState.RUNNING
        record = await self.store.cluster(name)
        is_scheduler = job_id.endswith("-scheduler")
        if is_scheduler:
            site.linked_since = self.now
        if not any(job.job_id == job_id and job.ended_at is None for job in record.jobs):
            return
        size = record.spec.scheduler if is_scheduler else record.spec.worker
        self.runs[job_id] = Run(size, record.spec.owner, self.now)
        await self._step(name)

    async def _fault(self, name: str) -> None:
        """Something ends by itself."""
        site = self._sites[name]
        running = sorted(job for job, state in site.jobs.items() if state is JobState.RUNNING)
        if running:
            self._ends(name, victim := self._random.choice(running), by_itself=True)
            if victim.endswith("-scheduler"):
                site.linked_since = None
            await self._step(name)

    def _ends(self, name: str, job_id: str, *, by_itself: bool = False) -> None:
        self._sites[name].jobs[job_id] = JobState.ENDED
        # What a dead scheduler left behind is tidied away when its workers are: its time ends with that.
        if (run := self.runs.get(job_id)) and run.ended is None and not (by_itself and job_id.endswith("-scheduler")):
            run.ended = self.now

    async def _is_removed(self, name: str, job_id: str) -> None:
        self._ends(name, job_id)
        self._sites[name].removing.discard(job_id)
        await self._step(name, partial(facts.job_removed, job_id=job_id))

    async def _is_submitted(self, name: str, job_id: str) -> None:
        site = self._sites[name]
        site.jobs.setdefault(job_id, JobState.PENDING)
        kind = JobKind.SCHEDULER if job_id.endswith("-scheduler") else JobKind.WORKER
        await self._step(name, partial(facts.handle_saved, handle=Handle(job_id, name, kind, {})))
        site.submitting.discard(job_id)
        self._soon(300, partial(self._starts, name, job_id))
        await self._step(name)

    # -- the server

    async def _step(self, name: str, *what: Fact) -> None:
        site = self._sites[name]
        if site.over:
            return
        seen = self._observation(name, site, await self.store.cluster(name))
        decision = await self._written(name, seen, what)
        for worker in decision.record.workers:
            if worker.state is WorkerState.RETIRING and worker.name not in site.retired:
                site.retired.add(worker.name)
                self._soon(60, partial(self._step, name))
        for action in decision.actions:
            self._act(name, site, action)
        if decision.wake_at is not None and decision.wake_at not in site.wakes:
            site.wakes.add(decision.wake_at)
            self._at(decision.wake_at + 1, partial(self._step, name))
        site.over = decision.record.state.is_final

    async def _written(self, name: str, seen: Observation, what: tuple[Fact, ...]) -> Decision:
        """The step, in its transaction; sometimes the server dies before that is done, and begins anew."""
        if self._random.random() < 0.02:
            await self._die(name, seen, what)
        return await self.store.change(
            name, lambda record: reconcile(record, seen, self.now, RULES, what), durable=False
        )

    async def _die(self, name: str, seen: Observation, what: tuple[Fact, ...]) -> None:
        self.kills += 1
        store = self.store

        def decide(record: ClusterRecord) -> Decision:
            reconcile(record, seen, self.now, RULES, what)
            raise Killed

        try:
            await store.change(name, decide, durable=False)
        except Killed:
            await store.close()
            self.store = Store(self._file)
            self.store.open()

    def _act(self, name: str, site: Site, action: Any) -> None:
        if isinstance(action, Submit):
            if action.job_id not in site.jobs and action.job_id not in site.submitting:
                site.submitting.add(action.job_id)
                self._soon(20, partial(self._is_submitted, name, action.job_id))
        elif isinstance(action, Remove) and action.job_id not in site.removing:
            site.removing.add(action.job_id)
            self._soon(10, partial(self._is_removed, name, action.job_id))

    def _observation(self, name: str, site: Site, record: ClusterRecord) -> Observation:
        running = {job for job, state in site.jobs.items() if state is JobState.RUNNING}
        connected = {worker.name for worker in record.workers if worker.job.job_id in running} - site.retired
        linked = site.linked_since is not None
        return Observation(
            time=self.now,
            jobs={job: Seen(job, state, host="127.0.0.1") for job, state in site.jobs.items()},
            submitting=frozenset(site.submitting),
            hello=AgentHello(8786, None) if linked else None,
            report=AgentReport({each: WorkerLoad() for each in connected}, frozenset(site.retired), 1, True, None)
            if linked
            else None,
            unlinked_since=None if linked else self.now,
        )
