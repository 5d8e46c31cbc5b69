"""Several servers over one PostgreSQL: each cluster is worked on by one, and a death of that one is no loss."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy import update

from dask_sluice.server.backends.fake import Dials, JobDials
from dask_sluice.server.clock import ManualClock
from dask_sluice.server.decision import Change
from dask_sluice.server.replica import LEASE_S, RENEWALS
from dask_sluice.server.settings_limits import Ceiling, Limits
from dask_sluice.server.store.tables import clusters
from dask_sluice.wire.errors import BackendUnavailable, LimitExceeded
from dask_sluice.wire.reasons import ReasonCode
from dask_sluice.wire.states import ClusterState

from ..postgresql import PostgreSQL
from .core import ADA, ROOT, Core, eventually
from .fleet import Fleet, fleet_of


@pytest.fixture
async def fleet(postgresql: PostgreSQL) -> AsyncIterator[Fleet]:
    async with fleet_of(3, postgresql.new_database()) as fleet:
        yield fleet


def two_of(fleet: Fleet) -> tuple[Core, Core]:
    one, other, *_ = fleet.cores.values()
    return one, other


async def linked_elsewhere(fleet: Fleet, name: str) -> tuple[Core, Core]:
    """Cut the agent off once: it dials the next server; the one that had the cluster, and the one that has it now."""
    (before,) = fleet.at_work(name)
    await fleet.world.agents[name].cut()
    await eventually(lambda: len(fleet.at_work(name)) == 1 and fleet.at_work(name) != [before])
    (after,) = fleet.at_work(name)
    return before, after


async def give(core: Core, name: str, holder: str) -> None:
    """Let another server hold the cluster, without telling anybody."""
    statement = update(clusters).where(clusters.c.name == name).values(holder=holder)
    await core.store._db.write(lambda connection: connection.execute(statement), durable=False)


# -- what one server writes, the others know


async def test_a_change_wakes_who_waits_on_another_server(fleet: Fleet) -> None:
    one, other = two_of(fleet)
    record = await one.new()
    assert (await other.until(record.name, ClusterState.RUNNING)).name == record.name
    await other.control.stop(ADA, record.name)
    await one.until(record.name, ClusterState.STOPPED)


async def test_every_server_has_every_route_while_there_is_one(fleet: Fleet) -> None:
    one, _ = two_of(fleet)
    record = await one.running()
    for core in fleet.cores.values():
        await eventually(lambda core=core: core.routes.get(record.name) == one.routes.get(record.name))  # type: ignore[misc]
    await one.control.stop(ADA, record.name)
    for core in fleet.cores.values():
        await eventually(lambda core=core: core.routes.get(record.name) is None)  # type: ignore[misc]


async def test_a_wish_told_to_any_server_is_carried_out_by_the_one_that_works_on_the_cluster(fleet: Fleet) -> None:
    one, other = two_of(fleet)
    record = await one.running()
    (holder,) = fleet.at_work(record.name)
    stranger = one if holder is other else other
    await stranger.control.scale(ADA, record.name, 3)
    await stranger.until_workers(record.name, 3)
    assert fleet.at_work(record.name) == [holder]
    assert [m["count"] for m in fleet.world.agents[record.name].heard if m["op"] == "wanted"][-1] == 3


async def test_the_same_request_at_several_servers_makes_one_cluster(fleet: Fleet) -> None:
    made = await asyncio.gather(*(core.control.create(ADA, {}, "key") for core in fleet.cores.values() for _ in "ab"))
    assert len({record.name for record, _ in made}) == 1
    assert [is_new for _, is_new in made].count(True) == 1


async def test_events_appear_in_the_order_of_their_numbers_to_whoever_follows_elsewhere(fleet: Fleet) -> None:
    seen: list[int] = []
    (watching, *creating) = fleet.cores.values()

    async def follow() -> None:
        async for event in watching.control.follow(ADA, None):
            seen.append(event.id)

    following = asyncio.create_task(follow())
    made = await asyncio.gather(*(core.new() for core in creating for _ in range(20)))
    await asyncio.gather(*(watching.until(record.name, ClusterState.RUNNING) for record in made))
    stored = [event.id for event in await watching.store.events(owner="ada")]
    await eventually(lambda: seen[-1:] >= stored[-1:])
    following.cancel()
    assert seen[: len(stored)] == stored


# -- who works on what


async def test_each_cluster_is_worked_on_by_one_server(fleet: Fleet) -> None:
    made = [await core.running() for core in fleet.cores.values() for _ in range(3)]
    for record in made:
        await eventually(lambda name=record.name: len(fleet.at_work(name)) == 1)  # type: ignore[misc]
        (core,) = fleet.at_work(record.name)
        assert (await core.store.cluster(record.name)).holder == core.store.replica


async def test_a_cluster_goes_to_the_server_that_its_agent_is_linked_to(fleet: Fleet) -> None:
    one, _ = two_of(fleet)
    record = await one.running(workers=2)
    before, after = await linked_elsewhere(fleet, record.name)
    assert before is not after
    await before.control.scale(ADA, record.name, 4)
    await after.until_workers(record.name, 4)
    told = [event.reason.code for event in await one.control.events(ADA, record.name)]
    assert ReasonCode.SERVER_CHANGED in told
    assert ReasonCode.SCHEDULER_LINK_LOST not in told
    assert len(fleet.alive()) == 5


async def test_a_server_that_does_not_know_yet_that_it_lost_a_cluster_writes_nothing(fleet: Fleet) -> None:
    record = await next(iter(fleet.cores.values())).running()
    (holder,) = fleet.at_work(record.name)
    other = next(core for core in fleet.cores.values() if core is not holder)
    await give(holder, record.name, other.store.replica)
    before = await holder.store.cluster(record.name)
    holder.backend.kill(record.scheduler.job.job_id)  # it would say that the cluster has failed
    await eventually(lambda: fleet.at_work(record.name) == [])
    after = await holder.store.cluster(record.name)
    assert after == before


async def test_what_a_server_started_for_a_cluster_that_it_lost_is_written_down_all_the_same(
    postgresql: PostgreSQL,
) -> None:
    dials = Dials(scheduler=JobDials(submit_takes_s=0.2))
    async with fleet_of(2, postgresql.new_database(), dials=dials) as fleet:
        one, other = two_of(fleet)
        record = await one.new()
        await eventually(lambda: bool(one.backend.submits))
        await other.loop.take(record.name)
        await fleet.held_by(other, record.name)
        await one.until(record.name, ClusterState.RUNNING)
        assert fleet.alive() == [record.scheduler.job.job_id]


async def test_what_was_started_for_a_cluster_that_ended_elsewhere_is_removed(postgresql: PostgreSQL) -> None:
    clock = ManualClock()
    dials = Dials(scheduler=JobDials(submit_takes_s=1))
    async with fleet_of(1, postgresql.new_database(), dials=dials, clock=clock) as fleet:
        (core,) = fleet.cores.values()
        record = await core.new()
        await eventually(lambda: bool(core.backend.submits))
        await give(core, record.name, "somebody-else")
        ended = replace(record, state=ClusterState.STOPPED, ended_at=clock.now(), holder="somebody-else")
        await core.store.change(record.name, lambda _: Change(ended), durable=True)
        await clock.advance(1)
        await eventually(lambda: bool(fleet.world.things))
        await eventually(lambda: fleet.alive() == [])


async def test_limits_hold_over_all_servers_and_outlive_the_one_that_counts(postgresql: PostgreSQL) -> None:
    limits = Limits(site=Ceiling(workers=4))
    async with fleet_of(3, postgresql.new_database(), limits=limits, lease_s=0.5) as fleet:
        records = [await core.running() for core in fleet.cores.values()]
        for core, record in zip(fleet.cores.values(), records, strict=True):
            await core.control.scale(ADA, record.name, 3)
        await eventually(lambda: len(workers_of(fleet)) == 4)
        (leader,) = [core for core in fleet.cores.values() if core.turnstile._leads]
        await fleet.kill(leader)
        await eventually(lambda: any(core.turnstile._leads for core in fleet.cores.values()))
        core = next(iter(fleet.cores.values()))
        await core.control.scale(ADA, records[0].name, 0)
        await core.control.scale(ADA, records[1].name, 1)
        await core.until_workers(records[2].name, 3)
        await core.until_workers(records[1].name, 1)
        assert len(workers_of(fleet)) == 4


async def test_the_clusters_of_a_user_are_counted_over_all_servers(postgresql: PostgreSQL) -> None:
    limits = Limits(user=Ceiling(clusters=2))
    async with fleet_of(3, postgresql.new_database(), limits=limits) as fleet:
        asked = (core.new() for core in fleet.cores.values() for _ in range(4))
        made = await asyncio.gather(*asked, return_exceptions=True)
        assert [isinstance(each, LimitExceeded) for each in made].count(False) == 2


def workers_of(fleet: Fleet) -> list[str]:
    return [job for job in fleet.alive() if not job.endswith("-scheduler")]


# -- deaths


async def pass_time(fleet: Fleet, clock: ManualClock, seconds: int) -> None:
    """Let time pass no faster than the servers that live can renew their leases."""
    due = LEASE_S / RENEWALS

    def all_renewed() -> bool:
        return all((core.replica.renewed_at or 0.0) > clock.now() - due for core in fleet.cores.values())

    for _ in range(seconds):
        await clock.advance(1)
        await eventually(all_renewed)


async def test_a_dead_servers_clusters_are_taken_over_within_ten_seconds(postgresql: PostgreSQL) -> None:
    clock = ManualClock()
    dials = Dials(scheduler=JobDials(start_after_s=60))
    async with fleet_of(3, postgresql.new_database(), dials=dials, clock=clock) as fleet:
        dying, *survivors = fleet.cores.values()
        # Neither has an agent yet that could link itself to another server.
        waiting = [await dying.new() for _ in range(5)]
        await eventually(lambda: len(dying.backend.submits) == 5)
        await fleet.kill(dying)
        await pass_time(fleet, clock, 4)
        assert not any(fleet.at_work(record.name) for record in waiting), "the lease has not run out yet"
        await pass_time(fleet, clock, 6)
        for record in waiting:
            await eventually(lambda name=record.name: len(fleet.at_work(name)) == 1)  # type: ignore[misc]
        await pass_time(fleet, clock, 60)
        for record in waiting:
            await survivors[0].until(record.name, ClusterState.RUNNING)
        assert sorted(fleet.alive()) == sorted(record.scheduler.job.job_id for record in waiting)


async def test_agents_of_a_dead_server_move_to_another_at_once_with_their_clusters(fleet: Fleet) -> None:
    one, _ = two_of(fleet)
    record = await one.running(workers=2)
    (holder,) = fleet.at_work(record.name)
    before = sorted(fleet.alive())
    await fleet.kill(holder)
    await eventually(lambda: len(fleet.at_work(record.name)) == 1)
    (survivor,) = fleet.at_work(record.name)
    assert sorted(fleet.alive()) == before, "nothing was started twice, nothing ended"
    await survivor.control.scale(ADA, record.name, 3)
    await survivor.until_workers(record.name, 3)
    assert (await survivor.store.cluster(record.name)).state is ClusterState.RUNNING


async def test_what_a_dead_server_started_and_did_not_write_down_is_found(postgresql: PostgreSQL) -> None:
    async with fleet_of(2, postgresql.new_database(), lease_s=0.3) as fleet:
        dying, survivor = two_of(fleet)
        record = await dying.running(workers=1)
        stray = replace(fleet.world.things[record.workers[0].job.job_id].job, id=f"{record.name}-unknown")
        [_ async for _ in dying.backend.submit(stray)]
        assert stray.id in fleet.alive()
        await fleet.kill(dying)
        await eventually(lambda: stray.id not in fleet.alive())
        await survivor.until_workers(record.name, 1)


async def test_a_server_that_leaves_in_order_keeps_nobody_waiting(postgresql: PostgreSQL) -> None:
    clock = ManualClock()
    dials = Dials(scheduler=JobDials(start_after_s=60))
    async with fleet_of(2, postgresql.new_database(), dials=dials, clock=clock) as fleet:
        leaving, staying = two_of(fleet)
        record = await leaving.new()
        await eventually(lambda: bool(leaving.backend.submits))
        await leaving.replica.leave()
        await fleet.kill(leaving)
        await pass_time(fleet, clock, 3)
        await fleet.held_by(staying, record.name)


async def test_a_new_server_takes_nothing_from_those_that_live_and_all_from_those_that_do_not(
    postgresql: PostgreSQL,
) -> None:
    async with fleet_of(1, postgresql.new_database(), lease_s=0.3) as fleet:
        (first,) = fleet.cores.values()
        record = await first.running()
        second = await fleet.start()
        assert fleet.at_work(record.name) == [first]
        await fleet.kill(first)
        await fleet.kill(second)
        third = await fleet.start()
        await fleet.held_by(third, record.name)
        await third.until(record.name, ClusterState.RUNNING)


# -- the database's own troubles


async def test_changes_missed_while_nobody_listened_are_read_again(fleet: Fleet, postgresql: PostgreSQL) -> None:
    one, other = two_of(fleet)
    staying, ending = await one.running(), await one.running()
    postgresql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
    await one.control.stop(ROOT, ending.name)
    await one.until(ending.name, ClusterState.STOPPED)
    await eventually(lambda: other.routes.get(ending.name) is None)
    await other.control.scale(ADA, staying.name, 1)
    await one.until_workers(staying.name, 1)


async def test_all_go_on_when_the_database_is_back(fleet: Fleet, postgresql: PostgreSQL) -> None:
    one, _ = two_of(fleet)
    record = await one.running(workers=1)
    await asyncio.to_thread(postgresql.kill)
    with pytest.raises(BackendUnavailable, match="cannot write its database"):
        await one.control.scale(ADA, record.name, 2)
    await asyncio.to_thread(postgresql.start)
    await one.control.scale(ADA, record.name, 2)
    await one.until_workers(record.name, 2)
    assert len(fleet.alive()) == 3
