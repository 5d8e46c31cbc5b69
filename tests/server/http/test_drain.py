"""Drain: nobody gets a new cluster, everybody keeps theirs, and a restart changes nothing about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dask_sluice.server.backends.fake import World
from dask_sluice.server.clock import ManualClock
from dask_sluice.server.control import Control
from dask_sluice.server.drain import Drain
from dask_sluice.wire.errors import Draining, PermissionDenied, RequestInvalid
from dask_sluice.wire.states import ClusterState

from ..core import ADA, ROOT, running_core
from .site import BROWSER, Site, running_site, token


async def test_new_clusters_are_refused_and_the_rest_runs_on(site: Site) -> None:
    record = await site.core.running(ADA)
    accepted, _ = await site.core.control.create(ADA, {}, "key")
    async with site.client("root") as root, site.client("ada") as ada:
        answer = (await root.put("/api/v2/drain", json={"message": "back at 14:00"})).raise_for_status().json()
        assert answer["draining"] is True
        assert (answer["by"], answer["message"], answer["clusters"]) == ("root", "back at 14:00", 2)

        refused = await ada.post("/api/v2/clusters", json={})
        assert refused.status_code == 503
        assert refused.json()["code"] == "draining"
        assert refused.json()["detail"].startswith("the server is being drained (back at 14:00)")
        assert "later" in refused.json()["hint"]
        assert "Retry-After" not in refused.headers
        again = await ada.post("/api/v2/clusters", json={}, headers={"Idempotency-Key": "key"})
        assert (again.status_code, again.json()["name"]) == (200, accepted.name)
        await site.core.until(accepted.name, ClusterState.RUNNING)
        old = await ada.post("/api/v1/clusters/", json={"cluster_options": {}})
        assert old.json()["error"].startswith("the server is being drained")
        assert (await ada.post(f"/api/v2/clusters/{record.name}/scale", json={"count": 1})).status_code == 200

        assert "drained (back at 14:00)" in (await ada.get("/api/v2/")).json()["draining"]
        async with site.client() as browser:
            await browser.post("/login", data={"user": "ada", "secret": "lovelace"})
            assert "drained (back at 14:00)" in (await browser.get("/", headers=BROWSER)).text

        assert (await root.delete("/api/v2/drain")).json()["draining"] is False
        assert (await site.client("ada").post("/api/v2/clusters", json={})).status_code == 201


async def test_only_administrators_drain(site: Site) -> None:
    async with site.client("ada") as ada:
        for method in ("GET", "PUT", "DELETE"):
            answer = await ada.request(method, "/api/v2/drain", json={} if method == "PUT" else None)
            assert answer.status_code == 403
    with pytest.raises(PermissionDenied):
        await site.core.control.drain(ADA, on=True)


async def test_who_has_the_servers_own_token_is_administrator(tmp_path: Path) -> None:
    async with running_site(tmp_path, authenticator=token()) as site, site.client() as client:
        answer = await client.put("/api/v2/drain", json={}, headers={"Authorization": "Bearer a-token"})
        assert answer.json()["draining"] is True


async def test_a_drain_outlives_a_restart(tmp_path: Path) -> None:
    world = World()
    async with running_core(tmp_path, world=world) as core:
        await core.control.drain(ROOT, on=True)
    async with running_core(tmp_path, world=world) as core:
        with pytest.raises(Draining):
            await core.new(ADA)
        await core.control.drain(ROOT, on=False)
        await core.new(ADA)


async def test_a_drain_in_the_configuration_is_ended_there_only(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        drain = Drain(core.store, ManualClock(), always=True)
        control = Control(core.store, core.control._policy, core.backend, core.control._changes, ManualClock(), drain)
        with pytest.raises(Draining):
            await control.create(ADA, {}, None)
        with pytest.raises(RequestInvalid, match="drain: true"):
            await control.drain(ROOT, on=False)
