"""A resource manager in memory, with dials for delay, failure and loss.

For tests, and for trying the server, its page and its clients where nothing can be started. What
"runs out there" lives in a `World`, apart from the backend, so that a restart of the server finds it again.
Its schedulers call home over an injected link and play the agent, so that a fake cluster reaches `running`.

    FakeBackend(dials=Dials(worker=JobDials(start_after_s=30)))      # slow_to_start
    FakeBackend(dials=PRESETS["fails_after_connect"])
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

from ...wire.errors import AuthenticationRequired, BackendUnavailable
from ...wire.launch import SchedulerLaunch, WorkerLaunch
from ...wire.reasons import Reason, ReasonCode
from ..clock import Clock, SystemClock
from .fake_agent import Dial, FakeAgent, Line, memory_lines
from .news import News
from .protocol import Capabilities, Handle, Job, JobKind, JobState, LogPart, Refused, Seen, Unavailable


@dataclass(frozen=True)
class JobDials:
    """How the fake treats one kind of job. Delays in seconds; None: never."""

    submit_takes_s: float = 0.0
    start_after_s: float = 0.0
    """How long it waits in the queue."""
    waits_for: Reason | None = None
    """Why it waits there."""
    connect_after_s: float | None = 0.0
    """From running to calling home (scheduler) or to joining the scheduler (worker)."""
    end_after_s: float | None = None
    """From running to ending by itself."""
    exit_code: int = 1
    last_lines: str = ""
    reason: Reason | None = None
    refuse: str = ""
    """Refuse the submit for good, with this sentence."""
    remove_takes_s: float = 0.0


@dataclass(frozen=True)
class Dials:
    """How the fake behaves. `unavailable` set: no call is answered, this is why; `full`: nothing new is taken."""

    scheduler: JobDials = field(default_factory=JobDials)
    worker: JobDials = field(default_factory=JobDials)
    unavailable: str = ""
    full: str = ""


PRESETS: Mapping[str, Dials] = {
    "well": Dials(),
    "slow_to_start": Dials(scheduler=JobDials(start_after_s=20)),
    "no_capacity": Dials(
        worker=JobDials(
            start_after_s=60, waits_for=Reason(ReasonCode.UNSCHEDULABLE, {"why": "no machine has 4 cores left"})
        )
    ),
    "never_connects": Dials(scheduler=JobDials(connect_after_s=None)),
    "fails_during_start": Dials(
        scheduler=JobDials(connect_after_s=None, end_after_s=1, last_lines="ModuleNotFoundError: No module named 'x'")
    ),
    "fails_after_connect": Dials(scheduler=JobDials(end_after_s=30, exit_code=-9)),
    "refused": Dials(scheduler=JobDials(refuse="the queue 'dask' does not exist")),
    "workers_fail": Dials(
        worker=JobDials(connect_after_s=None, end_after_s=1, last_lines="ImportError: cannot import name 'y'")
    ),
    "workers_get_lost": Dials(worker=JobDials(end_after_s=60, exit_code=-9)),
}


@dataclass
class Thing:
    """One job that is out there, or was."""

    job: Job
    state: JobState = JobState.PENDING
    exit_code: int | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    removals: int = 0
    log: str = ""


@dataclass
class World:
    """Everything that the fake runs: outlives the backend objects that look at it."""

    things: dict[str, Thing] = field(default_factory=dict)
    agents: dict[str, FakeAgent] = field(default_factory=dict)
    watchers: list[News] = field(default_factory=list)
    doors: list[Dial] = field(default_factory=list)
    """How agents reach the servers that are there; without any they do not call home."""

    async def call_home(self, launch: SchedulerLaunch) -> Line | None:
        """Reach a server, each time the next one, as through a load balancer."""
        if not self.doors:
            return None
        self.doors.append(self.doors.pop(0))
        return await self.doors[-1](launch)

    def changed(self, cluster: str) -> None:
        for watcher in self.watchers:
            watcher.tell(cluster)


class TakesLinks(Protocol):
    """The server's side of links, as `server.links.Links` has it."""

    async def admit(self, name: str, token: str) -> None:
        """Return where this is the cluster's token; `AuthenticationRequired`."""

    async def serve(self, socket: Line, name: str) -> None:
        """Serve a link until it ends."""


