"""What is spent is added up from the ledger each minute, and a real core acts on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dask_sluice.server.backends.fake import World
from dask_sluice.server.clock import ManualClock
from dask_sluice.server.http.views import cluster_view
from dask_sluice.server.model import Caller
from dask_sluice.server.settings_leases import Leases
from dask_sluice.server.settings_usage import Usage
from dask_sluice.wire.errors import LimitExceeded
from dask_sluice.wire.reasons import ReasonCode
from dask_sluice.wire.states import ClusterState

from .core import ADA, Core, end_world, eventually, running_core

NOON = 1_793_534_400.0  # 2026-11-01 12:00 UTC
USAGE = Usage.model_validate(
    {
        "prices": {"core_hour": 1.0, "currency": "CHF"},
        "budgets": {
            "per_user": {"amount": 10, "period": "month"},
            "per_group": {"amount": 30, "unit": "core_hours"},
            "users": {"root": None, "emmy": {"amount": 100}},
            "drain_grace_s": 600,
        },
    }
)
FOR_EVER = Leases.model_validate({"idle": {"default": 0}})
EMMY = Caller("emmy", groups=("maths",))
GRACE = Caller("grace", groups=("maths",))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    end_world(world)


async def told(core: Core, name: str, code: ReasonCode) -> str:
    """The sentence of the one event with this code, once it is there."""
    found: list[str] = []

    async def there() -> bool:
        # By itself it does so each minute; a clock that is turned by hours does not wait for the database.
        await core.keeper.refresh()
        found[:] = [e.reason.sentence for e in await core.store.events(cluster=name) if e.reason.code is code]
        return bool(found)

    await eventually(there)
    (sentence,) = found
    return sentence


async def test_a_cluster_spends_its_users_budget_and_lands_softly(tmp_path: Path, world: World) -> None:
    clock = ManualClock(NOON)
    async with running_core(tmp_path, world=world, clock=clock, leases=FOR_EVER, usage=USAGE) as core:
        record = await core.running(workers=3)  # and the scheduler: four cores, 4 CHF an hour
        await clock.advance(2 * 3600 + 60)
        assert "80 % of the budget of user ada is spent, 8." in await told(core, record.name, ReasonCode.BUDGET_WARNING)
        other, _ = await core.control.create(ADA, {}, "a key")
        other = await core.until(other.name, ClusterState.RUNNING)
        await clock.advance(1800)
        await told(core, record.name, ReasonCode.BUDGET_NO_NEW_WORKERS)
        with pytest.raises(LimitExceeded) as refused:
            await core.new()
        assert refused.value.message.startswith("the budget of user ada is spent: 10.")
        assert refused.value.message.endswith("of 10.00 CHF for the month that ends on 2026-12-01 00:00 UTC")
        assert "usage.budgets.per_user" in refused.value.hint
        assert refused.value.details["limit"] == "usage.budgets.per_user"
        assert refused.value.details["value"] == 10
        assert refused.value.details["used"] >= 10
        assert refused.value.retry_after_s is None, "trying again soon is no use"
        other = await core.store.cluster(other.name)
        assert await core.control.create(ADA, {}, "a key") == (other, False), "it was made before"
        view = cluster_view(await core.store.cluster(record.name))
        assert view.budget is not None
        assert view.budget.code == "budget_no_new_workers"
        warned = [message["message"] for message in core.agent(record.name).heard if message["op"] == "warn"]
        assert [message.partition(":")[0] for message in warned] == [f"cluster {record.name}"] * 2
        assert "80 % of the budget of user ada" in warned[0]
        assert "no new workers are started" in warned[1]
        await core.new(EMMY)
    # The server is killed; the next one knows it all from the ledger and the record.
    async with running_core(tmp_path, world=world, clock=clock, leases=FOR_EVER, usage=USAGE) as core:
        await until_linked(core, clock, record.name)
        await eventually(lambda: refuses(core))
        await clock.advance(720)
        await told(core, record.name, ReasonCode.BUDGET_DRAINING)
        assert (await core.store.cluster(record.name)).state is ClusterState.RUNNING
        await clock.advance(600)
        record = await core.until(record.name, ClusterState.STOPPED)
        assert record.reason.code is ReasonCode.BUDGET_SPENT
        await told(core, record.name, ReasonCode.BUDGET_WARNING)


async def until_linked(core: Core, clock: ManualClock, name: str) -> None:
    """Let the agent dial until it is through."""

    async def linked() -> bool:
        await clock.advance(0.1)
        return (await core.store.cluster(name)).scheduler.linked_at is not None

    await eventually(linked)


async def refuses(core: Core) -> bool:
    await core.keeper.refresh()
    try:
        core.keeper.admit((await core.store.clusters("ada"))[0].spec)
    except LimitExceeded:
        return True
    return False


async def test_a_group_spends_together(tmp_path: Path, world: World) -> None:
    clock = ManualClock(NOON)
    async with running_core(tmp_path, world=world, clock=clock, leases=FOR_EVER, usage=USAGE) as core:
        await core.running(EMMY, workers=6)
        record = await core.running(GRACE)
        await clock.advance(4 * 3600)
        sentence = await told(core, record.name, ReasonCode.BUDGET_NO_NEW_WORKERS)
        assert "the budget of group maths is spent" in sentence
        assert "of 30.00 core-hours" in sentence
        for caller in (EMMY, GRACE):
            with pytest.raises(LimitExceeded, match="group maths"):
                await core.new(caller)


async def test_a_new_month_is_a_new_budget(tmp_path: Path, world: World) -> None:
    clock = ManualClock(NOON)
    async with running_core(tmp_path, world=world, clock=clock, leases=FOR_EVER, usage=USAGE) as core:
        record = await core.running(workers=2)
        await clock.advance(3.5 * 3600)
        await told(core, record.name, ReasonCode.BUDGET_NO_NEW_WORKERS)
        await core.control.scale(ADA, record.name, 0)
        await core.until_workers(record.name, 0)
    clock._now = NOON + 30 * 86400  # at once: advancing would wake everybody each second of a month
    async with running_core(tmp_path, world=world, clock=clock, leases=FOR_EVER, usage=USAGE) as core:
        # All of December so far was the scheduler's: twelve hours.
        await asyncio.gather(
            told(core, record.name, ReasonCode.SERVER_RESTARTED), told(core, record.name, ReasonCode.BUDGET_DRAINING)
        )
    no_budgets = Usage.model_validate({"prices": {"core_hour": 1.0}})
    async with running_core(tmp_path, world=world, clock=clock, leases=FOR_EVER, usage=no_budgets) as core:
        await told(core, record.name, ReasonCode.BUDGET_RENEWED)
        await until_linked(core, clock, record.name)
        await core.control.scale(ADA, record.name, 2)
        await core.until_workers(record.name, 2)


async def test_prices_are_those_of_the_day_that_a_cluster_was_made(tmp_path: Path, world: World) -> None:
    clock = ManualClock(NOON)
    async with running_core(tmp_path, world=world, clock=clock, leases=FOR_EVER, usage=USAGE) as core:
        record = await core.running()
    dearer = Usage.model_validate({"prices": {"core_hour": 5.0}})
    async with running_core(tmp_path, world=world, clock=clock, leases=FOR_EVER, usage=dearer) as core:
        await until_linked(core, clock, record.name)
        await core.control.scale(ADA, record.name, 1)
        await core.until_workers(record.name, 1)
        other = await core.running()
        ledger = await core.store.intervals(0, NOON + 3600, None, list)
        assert {(each.cluster, each.price_hour, each.currency) for each in ledger} == {
            (record.name, 1.0, "CHF"),
            (other.name, 5.0, "EUR"),
        }
        assert len(ledger) == 3
