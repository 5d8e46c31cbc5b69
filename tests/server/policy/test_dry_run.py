"""A dry run says all that a create would do, refuses what it would refuse, and makes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from dask_sluice.server.backends.fake import FakeBackend
from dask_sluice.server.changes import Changes
from dask_sluice.server.clock import SystemClock
from dask_sluice.server.control import Control
from dask_sluice.server.policy import Policy
from dask_sluice.server.policy.checks import refuse_unsupported
from dask_sluice.server.startup import CannotStart
from dask_sluice.server.store import Store
from dask_sluice.wire.api import PlanView, read
from dask_sluice.wire.errors import RequestInvalid
from dask_sluice.wire.plans import text

from ..core import ADA, ROOT
from ..http.site import running_site
from .sites import site

TEXT = """
    profiles:
      small: {worker: {cores: 2, memory: 4 GiB}, max_workers: 3}
      large: {worker: {cores: 8, memory: 16 GiB}, idle_s: 600}
"""


async def test_over_http_a_dry_run_explains_and_makes_nothing(tmp_path: Path) -> None:
    async with running_site(tmp_path, settings=site(TEXT)) as here, here.client("ada") as client:
        answer = await client.post("/api/v2/clusters?dry_run=true", json={"options": {"profile": "large"}})
        assert answer.status_code == 200
        plan = read(PlanView, answer.json())
        assert (plan.user, plan.profile, plan.worker.cores, plan.worker.threads, plan.idle_s) == (
            "ada",
            "large",
            8,
            8,
            600,
        )
        assert {value.key: value.source for value in plan.values}["worker.cores"] == "profile large"
        assert (await client.get("/api/v2/clusters")).json() == []
        wrong = await client.post("/api/v2/clusters?dry_run=true", json={"options": {"profile": "larg"}})
        real = await client.post("/api/v2/clusters", json={"options": {"profile": "larg"}})
        assert wrong.status_code == real.status_code == 422
        assert wrong.json()["detail"] == real.json()["detail"]
        lease = {"options": {}, "lease": {"idle_s": 1200}}
        asked = (await client.post("/api/v2/clusters?dry_run=true", json=lease)).json()
        assert asked["idle_s"] == 1200
        assert {"key": "idle_s", "value": 1200, "source": "the lease asked for"} in asked["values"]


async def test_what_is_planned_is_what_is_made(tmp_path: Path) -> None:
    async with running_site(tmp_path, settings=site(TEXT)) as here:
        plan = await here.core.control.plan(ADA, {"profile": "small"})
        record, _ = await here.core.control.create(ADA, {"profile": "small"}, None)
        spec = record.spec
        assert (plan.worker.cores, plan.worker.memory_bytes) == (spec.worker.cores, spec.worker.memory_bytes)
        assert (plan.max_workers, plan.idle_s, plan.profile) == (spec.max_workers, spec.lease.idle_s, spec.profile)
        _, message = await here.core.control.scale(ADA, record.name, 9)
        assert "3" in message


async def test_what_stands_in_the_way_just_now_is_said(tmp_path: Path) -> None:
    limited = site("limits: {user: {clusters: 1}}")
    async with running_site(tmp_path, settings=limited) as here:
        assert (await here.core.control.plan(ADA, {})).notes == ()
        await here.core.running(ADA)
        await here.core.control.drain(ROOT, on=True, message="new rack")
        full, drained = sorted((await here.core.control.plan(ADA, {})).notes)
    assert full.startswith("just now it would be refused: ada has 1 clusters, and the limit is 1 clusters")
    assert drained.startswith("just now it would be refused: the server is being drained (new rack)")


async def test_a_plan_reads_well(tmp_path: Path) -> None:
    async with running_site(tmp_path, settings=site(TEXT)) as here:
        shown = text(await here.core.control.plan(ADA, {}))
    assert "What ada would get (nothing was started):" in shown
    assert "worker     2 cores, 4 GiB, 2 threads" in shown
    assert "workers    at most 3: the limit is 3 workers (profile small)" in shown
    assert "idle       stopped after 30 min without work" in shown


class KnowsItsKeys(FakeBackend):
    """A backend that knows what its overlay may hold, as those for pods do."""

    def check_overlay(self, overlay: Mapping[str, Any]) -> Sequence[str]:
        return [f"unknown key {key!r}. Did you mean 'nodeSelector'?" for key in overlay if key != "nodeSelector"]


def test_a_backend_that_knows_its_keys_finds_slips_at_the_start() -> None:
    """d.2: `node_selector` left pods pending in five files for months."""
    backend = KnowsItsKeys()
    refuse_unsupported(site("policy: {defaults: {backend: {nodeSelector: {}}}}"), backend)
    with pytest.raises(CannotStart, match=r"policy\.defaults\.backend: unknown key 'node_selector'. Did you mean"):
        refuse_unsupported(site("policy: {defaults: {backend: {node_selector: {}}}}"), backend)


async def test_a_backend_that_knows_its_keys_refuses_what_a_user_gave(tmp_path: Path) -> None:
    settings = site("options: {pod: {type: mapping, sets: {backend: '{options.pod}'}}}")
    store = Store(tmp_path / "sluice.db")
    store.open()
    control = Control(store, Policy.of(settings, None), KnowsItsKeys(), Changes(), SystemClock())
    try:
        async with asyncio.timeout(10):
            assert (await control.plan(ADA, {"pod": {"nodeSelector": {}}})).backend == {"nodeSelector": {}}
            with pytest.raises(RequestInvalid, match="the backend does not take this: unknown key 'nodeselector'"):
                await control.plan(ADA, {"pod": {"nodeselector": {}}})
    finally:
        await store.close()
