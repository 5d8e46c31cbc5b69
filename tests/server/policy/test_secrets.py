"""A secret option reaches the processes, and neither database document, events, answers nor logs."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from dask_sluice.server.backends.fake import World
from dask_sluice.wire.states import ClusterState

from ..backends.local_harness import LocalHarness, job
from ..core import ADA, eventually
from ..http.site import running_site
from .sites import site

TEXT = """
    options:
      token: {type: string, secret: true, sets: {variables: {TOKEN: "{options.token}", OPEN: "1"}}}
"""


async def test_a_secret_is_handed_to_the_jobs_and_told_to_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    world = World()
    async with running_site(tmp_path, settings=site(TEXT), world=world) as here, here.client("ada") as client:
        made = await client.post("/api/v2/clusters", json={"options": {"token": "s3cret"}})
        name = made.json()["name"]
        record = await here.core.until(name, ClusterState.RUNNING)
        await here.core.control.scale(ADA, name, 1)
        await here.core.until_workers(name, 1)
        jobs = [thing.job for thing in world.things.values()]
        assert [dict(job.variables) for job in jobs] == [{"TOKEN": "s3cret", "OPEN": "1"}] * 2
        told = [made.text, repr(record), caplog.text]
        for path in ("v2/clusters", f"v2/clusters/{name}", f"v2/clusters/{name}/events", f"v1/clusters/{name}"):
            told.append((await client.get(f"/api/{path}")).text)
        dry = await client.post("/api/v2/clusters?dry_run=true", json={"options": {"token": "s3cret"}})
        wrong = await client.post("/api/v2/clusters", json={"options": {"token": ["s3cret"]}})
        assert (dry.status_code, wrong.status_code) == (200, 422)
        told += [dry.text, wrong.text]
        assert not [each for each in told if "s3cret" in each]
        stored = await here.core.store.secrets(name)
        assert stored.variables == {"TOKEN": "s3cret"}


async def test_the_local_backend_gives_its_processes_the_variables_and_keeps_its_own(tmp_path: Path) -> None:
    harness = LocalHarness(tmp_path)
    await harness.backend.start()
    try:
        asked = job("one", "worker-1", "report", variables={"TOKEN": "s3cret", "SLUICE_LAUNCH": "/evil"})
        async for _ in harness.backend.submit(asked):
            pass
        report = harness.data_dir / "clusters" / "one" / "report.json"
        await eventually(report.exists)
        assert '"TOKEN": "s3cret"' in report.read_text()
        assert "/evil" not in report.read_text()
        report.unlink()
        texts = [file.read_text() for file in (harness.data_dir / "clusters" / "one").iterdir() if file.is_file()]
        assert texts
        assert not [text for text in texts if "s3cret" in text]
    finally:
        await harness.close()


async def test_old_clients_are_offered_what_they_can_show(tmp_path: Path) -> None:
    """They print every option they know, so what is hidden is not told to them at all."""
    text = """
        options: {uid: {type: int, default: 0, hidden: true}, queue: {choices: [short, long]}}
        profiles: {small: {}, large: {label: Large}}
    """
    async with running_site(tmp_path, settings=site(text)) as here, here.client("ada") as client:
        offered = (await client.get("/api/v1/options")).json()["cluster_options"]
        assert [option["field"] for option in offered] == [
            "profile",
            "environment",
            "variables",
            "dask_config",
            "queue",
        ]
        assert offered[0]["spec"] == {"type": "select", "options": ["small", "large"]}
        new = (await client.get("/api/v2/options")).json()
        assert {option["name"]: option["hidden"] for option in new}["uid"] is True
        made = await client.post("/api/v1/clusters/", json={"cluster_options": {"profile": "large", "queue": "long"}})
        assert made.status_code == 201