class FakeBackend:
    """Runs nothing, and behaves as if it did."""

    def __init__(
        self,
        *,
        preset: str = "well",
        world: World | None = None,
        dials: Dials | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.world = world or World()
        self.dials = dials or PRESETS[preset]
        self.clock: Clock = clock or SystemClock()
        self.submits: list[str] = []
        self._news = News()
        self._serving: set[asyncio.Task[None]] = set()
        self._door: Dial | None = None

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        if self._door in self.world.doors:
            self.world.doors.remove(self._door)
        for serving in self._serving:
            serving.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        self.world.watchers = [news for news in self.world.watchers if news is not self._news]
        self._news.close()

    def describe(self) -> Capabilities:
        return Capabilities(
            name="fake",
            enforces_memory=True,
            enforces_cores=True,
            separates_users=True,
            notes=("The fake backend runs nothing: clusters exist in memory only.",),
            runs_images=True,
            takes_overlay=True,
        )

    async def submit(self, job: Job) -> AsyncIterator[Handle]:
        dials = self._dials(job.kind)
        self._answer()
        self.submits.append(job.id)
        if dials.submit_takes_s:
            await self.clock.sleep(dials.submit_takes_s)
            self._answer()
        if self.dials.full:
            raise Unavailable(self.dials.full)
        if dials.refuse:
            raise Refused(dials.refuse)
        if job.id not in self.world.things:
            thing = self.world.things[job.id] = Thing(job)
            self._begin(thing, dials)
        yield _handle(job)

    async def observe(self, handles: Sequence[Handle]) -> list[Seen]:
        self._answer()
        return [self._seen(handle) for handle in handles]

    async def remove(self, handle: Handle) -> None:
        self._answer()
        thing = self.world.things.get(handle.job_id)
        if thing is None:
            return
        thing.removals += 1
        takes = self._dials(handle.kind).remove_takes_s
        if takes and thing.state is not JobState.ENDED:
            await self.clock.sleep(takes)
        self._end(thing, exit_code=-15)

    async def recover(self) -> list[Handle]:
        self._answer()
        return [_handle(thing.job) for thing in self.world.things.values() if thing.state is not JobState.ENDED]

    def changes(self) -> AsyncIterator[str]:
        if self._news not in self.world.watchers:
            self.world.watchers.append(self._news)
        return self._news.listen()

    async def logs(self, cluster: str, job_id: str, *, max_bytes: int = 1_000_000) -> str:
        return self._log(cluster, job_id)[-max_bytes:]

    async def log_after(self, cluster: str, job_id: str, position: str, *, max_bytes: int) -> LogPart:
        log = self._log(cluster, job_id)
        begin = int(position) if position.isdecimal() else max(0, len(log) - max_bytes)
        part = log[begin : begin + max_bytes]
        return LogPart(part, str(begin + len(part)) if part or position else "")

    async def forget(self, cluster: str) -> None:
        for job_id in [key for key, thing in self.world.things.items() if thing.job.cluster == cluster]:
            del self.world.things[job_id]

    async def kept(self) -> list[str]:
        return sorted({thing.job.cluster for thing in self.world.things.values()})

    def call_home_to(self, links: TakesLinks) -> None:
        """Let agents, those that run now and later ones, reach this server in memory."""

        async def answer(launch: SchedulerLaunch, line: Line) -> None:
            try:
                await links.admit(launch["cluster"], launch["link_token"])
                await links.serve(line, launch["cluster"])
            except (AuthenticationRequired, BackendUnavailable):
                pass
            finally:
                await line.close()

        async def dial(launch: SchedulerLaunch) -> Line | None:
            ours, theirs = memory_lines()
            serving = asyncio.create_task(answer(launch, ours))
            self._serving.add(serving)
            serving.add_done_callback(self._serving.discard)
            return theirs

        self._door = dial
        self.world.doors.append(dial)

    def kill(self, job_id: str, exit_code: int = -9) -> None:
        """End a job from outside, as a fault would."""
        self._end(self.world.things[job_id], exit_code=exit_code)

    def _dials(self, kind: JobKind) -> JobDials:
        return self.dials.scheduler if kind is JobKind.SCHEDULER else self.dials.worker

    def _log(self, cluster: str, job_id: str) -> str:
        thing = self.world.things.get(job_id)
        return thing.log if thing is not None and thing.job.cluster == cluster else ""

    def _answer(self) -> None:
        if self.dials.unavailable:
            raise Unavailable(self.dials.unavailable)

    def _seen(self, handle: Handle) -> Seen:
        thing, dials = self.world.things.get(handle.job_id), self._dials(handle.kind)
        if thing is None:
            return Seen(handle.job_id, JobState.ENDED)
        if thing.state is not JobState.ENDED:
            host = "127.0.0.1" if thing.state is JobState.RUNNING else ""
            waits_for = dials.waits_for if thing.state is JobState.PENDING else None
            return Seen(handle.job_id, thing.state, host=host, reason=waits_for)
        signal = {-9: "SIGKILL", -15: "SIGTERM"}.get(thing.exit_code or 0, "")
        return Seen(
            handle.job_id,
            JobState.ENDED,
            exit_code=thing.exit_code,
            signal=signal,
            reason=dials.reason,
            log_tail=dials.last_lines,
        )

    def _begin(self, thing: Thing, dials: JobDials) -> None:
        thing.tasks.append(asyncio.create_task(self._live(thing, dials)))

    async def _live(self, thing: Thing, dials: JobDials) -> None:
        if dials.start_after_s:
            await self.clock.sleep(dials.start_after_s)
        thing.state = JobState.RUNNING
        thing.log += f"{thing.job.id}: running\n"
        self.world.changed(thing.job.cluster)
        if dials.end_after_s is not None:
            thing.tasks.append(asyncio.create_task(self._end_later(thing, dials)))
        if dials.connect_after_s is None:
            return
        if dials.connect_after_s:
            await self.clock.sleep(dials.connect_after_s)
        await self._connect(thing)

    async def _end_later(self, thing: Thing, dials: JobDials) -> None:
        await self.clock.sleep(dials.end_after_s or 0)
        self._end(thing, exit_code=dials.exit_code)

    async def _connect(self, thing: Thing) -> None:
        job = thing.job
        if job.kind is JobKind.WORKER:
            if agent := self.world.agents.get(job.cluster):
                await agent.add_worker(_worker_name(job))
        else:
            agent = FakeAgent(cast(SchedulerLaunch, job.launch), self.clock)
            self.world.agents[job.cluster] = agent
            self._end(thing, exit_code=await agent.run(self.world.call_home))

    def _end(self, thing: Thing, *, exit_code: int) -> None:
        if thing.state is JobState.ENDED:
            return
        thing.state, thing.exit_code = JobState.ENDED, exit_code
        thing.log += f"{self._dials(thing.job.kind).last_lines}\n{thing.job.id}: ended\n".lstrip()
        current = asyncio.current_task()
        for task in thing.tasks:
            if task is not current:
                task.cancel()
        job = thing.job
        if job.kind is JobKind.SCHEDULER:
            self.world.agents.pop(job.cluster, None)
        elif agent := self.world.agents.get(job.cluster):
            thing.tasks = [asyncio.create_task(agent.remove_worker(_worker_name(job)))]
        self.world.changed(job.cluster)


def _worker_name(job: Job) -> str:
    return cast(WorkerLaunch, job.launch)["name"]


def _handle(job: Job) -> Handle:
    return Handle(job_id=job.id, cluster=job.cluster, kind=job.kind, data={"fake": job.id})
