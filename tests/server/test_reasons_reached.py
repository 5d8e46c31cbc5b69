"""Every code of the catalogue is reached: by a life of a cluster, over a real store and loop on the fake backend.

Each scene says which codes it is there for; a code that is in no scene fails the last test. What agents see of
their own processes is played here; that they see it, with real ones, is in `tests/agent`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dask_sluice.server import facts
from dask_sluice.server.backends.fake import PRESETS, Dials, JobDials, World
from dask_sluice.server.budgets import Budget, Level, Verdict
from dask_sluice.server.clock import ManualClock, SystemClock
from dask_sluice.server.decision import Rules
from dask_sluice.server.drain import Drain
from dask_sluice.server.identity.protocol import Shown
from dask_sluice.server.identity.token import TokenAuthenticator
from dask_sluice.server.model import ClusterRecord
from dask_sluice.server.notebooks import NotebookWatch
from dask_sluice.server.reconcile_budget import judged
from dask_sluice.server.settings_leases import Absent, Idle, Leases, Span
from dask_sluice.server.settings_limits import Ceiling, Limits
from dask_sluice.server.settings_schema import Settings, Timeouts
from dask_sluice.wire.api import LeaseChange, LeaseRequest
from dask_sluice.wire.reasons import Reason, ReasonCode
from dask_sluice.wire.states import ClusterState, WorkerState

from .core import ADA, GRACE, ROOT, Core, end_world, eventually, running_core

C = ReasonCode
FAST = Timeouts(scheduler_start_s=0.2, worker_start_s=0.2)
BUDGET = Budget("user ada", 10, "EUR", "month", "usage.budgets.per_user")


@dataclass(frozen=True)
class Stage:
    """Where a scene is played: cores over one directory and one world."""

    directory: Path
    world: World

    def core(self, **given: Any) -> AbstractAsyncContextManager[Core]:
        return running_core(self.directory, world=self.world, **given)


Scene = Callable[[Stage], Awaitable[set[ReasonCode]]]
SCENES: list[tuple[Scene, set[ReasonCode]]] = []


def scene(*codes: ReasonCode) -> Callable[[Scene], Scene]:
    def keep(play: Scene) -> Scene:
        SCENES.append((play, set(codes)))
        return play

    return keep


async def told(core: Core, *records: ClusterRecord) -> set[ReasonCode]:
    """The codes of all events of these clusters."""
    return {event.reason.code for each in records for event in await core.store.events(cluster=each.name)}


async def until_told(core: Core, record: ClusterRecord, *codes: ReasonCode) -> set[ReasonCode]:
    """The same, once these are among them."""
    found: set[ReasonCode] = set()

    async def there() -> bool:
        found.update(await told(core, record))
        return found >= set(codes)

    await eventually(there)
    return found


async def ends(core: Core, name: str, *states: ClusterState) -> set[ReasonCode]:
    record = await core.until(name, *(states or (ClusterState.FAILED,)))
    return await told(core, record)


@scene(C.CREATED, C.SCHEDULER_STARTING, C.SCHEDULER_CONNECTING, C.RUNNING, C.SCALED, C.WORKER_STARTING)
@scene(C.WORKER_CONNECTED, C.WORKER_SURPLUS, C.WORKER_RETIRED, C.STOPPED_BY_USER, C.CLUSTER_ENDED)
async def an_ordinary_life(stage: Stage) -> set[ReasonCode]:
    async with stage.core(dials=Dials(scheduler=JobDials(connect_after_s=0.1))) as core:
        record = await core.running(workers=2)
        await core.control.scale(ADA, record.name, 1)
        await core.until_workers(record.name, 1)
        await core.control.stop(ADA, record.name)
        return await ends(core, record.name, ClusterState.STOPPED)


@scene(C.LIMIT_CLAMPED, C.ADAPT_SET, C.ADAPT_OFF, C.ADAPTIVE_UP, C.ADAPTIVE_DOWN)
async def adaptive_scaling(stage: Stage) -> set[ReasonCode]:
    async with stage.core() as core:
        record = await core.running()
        await core.control.adapt(ADA, record.name, 0, 10_000, True)
        for count in (2, 1):
            await core.agent(record.name).say({"op": "wish", "count": count, "why": "tasks wait"})
            await core.until_workers(record.name, count)
        await core.control.adapt(ADA, record.name, None, None, False)
        return await told(core, record)


@scene(C.VARIABLES_LEFT_OUT)
async def a_whole_environment(stage: Stage) -> set[ReasonCode]:
    options = {"env": {"type": "mapping", "sets": {"variables": "{options.env}"}}}
    async with stage.core(settings=Settings.model_validate({"options": options})) as core:
        record, _ = await core.control.create(ADA, {"env": {"A B": "1"}}, None)
        return await told(core, record)


@scene(C.KEPT_ALIVE, C.EXTENDED)
async def a_longer_life(stage: Stage) -> set[ReasonCode]:
    async with stage.core(leases=Leases(age=Span(default=3600), extend_max_s=60)) as core:
        record = await core.running()
        await core.control.lease(ADA, record.name, LeaseChange(keep_alive_s=60, extend_s=60))
        return await told(core, record)


@scene(C.QUEUED, C.WORKERS_QUEUED)
async def no_room_under_a_limit(stage: Stage) -> set[ReasonCode]:
    async with stage.core(limits=Limits(site=Ceiling(clusters=2, workers=2))) as core:
        await core.running(workers=2)
        without_workers, waiting = await core.running(GRACE), await core.new(GRACE)
        await core.control.scale(GRACE, without_workers.name, 1)
        queued = await until_told(core, waiting, C.QUEUED)
        return queued | await until_told(core, without_workers, C.WORKERS_QUEUED)


@scene(C.QUEUED_FOR_TURN)
async def more_starts_than_a_minute_has(stage: Stage) -> set[ReasonCode]:
    async with stage.core(limits=Limits(starts_per_minute=1)) as core:
        record = await core.running()
        await core.control.scale(ADA, record.name, 2)
        return await until_told(core, record, C.QUEUED_FOR_TURN)


@scene(C.SCHEDULER_SUBMITTING)
async def a_backend_that_takes_long_to_submit(stage: Stage) -> set[ReasonCode]:
    async with stage.core(dials=Dials(scheduler=JobDials(submit_takes_s=0.3)), rules=Rules(silent_s=0.05)) as core:
        return await told(core, await core.running())


@scene(C.UNSCHEDULABLE, C.WORKERS_PENDING)
async def no_room_on_the_machines(stage: Stage) -> set[ReasonCode]:
    full = JobDials(start_after_s=0.2, waits_for=Reason(C.UNSCHEDULABLE, {"why": "3 machines, 0 with 4 cores left"}))
    async with stage.core(dials=Dials(scheduler=full, worker=full)) as core:
        record = await core.running(workers=2)
        assert record.reason.code is C.RUNNING
        return await told(core, record)


@scene(C.SCHEDULER_START_FAILED)
async def a_scheduler_that_cannot_start(stage: Stage) -> set[ReasonCode]:
    dials = Dials(scheduler=JobDials(connect_after_s=None, end_after_s=0.01, last_lines="No module named 'x'"))
    async with stage.core(dials=dials) as core:
        return await ends(core, (await core.new()).name)


@scene(C.SCHEDULER_START_TIMEOUT)
async def a_scheduler_that_never_calls_home(stage: Stage) -> set[ReasonCode]:
    async with stage.core(dials=PRESETS["never_connects"], timeouts=FAST) as core:
        return await ends(core, (await core.new()).name)


@scene(C.SCHEDULER_ENDED)
async def a_killed_scheduler(stage: Stage) -> set[ReasonCode]:
    async with stage.core() as core:
        record = await core.running()
        core.backend.kill(record.scheduler.job.job_id)
        return await ends(core, record.name)


@scene(C.SCHEDULER_CLOSED)
async def a_client_that_shuts_the_scheduler_down(stage: Stage) -> set[ReasonCode]:
    async with stage.core() as core:
        record = await core.running()
        core.backend.kill(record.scheduler.job.job_id, exit_code=0)
        return await ends(core, record.name, ClusterState.STOPPED)


@scene(C.SCHEDULER_LINK_LOST, C.SCHEDULER_LINK_BACK)
async def a_broken_link(stage: Stage) -> set[ReasonCode]:
    async with stage.core(rules=Rules(link_grace_s=0.02)) as core:
        record = await core.running()
        await core.agent(record.name).cut()
        return await until_told(core, record, C.SCHEDULER_LINK_LOST, C.SCHEDULER_LINK_BACK)


@scene(C.BACKEND_REFUSED)
async def a_backend_that_refuses(stage: Stage) -> set[ReasonCode]:
    async with stage.core(dials=PRESETS["refused"]) as core:
        return await ends(core, (await core.new()).name)


@scene(C.BACKEND_UNAVAILABLE)
async def a_backend_that_does_not_answer(stage: Stage) -> set[ReasonCode]:
    async with stage.core(dials=Dials(unavailable="the controller is down")) as core:
        return await until_told(core, await core.new(), C.BACKEND_UNAVAILABLE)


@scene(C.WORKER_START_FAILED, C.WORKERS_KEEP_FAILING)
async def workers_that_cannot_start(stage: Stage) -> set[ReasonCode]:
    dials = Dials(worker=JobDials(connect_after_s=None, end_after_s=0.01, last_lines="ImportError: y"))
    async with stage.core(dials=dials) as core:
        record = await core.running()
        await core.control.scale(ADA, record.name, 5)
        return await until_told(core, record, C.WORKERS_KEEP_FAILING)


@scene(C.WORKER_START_TIMEOUT)
async def workers_that_never_connect(stage: Stage) -> set[ReasonCode]:
    async with stage.core(dials=Dials(worker=JobDials(connect_after_s=None)), timeouts=FAST) as core:
        record = await core.running()
        await core.control.scale(ADA, record.name, 1)
        return await until_told(core, record, C.WORKER_START_TIMEOUT)


@scene(C.WORKER_KILLED, C.WORKER_CRASHED, C.WORKER_LOST)
async def workers_that_end(stage: Stage) -> set[ReasonCode]:
    async with stage.core() as core:
        record = await core.running(workers=3)
        killed, crashed, lost = (worker.job.job_id for worker in record.workers)
        core.backend.kill(killed)
        core.backend.kill(crashed, exit_code=3)
        thing = core.backend.world.things.pop(lost)
        for task in thing.tasks:
            task.cancel()
        core.backend.world.changed(record.name)
        return await until_told(core, record, C.WORKER_KILLED, C.WORKER_CRASHED, C.WORKER_LOST)


@scene(C.WORKER_MISSING)
async def a_worker_that_its_scheduler_does_not_see(stage: Stage) -> set[ReasonCode]:
    async with stage.core(rules=Rules(silent_s=0.05)) as core:
        record = await core.running(workers=1)
        await core.agent(record.name).remove_worker("worker-1")
        found = await until_told(core, record, C.WORKER_MISSING)
        await core.agent(record.name).add_worker("worker-1")

        async def is_back() -> bool:
            (worker,) = (await core.store.cluster(record.name)).workers
            return worker.reason.code is C.WORKER_CONNECTED

        await eventually(is_back)
        return found


@scene(C.WORKER_RETIRE_TIMEOUT)
async def a_worker_whose_data_cannot_move(stage: Stage) -> set[ReasonCode]:
    async with stage.core(rules=Rules(retire_s=0)) as core:
        record = await core.running(workers=2)
        core.agent(record.name).keeps_retiring = True
        await core.control.scale(ADA, record.name, 1)
        return await until_told(core, record, C.WORKER_RETIRE_TIMEOUT)


@scene(C.WORKER_OUT_OF_MEMORY, C.WORKER_RESTARTED, C.WORKER_CRASH_LOOP)
async def workers_of_which_their_nannies_tell(stage: Stage) -> set[ReasonCode]:
    gave_up = Reason(C.WORKER_CRASH_LOOP, {"restarts": 5, "window_s": 120, "how": "exit code 1"})
    async with stage.core(dials=Dials(worker=JobDials(reason=gave_up))) as core:
        record = await core.running(workers=1)
        say = partial(core.agent(record.name).say, {"op": "event", "subject": "worker-1"})
        for code, details in (
            (C.WORKER_OUT_OF_MEMORY, {"used_gib": 3.9, "limit_gib": 4}),
            (C.WORKER_RESTARTED, {"how": "out of memory"}),
        ):
            await core.agent(record.name).say({**say.args[0], "code": str(code), "details": details})
        await until_told(core, record, C.WORKER_OUT_OF_MEMORY, C.WORKER_RESTARTED)
        core.backend.kill(record.workers[0].job.job_id, exit_code=1)
        return await until_told(core, record, C.WORKER_CRASH_LOOP)


@scene(C.IDLE)
async def nothing_to_do(stage: Stage) -> set[ReasonCode]:
    leases = Leases(idle=Idle(default=0.2, minimum=0.1))
    async with stage.core(leases=leases, rules=Rules(lease_grace_s=0)) as core:
        return await ends(core, (await core.new()).name, ClusterState.STOPPED)


class NoNotebooks(TokenAuthenticator):
    """A hub on which no notebook server runs."""

    async def notebooks(self, user: str) -> Mapping[str, str]:
        return {}

    def is_herald(self, shown: Shown) -> bool:
        return False


@scene(C.NOTEBOOK_ENDED)
async def its_notebook_server_is_gone(stage: Stage) -> set[ReasonCode]:
    async with stage.core() as core:
        record = await core.running(replace(ADA, notebook="ada/"))
        await NotebookWatch(core.store, core.loop, SystemClock(), NoNotebooks(token="t"))._look()
        return {(await core.until(record.name, ClusterState.STOPPED)).reason.code}


@scene(C.CLIENT_GONE)
async def a_notebook_that_is_gone(stage: Stage) -> set[ReasonCode]:
    leases = Leases(absent=Absent(default=0.2, minimum=0.1))
    async with stage.core(leases=leases, rules=Rules(lease_grace_s=0)) as core:
        record, _ = await core.control.create(ADA, {}, None, LeaseRequest(presence=True))
        return await ends(core, record.name, ClusterState.STOPPED)


@scene(C.LEASE_OVER)
async def the_longest_life(stage: Stage) -> set[ReasonCode]:
    async with stage.core(leases=Leases(age=Span(default=0.2, minimum=0.1))) as core:
        return await ends(core, (await core.new()).name, ClusterState.STOPPED)


@scene(C.LEASE_ENDS)
async def a_warning_before_the_end(stage: Stage) -> set[ReasonCode]:
    clock = ManualClock()
    async with stage.core(clock=clock, leases=Leases(age=Span(default=3600))) as core:
        record = await core.running()
        await clock.advance(2701)
        return await until_told(core, record, C.LEASE_ENDS)


@scene(C.SERVER_RESTARTED, C.SERVER_CHANGED, C.SERVER_STOPPING)
async def servers_that_come_and_go(stage: Stage) -> set[ReasonCode]:
    async with stage.core() as core:
        record = await core.running()
    async with stage.core() as core:
        await until_told(core, record, C.SERVER_RESTARTED)
        await core.loop.happened(record.name, facts.server_changed)
        await core.control.stop_all(Reason(C.SERVER_STOPPING))
        return await ends(core, record.name, ClusterState.STOPPED)


@scene(C.DRAINING)
async def a_drained_server(stage: Stage) -> set[ReasonCode]:
    async with stage.core() as core:
        drain = Drain(core.store, ManualClock())
        await drain.begin(ROOT.name, "")
        state = await drain.state()
        return {state.reason.code} if state else set()


@scene(C.BUDGET_WARNING, C.BUDGET_NO_NEW_WORKERS, C.BUDGET_RENEWED, C.BUDGET_DRAINING, C.BUDGET_SPENT)
async def a_budget_that_is_spent(stage: Stage) -> set[ReasonCode]:
    async with stage.core() as core:
        record = await core.running()
        verdict = Verdict(Level.WARN, BUDGET, 8, 2e9, grace_s=0.1)
        for level in (Level.WARN, Level.NO_NEW_WORKERS, Level.FINE, Level.DRAIN):
            await core.loop.happened(record.name, partial(judged, verdict=replace(verdict, level=level)))
        return await ends(core, record.name, ClusterState.STOPPED)


@asynccontextmanager
async def a_world() -> AsyncIterator[World]:
    world = World()
    try:
        yield world
    finally:
        end_world(world)


@pytest.mark.parametrize(
    ("play", "codes"), [pytest.param(play, codes, id=getattr(play, "__name__", "")) for play, codes in SCENES]
)
async def test_a_scene_reaches_its_codes(play: Scene, codes: set[ReasonCode], tmp_path: Path) -> None:
    async with a_world() as world, asyncio.timeout(30):
        reached = await play(Stage(tmp_path, world))
    assert not codes - reached


def test_no_code_is_in_the_catalogue_that_nothing_reaches() -> None:
    assert set(ReasonCode) == {code for _, codes in SCENES for code in codes} | OF_KUBERNETES


# -- what a person then reads


async def test_a_start_that_times_out_shows_phase_and_last_lines_of_what_still_ran(tmp_path: Path) -> None:
    async with a_world() as world:
        stage = Stage(tmp_path, world)
        async with stage.core(dials=PRESETS["never_connects"], timeouts=FAST) as core:
            record = await core.until((await core.new()).name, ClusterState.STOPPING, ClusterState.FAILED)
            assert record.reason.sentence == (
                "the scheduler was not ready 0.2 s after it was submitted (phase: connecting)\n"
                f"  {record.scheduler.job.job_id}: running"
            ), "its last lines are there as soon as the reason is"
        async with stage.core(dials=Dials(worker=JobDials(connect_after_s=None)), timeouts=FAST) as core:
            record = await core.running()
            await core.control.scale(ADA, record.name, 1)
            record = await core.until_workers(record.name, 1, WorkerState.FAILED, others=True)
            (failed,) = [worker for worker in record.workers if worker.state is WorkerState.FAILED]
            assert failed.reason.sentence == (
                f"did not connect within 0.2 s (phase: connecting)\n  {failed.job.job_id}: running"
            )


async def test_who_waits_for_room_on_the_machines_is_told_so_and_when_it_is_over(tmp_path: Path) -> None:
    full = JobDials(start_after_s=0.5, waits_for=Reason(C.UNSCHEDULABLE, {"why": "no machine has 4 cores left"}))
    async with a_world() as world:
        stage = Stage(tmp_path, world)
        async with stage.core(dials=Dials(worker=full)) as core:
            record = await core.running()
            await core.control.scale(ADA, record.name, 2)
            await until_told(core, record, C.WORKERS_PENDING)
            record = await core.store.cluster(record.name)
            assert record.reason.sentence == (
                "2 workers not started yet; worker-1: waits for a node: no machine has 4 cores left"
            )
            assert {worker.reason.code for worker in record.workers} == {C.UNSCHEDULABLE}
            record = await core.until_workers(record.name, 2)
            assert record.reason.code is C.RUNNING
            warned = [heard["message"] for heard in core.agent(record.name).heard if heard["op"] == "warn"]
            assert len(warned) == 1, "stock clients hear of it too, once"
            assert "workers not started yet" in warned[0]


OF_KUBERNETES = {
    *(C.UNSCHEDULABLE, C.IMAGE_PULLING, C.IMAGE_NOT_FOUND, C.IMAGE_DENIED, C.IMAGE_INVALID, C.IMAGE_PULL_FAILED),
    *(C.IMAGE_WITHOUT_DASK, C.CONTAINER_CONFIG_INVALID, C.CONTAINER_START_FAILED, C.QUOTA_EXCEEDED),
    *(C.POD_SECURITY_REFUSED,),
    *(C.OUT_OF_MEMORY, C.EVICTED, C.PREEMPTED, C.NODE_LOST, C.POD_DELETED),
}
"""Reached in `tests/kubernetes/test_reasons.py` by real pods, and in `backends/kubernetes/test_looking.py`."""
GOOD_NEWS = {
    *(C.CREATED, C.SCHEDULER_STARTING, C.SCHEDULER_CONNECTING, C.RUNNING, C.SCHEDULER_LINK_BACK),
    *(C.SCALED, C.ADAPT_SET, C.ADAPT_OFF, C.ADAPTIVE_UP, C.ADAPTIVE_DOWN, C.KEPT_ALIVE, C.EXTENDED),
    *(C.WORKER_STARTING, C.WORKER_CONNECTED, C.WORKER_SURPLUS, C.WORKER_RETIRED, C.CLUSTER_ENDED),
    *(C.SERVER_RESTARTED, C.SERVER_CHANGED, C.BUDGET_RENEWED),
}
"""As it should be: there is nothing to be cured."""


@pytest.mark.parametrize("code", [code for code in ReasonCode if code not in GOOD_NEWS])
def test_whoever_waits_or_ended_is_told_what_to_do(code: ReasonCode) -> None:
    assert Reason(code).hint
