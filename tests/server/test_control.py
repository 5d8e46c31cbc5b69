"""What people can ask for: their own clusters, within limits, and nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from dask_sluice.server.backends.fake import World
from dask_sluice.server.settings_limits import ClusterCeiling, Limits
from dask_sluice.wire.errors import BackendUnavailable, ClusterNotFound, ClusterNotRunning, RequestInvalid
from dask_sluice.wire.reasons import Reason, ReasonCode
from dask_sluice.wire.states import ClusterState

from .core import ADA, GRACE, ROOT, Core, end_world, running_core


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    world = World()
    async with running_core(tmp_path, world=world, limits=Limits(cluster=ClusterCeiling(workers=4))) as core:
        yield core
    end_world(world)


async def test_the_same_key_gives_the_same_cluster(core: Core) -> None:
    first, is_new = await core.control.create(ADA, {}, "key")
    again, is_new_again = await core.control.create(ADA, {}, "key")
    assert (is_new, is_new_again, again.name) == (True, False, first.name)
    assert len(await core.control.clusters(ADA)) == 1


CALLS: list[Callable[[Core, str], Awaitable[object]]] = [
    lambda core, name: core.control.cluster(GRACE, name),
    lambda core, name: core.control.wait(GRACE, name, after_version=0, timeout_s=0),
    lambda core, name: core.control.scale(GRACE, name, 1),
    lambda core, name: core.control.adapt(GRACE, name, None, None, True),
    lambda core, name: core.control.stop(GRACE, name),
    lambda core, name: core.control.workers(GRACE, name),
    lambda core, name: core.control.events(GRACE, name),
    lambda core, name: anext(aiter(core.control.follow(GRACE, name))),
    lambda core, name: core.control.credentials(GRACE, name),
    lambda core, name: core.control.logs(GRACE, name, None, max_bytes=1),
]


@pytest.mark.parametrize("call", CALLS)
async def test_somebody_elses_cluster_looks_like_an_unknown_one(
    core: Core, call: Callable[[Core, str], Awaitable[object]]
) -> None:
    record = await core.running()
    with pytest.raises(ClusterNotFound) as theirs:
        await call(core, record.name)
    with pytest.raises(ClusterNotFound) as unknown:
        await call(core, "nobody-1")
    assert theirs.value.message == unknown.value.message.replace("nobody-1", record.name)


async def test_administrators_see_everybodys_and_may_stop_them_but_not_connect(core: Core) -> None:
    record = await core.running()
    assert await core.control.clusters(ROOT) == []
    assert [r.name for r in await core.control.clusters(ROOT, everyone=True)] == [record.name]
    assert await core.control.clusters(GRACE, everyone=True) == []
    with pytest.raises(ClusterNotFound):
        await core.control.credentials(ROOT, record.name)
    await core.control.stop(ROOT, record.name)
    assert (await core.until(record.name, ClusterState.STOPPED)).reason.sentence == "stopped by root"


async def test_scaling_above_the_limit_is_cut_and_said(core: Core) -> None:
    record = await core.running()
    record, message = await core.control.scale(ADA, record.name, 9)
    assert record.wanted.workers == 4
    assert message == "9 workers were asked for; the limit is 4 workers (limits.cluster.workers), so it is 4 (now 0)"
    record, message = await core.control.adapt(ADA, record.name, 2, 9, True)
    assert record.wanted.adaptive is not None
    assert (record.wanted.adaptive.minimum, record.wanted.adaptive.maximum) == (2, 4)
    assert "the limit is 4" in message
    _, message = await core.control.adapt(ADA, record.name, None, None, True)
    assert message == ""


async def test_adapting_without_a_maximum_ends_at_the_limit(core: Core) -> None:
    """One user's `adapt()` once made 8,766 pods (deployments.md, d.4)."""
    record = await core.running()
    await core.control.adapt(ADA, record.name, None, None, True)
    await core.agent(record.name).say({"op": "wish", "count": 8766, "why": "900,000 tasks wait"})
    record = await core.until_workers(record.name, 4)
    assert record.wanted.workers == 4


@pytest.mark.parametrize("count", [-1, True, 1.5, "3", None])
async def test_a_count_that_is_none_is_refused(core: Core, count: object) -> None:
    record = await core.running()
    with pytest.raises(RequestInvalid, match="non-negative integer"):
        await core.control.scale(ADA, record.name, count)  # type: ignore[arg-type]


@pytest.mark.parametrize(("minimum", "maximum"), [(-1, 2), (3, 2), (True, 2), (0, -1)])
async def test_bounds_that_are_none_are_refused(core: Core, minimum: int, maximum: int) -> None:
    record = await core.running()
    with pytest.raises(RequestInvalid):
        await core.control.adapt(ADA, record.name, minimum, maximum, True)


async def test_a_starting_cluster_keeps_the_number(core: Core) -> None:
    record = await core.new()
    await core.control.scale(ADA, record.name, 2)
    await core.until_workers(record.name, 2)


async def test_whoever_looks_right_after_a_stop_sees_it(core: Core) -> None:
    record = await core.running()
    await core.control.stop(ADA, record.name)
    assert not (await core.control.cluster(ADA, record.name)).state.is_active


async def test_an_ended_cluster_can_be_stopped_again_but_not_scaled(core: Core) -> None:
    record = await core.running()
    await core.control.stop(ADA, record.name)
    ended = await core.until(record.name, ClusterState.STOPPED)
    assert await core.control.stop(ADA, record.name) == ended
    with pytest.raises(ClusterNotRunning, match="it is stopped, stopped by ada"):
        await core.control.scale(ADA, record.name, 1)
    with pytest.raises(ClusterNotRunning):
        await core.control.credentials(ADA, record.name)


async def test_following_gives_what_was_and_what_comes_until_the_end(core: Core) -> None:
    record = await core.running()
    seen: list[str] = []

    async def follow() -> None:
        async for event in core.control.follow(ADA, record.name):
            seen.append(str(event.reason.details.get("state", "")))

    following = asyncio.create_task(follow())
    await core.control.stop(ADA, record.name)
    async with asyncio.timeout(10):
        await following
    assert [state for state in seen if state] == ["pending", "starting", "running", "stopping", "stopped"]


async def test_waiting_returns_at_once_where_there_is_news_and_in_time_where_there_is_none(core: Core) -> None:
    record = await core.running()
    assert (await core.control.wait(ADA, record.name, after_version=0, timeout_s=60)).version == record.version
    same = await core.control.wait(ADA, record.name, after_version=10_000, timeout_s=0.05)
    assert same.name == record.name


async def test_a_client_gets_credentials_of_its_own_each_time(core: Core) -> None:
    record = await core.running()
    one, two = [await core.control.credentials(ADA, record.name) for _ in range(2)]
    assert one.ca_certificate == two.ca_certificate
    assert one.key != two.key


async def test_a_closing_server_takes_no_new_clusters_and_ends_those_it_has(core: Core) -> None:
    record = await core.running(workers=2)
    core.control.close()
    with pytest.raises(BackendUnavailable, match="shutting down"):
        await core.new()
    await core.control.stop_all(Reason(ReasonCode.SERVER_STOPPING))
    assert (await core.store.cluster(record.name)).reason.code is ReasonCode.SERVER_STOPPING
