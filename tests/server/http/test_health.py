"""Health says what is broken, and only then that something is."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from dask_sluice.server.backends.fake import Dials
from dask_sluice.server.clock import ManualClock
from dask_sluice.server.health import HealthChecks
from dask_sluice.server.settings import Settings
from dask_sluice.wire.errors import BackendUnavailable

from ..core import ADA, ROOT, eventually
from .site import Site, running_site


async def follow(site: Site) -> Any:
    """Be a proxy that follows the routes."""
    stream = site.core.routes.stream()
    await anext(stream)
    return stream


async def look(site: Site, path: str = "/health", user: str | None = None) -> tuple[int, dict[str, Any]]:
    async with site.client(user) as client:
        answer = await client.get(path)
        return answer.status_code, answer.json()


async def test_a_server_with_all_that_it_needs_is_ready_and_without_a_proxy_it_is_not(site: Site) -> None:
    status, told = await look(site, "/health/ready")
    assert (status, told["reasons"]) == (503, ["no proxy follows the routes: new clusters cannot be reached"])
    stream = await follow(site)
    assert await look(site, "/health/ready") == (200, {"status": "ready", "reasons": []})
    assert (await look(site, "/health/live"))[0] == 200
    status, told = await look(site)
    assert (status, told["live"], told["ready"], told["draining"]) == (200, True, True, "")
    assert [check["name"] for check in told["checks"]] == ["database", "loop", "backend", "proxy", "disk", "server"]
    await stream.aclose()


async def test_a_drained_server_is_ready_and_says_that_it_is_drained(site: Site) -> None:
    stream = await follow(site)
    await site.core.control.drain(ROOT, on=True, message="new rack")
    status, told = await look(site)
    assert status == 200
    assert "new rack" in told["draining"]
    await stream.aclose()


async def test_a_full_disk_and_a_stopping_server_are_reasons_and_details_are_for_administrators(tmp_path: Path) -> None:
    settings = Settings.model_validate({"health": {"disk_free_bytes": 2**62}, "authenticator": {"admins": ["root"]}})
    async with running_site(tmp_path, settings=settings) as site:
        site.services.stopping.set()
        _, told = await look(site, "/health/ready")
        assert any(reason.startswith("only ") and "MB are free" in reason for reason in told["reasons"])
        assert "the server is stopping" in told["reasons"]
        for user, sees in ((None, False), ("ada", False), ("root", True)):
            assert (str(tmp_path) in str(await look(site, user=user))) is sees


async def test_a_silent_backend_is_a_reason_where_there_are_no_clusters_too(tmp_path: Path) -> None:
    async with running_site(tmp_path, dials=Dials(unavailable="slurmctld is down")) as site:
        await eventually(lambda: site.core.loop.backend_silence is not None)
        status, told = await look(site, "/health/ready")
        assert status == 503
        assert any("the backend has not answered for" in reason for reason in told["reasons"])
        site.core.backend.dials = Dials()
        await eventually(lambda: site.core.loop.backend_silence is None)


async def test_a_silent_backend_is_a_reason_until_it_answers(site: Site) -> None:
    await site.core.running(ADA)
    site.core.backend.dials = Dials(unavailable="slurmctld is down")
    name = (await site.core.store.clusters())[0].name
    site.core.loop.look(name)
    await eventually(lambda: site.core.loop.backend_silence is not None)
    status, told = await look(site, user="root")
    check = next(check for check in told["checks"] if check["name"] == "backend")
    assert status == 503
    assert check["sentence"].startswith("the backend has not answered for")
    assert check["detail"] == "slurmctld is down"
    site.core.backend.dials = Dials()
    await eventually(lambda: site.core.loop.backend_silence is None)


async def test_a_database_that_cannot_be_written_is_a_reason(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object) -> None:
        raise BackendUnavailable("database or disk is full")

    monkeypatch.setattr(site.core.store, "set_note", full)
    _, told = await look(site, "/health/ready")
    assert "the database cannot be written" in told["reasons"]


async def test_the_database_is_not_written_for_everybody_who_asks(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    async def count(name: str, _: object) -> None:
        written.append(name)

    monkeypatch.setattr(site.core.store, "set_note", count)
    for _ in range(20):
        await look(site, "/health/ready")
    assert written == ["health"]


async def test_a_loop_that_hangs_or_has_ended_is_a_reason_and_one_that_fails_at_a_cluster_is_told(
    site: Site, tmp_path: Path
) -> None:
    core, clock = site.core, ManualClock(1000)
    health = HealthChecks(
        core.store, core.loop, core.routes, clock, asyncio.Event(), data_dir=tmp_path, least_free_bytes=0
    )
    pulse = core.loop.pulse
    pulse.failed("ada-1", "a step failed")
    (check,) = [check for check in (await health.look()).checks if check.name == "loop"]
    assert check.ok, "one broken cluster keeps nobody else away"
    assert check.sentence == "the loop runs; it fails at 1 clusters and tries again"
    assert check.detail == "ada-1: a step failed"
    pulse.succeeded("ada-1")
    pulse.began("ada-1", 1000)
    assert health.live.ok
    await clock.advance(61)
    assert "the loop is stuck at 1 clusters" in (await health.look()).reasons
    pulse.ended("ada-1")
    pulse.running = False
    assert not health.live.ok
    assert (await look(site, "/health/live"))[0] == 503
