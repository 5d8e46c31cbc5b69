"""How long clusters live: warnings, ends, and what puts them off. No test waits: the hands are turned."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_sluice.server import facts
from dask_sluice.server.backends.fake import World
from dask_sluice.server.clock import ManualClock, settle
from dask_sluice.server.decision import Rules
from dask_sluice.server.leases import terms
from dask_sluice.server.model import (
    AgentHello,
    AgentReport,
    ClusterRecord,
    Grant,
    Lease,
    LeaseTerms,
    Observation,
    SchedulerRecord,
)
from dask_sluice.server.reconcile import reconcile
from dask_sluice.server.settings_leases import Absent, Idle, Leases, Span
from dask_sluice.wire.api import LeaseChange, LeaseRequest
from dask_sluice.wire.errors import ClusterNotFound, LimitExceeded, RequestInvalid
from dask_sluice.wire.reasons import ReasonCode
from dask_sluice.wire.states import ClusterState

from .core import ADA, GRACE, end_world, running_core
from .records import record_of

RULES = Rules(lease_grace_s=300)


def running(terms: LeaseTerms, **lease: object) -> ClusterRecord:
    record = record_of("ada-1", state=ClusterState.RUNNING)
    return replace(
        record,
        spec=replace(record.spec, lease=terms),
        lease=replace(Lease(), **lease),  # type: ignore[arg-type]
        grant=Grant(True),
        started_at=0.0,
        scheduler=SchedulerRecord(record.scheduler.job, host="h", port=1, linked_at=0.0),
    )


def seen(now: float, *, idle_since: float | None = None, clients: int = 1, awake_since: float = -1e6) -> Observation:
    report = AgentReport({}, frozenset(), clients, idle_since is None, idle_since)
    return Observation(now, hello=AgentHello(1, None), report=report, awake_since=awake_since)


def told(record: ClusterRecord, now: float, look: Observation) -> tuple[ClusterRecord, list[str], float | None]:
    decision = reconcile(record, look, now, RULES)
    return decision.record, [str(event.reason.code) for event in decision.events], decision.wake_at


def test_an_idle_cluster_is_warned_twice_and_then_stopped() -> None:
    record, codes, wake_at = told(running(LeaseTerms(idle_s=1800)), 0, seen(0, idle_since=0))
    assert (codes, wake_at) == ([], 900)
    record, codes, wake_at = told(record, 900, seen(900, idle_since=0))
    assert (codes, wake_at) == (["lease_ends"], 1500)
    assert record.lease.notice is not None
    assert record.lease.notice.sentence == "will be stopped in 15 min: no task runs or waits in it"
    record, codes, wake_at = told(record, 1500, seen(1500, idle_since=0))
    assert (codes, wake_at) == (["lease_ends"], 1800)
    record, codes, _ = told(record, 1800, seen(1800, idle_since=0))
    assert record.wanted.stop is not None
    assert record.wanted.stop.sentence == "stopped after 30 min without work"
    assert not record.wanted.failed


def test_work_puts_the_end_off_and_takes_the_warning_back() -> None:
    record, *_ = told(running(LeaseTerms(idle_s=1800)), 1000, seen(1000, idle_since=0))
    assert record.lease.notice is not None
    record, codes, _ = told(record, 1100, seen(1100, idle_since=None))
    assert record.lease.notice is None
    record, codes, wake_at = told(record, 1200, seen(1200, idle_since=1200))
    assert (codes, wake_at) == ([], 2100)


def test_a_kept_cluster_is_not_ended_for_being_idle_or_alone() -> None:
    record = running(LeaseTerms(idle_s=600, absent_s=600), kept_until=5000, absent_since=0)
    record, _, _ = told(record, 4999, seen(4999, idle_since=0, clients=0))
    assert record.wanted.stop is None
    record, _, _ = told(record, 5000, seen(5000, idle_since=0, clients=0))
    assert record.wanted.stop is not None


def test_the_longest_life_ends_a_busy_cluster_later_where_it_was_extended() -> None:
    record, _, _ = told(running(LeaseTerms(age_s=3600)), 3600, seen(3600))
    assert record.wanted.stop is not None
    assert record.wanted.stop.code is ReasonCode.LEASE_OVER
    record, _, wake_at = told(running(LeaseTerms(age_s=3600), extended_s=1800), 3600, seen(3600))
    assert record.wanted.stop is None
    assert wake_at == 3600 + 1800 - 900


def test_a_cluster_ends_when_its_notebook_has_been_gone_for_long_enough() -> None:
    record, _, _ = told(running(LeaseTerms(absent_s=900)), 100, seen(100, clients=1))
    record, _, _ = told(record, 200, seen(200, clients=0))
    assert record.lease.absent_since == 200
    back, _, _ = told(record, 300, seen(300, clients=1))
    assert back.lease.absent_since is None
    present = replace(record, lease=replace(record.lease, present_at=1000.0))
    still, _, _ = told(present, 1100, seen(1100, clients=0))
    assert still.wanted.stop is None
    gone, _, _ = told(record, 1100, seen(1100, clients=0))
    assert gone.wanted.stop is not None
    assert gone.wanted.stop.code is ReasonCode.CLIENT_GONE


def test_idle_may_mean_without_clients_too() -> None:
    record = running(LeaseTerms(idle_s=600, idle_without_clients=True))
    assert told(record, 700, seen(700, idle_since=0, clients=1))[0].wanted.stop is None
    assert told(record, 700, seen(700, idle_since=0, clients=0))[0].wanted.stop is not None


def test_after_a_sleep_of_the_machine_everybody_has_time_to_come_back() -> None:
    record = running(LeaseTerms(idle_s=600, absent_s=600), absent_since=0)
    later, codes, wake_at = told(record, 90_000, seen(90_000, idle_since=0, clients=0, awake_since=90_000))
    assert later.wanted.stop is None
    assert wake_at == 90_300
    assert codes == ["lease_ends"]


def test_who_is_not_linked_is_not_called_idle() -> None:
    record = running(LeaseTerms(idle_s=600))
    assert told(record, 700, Observation(700, unlinked_since=699))[0].wanted.stop is None


@given(
    idle_s=st.floats(60, 10_000),
    looks=st.lists(st.tuples(st.floats(0, 3000), st.booleans()), max_size=12),
)
def test_no_cluster_is_stopped_for_being_idle_before_its_time(idle_s: float, looks: list[tuple[float, bool]]) -> None:
    record, now, idle_since = running(LeaseTerms(idle_s=idle_s)), 0.0, 0.0
    for pause_s, worked in looks:
        now += pause_s
        if worked:
            idle_since = now
        record, _codes, _ = told(record, now, seen(now, idle_since=idle_since))
        stopped = record.wanted.stop is not None
        assert stopped == (now >= idle_since + idle_s)
        again, more, _ = told(record, now, seen(now, idle_since=idle_since))
        assert (again, more) == (record, [])
        if stopped:
            return


@pytest.mark.parametrize(
    ("leases", "wish", "complaint"),
    [
        (Leases(idle=Idle(maximum=3600)), LeaseRequest(idle_s=7200), "at most 1 h (leases.idle.maximum)"),
        (Leases(), LeaseRequest(idle_s=5), "at least 1 min (leases.idle.minimum)"),
        (Leases(idle=Idle(never=False)), LeaseRequest(idle_s=0), "leases.idle.never forbids it"),
        (Leases(age=Span(default=60, maximum=600)), LeaseRequest(age_s=601), "at most 10 min (leases.age.maximum)"),
    ],
)
def test_what_a_user_asks_for_stays_within_the_range(leases: Leases, wish: LeaseRequest, complaint: str) -> None:
    with pytest.raises(LimitExceeded) as caught:
        terms(leases, wish)
    assert complaint in str(caught.value)


def test_only_a_client_that_says_it_is_there_is_missed() -> None:
    leases = Leases(absent=Absent(default=900))
    assert terms(leases, LeaseRequest()).absent_s == 0
    assert terms(leases, LeaseRequest(presence=True)).absent_s == 900


# -- over a whole core, on a clock


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    end_world(world)


async def test_a_forgotten_cluster_is_warned_of_and_stopped(tmp_path: Path, world: World) -> None:
    clock = ManualClock()
    async with running_core(tmp_path, world=world, clock=clock) as core:
        record = await core.running()
        for _ in range(40):
            await clock.advance(60)
            await settled(core, record.name)
        ended = await core.store.cluster(record.name)
        assert ended.reason.code is ReasonCode.IDLE
        codes = [event.reason.code for event in await core.control.events(ADA, record.name)]
        assert codes.count(ReasonCode.LEASE_ENDS) == 2


async def test_who_keeps_a_cluster_keeps_it_within_the_ceiling(tmp_path: Path, world: World) -> None:
    clock, leases = ManualClock(), Leases(keep_alive_max_s=7200)
    async with running_core(tmp_path, world=world, clock=clock, leases=leases) as core:
        record = await core.running()
        kept = await core.control.lease(ADA, record.name, LeaseChange(keep_alive_s=7200))
        assert kept.lease.kept_until == clock.now() + 7200
        with pytest.raises(LimitExceeded, match="at most 2 h"):
            await core.control.lease(ADA, record.name, LeaseChange(keep_alive_s=7201))
        with pytest.raises(RequestInvalid):
            await core.control.lease(ADA, record.name, LeaseChange(keep_alive_s=-1))
        with pytest.raises(LimitExceeded, match=r"leases\.extend_max_s"):
            await core.control.lease(ADA, record.name, LeaseChange(extend_s=60))
        with pytest.raises(ClusterNotFound):
            await core.control.lease(GRACE, record.name, LeaseChange(keep_alive_s=60))
        for _ in range(100):
            await clock.advance(60)
            await settled(core, record.name)
        assert (await core.store.cluster(record.name)).state is ClusterState.RUNNING


async def settled(core: object, name: str) -> None:
    """Let the loop's steps, which go through the store's threads, come to rest."""
    before = None
    while before != (before := await core.store.cluster(name)):  # type: ignore[attr-defined]
        await settle()


def test_facts_of_other_kinds_do_not_touch_the_lease() -> None:
    record = running(LeaseTerms(idle_s=600), kept_until=5.0)
    decision = reconcile(record, seen(1), 1, RULES, [facts.server_restarted])
    assert decision.record.lease.kept_until == 5.0
