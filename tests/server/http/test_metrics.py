"""Metrics say what happened, to those who may know."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dask_sluice.server.backends.fake import World
from dask_sluice.server.metrics import watch_lag
from dask_sluice.server.settings import Settings
from dask_sluice.wire.states import ClusterState

from ..core import ADA, running_core
from .site import Site, running_site

TOKEN = "a-token-for-prometheus"


async def scraped(site: Site) -> dict[tuple[str, frozenset[str]], float]:
    """Value by name, without our prefix, and the values of its labels."""
    async with site.client("root") as client:
        text = (await client.get("/metrics")).raise_for_status().text
    return {
        (sample.name.removeprefix("dask_sluice_"), frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def key(name: str, *labels: str) -> tuple[str, frozenset[str]]:
    return name, frozenset(labels)


async def test_what_happens_to_clusters_is_counted(site: Site) -> None:
    empty = await scraped(site)
    assert empty[key("clusters", "running")] == 0
    record = await site.core.running(ADA, workers=2)
    await site.core.control.scale(ADA, record.name, 10**6)
    found = await scraped(site)
    assert found[key("clusters", "running")] == 1
    assert found[key("workers", "running")] >= 2
    assert found[key("agent_links")] == 1
    for phase in ("queued", "scheduler_starting", "connecting"):
        assert found[key("start_seconds_count", phase)] == 1
    assert found[key("start_seconds_count", "worker")] >= 2
    assert found[key("limit_refusals_total", "clamped", "")] == 1
    assert found[key("store_write_seconds_count")] > 3
    assert found[key("loop_steps_total")] > 3
    assert found[key("backend_up")] == 1
    await site.core.control.stop(ADA, record.name)
    await site.core.until(record.name, ClusterState.STOPPED)
    found = await scraped(site)
    assert found[key("clusters", "running")] == 0
    assert found[key("clusters_ended_total", "stopped", "stopped_by_user")] == 1


async def test_requests_are_counted_by_route_and_status_and_never_by_name(site: Site) -> None:
    async with site.client("ada") as client:
        for name in ("a-1", "b-2", "c-3"):
            await client.get(f"/api/v2/clusters/{name}")
        await client.get("/no/such/place")
    found = await scraped(site)
    assert found[key("http_request_seconds_count", "GET", "/api/v2/clusters/{name}", "404")] == 3
    assert found[key("http_request_seconds_count", "GET", "none", "404")] == 1
    assert not any("a-1" in label for _, labels in found for label in labels)


async def test_a_limit_that_refuses_is_counted_by_its_name(tmp_path: Path) -> None:
    document = {"authenticator": {"admins": ["root"]}, "limits": {"user": {"clusters": 0}}, "backend": {"kind": "fake"}}
    async with running_site(tmp_path, settings=Settings.model_validate(document)) as site:
        async with site.client("ada") as client:
            assert (await client.post("/api/v2/clusters", json={})).status_code == 429
        found = await scraped(site)
        assert found[key("limit_refusals_total", "refused", "limits.user.clusters")] == 1


async def test_metrics_are_for_administrators_and_for_who_has_the_token(tmp_path: Path) -> None:
    document = {"metrics": {"token": TOKEN}, "authenticator": {"admins": ["root"]}}
    async with running_site(tmp_path, settings=Settings.model_validate(document)) as site:
        async with site.client() as client:
            assert (await client.get("/metrics")).status_code == 401
            wrong = await client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}x"})
            assert wrong.status_code == 401
            right = await client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
            assert right.headers["content-type"].startswith("text/plain")
            other = await client.get("/api/v2/clusters", headers={"Authorization": f"Bearer {TOKEN}"})
            assert other.status_code == 401
        async with site.client("ada") as client:
            assert (await client.get("/metrics")).status_code == 403


async def test_clusters_from_before_are_counted_and_their_starts_are_not(tmp_path: Path) -> None:
    world = World()
    async with running_core(tmp_path, world=world) as core:
        await core.running(ADA)
    async with running_site(tmp_path, world=world) as site:
        site.services.metrics.load()
        found = await scraped(site)
        assert sum(value for (name, _), value in found.items() if name == "clusters") == 1
        assert key("start_seconds_count", "connecting") not in found


async def test_two_servers_in_one_process_count_apart(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    async with running_site(tmp_path / "one") as one, running_site(tmp_path / "two") as two:
        await one.core.running(ADA)
        assert (await scraped(one))[key("clusters", "running")] == 1
        assert (await scraped(two))[key("clusters", "running")] == 0


async def test_a_late_event_loop_is_noticed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dask_sluice.server.metrics.LAG_EVERY_S", 0.0)
    watching = asyncio.create_task(watch_lag(site.services.metrics))
    while not (await scraped(site))[key("event_loop_lag_seconds_count")]:  # noqa: ASYNC110
        await asyncio.sleep(0)
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
