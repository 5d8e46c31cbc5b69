"""Log lines say what they are about, to people and to programs."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from dask_sluice.server.about import about, current, now_about
from dask_sluice.server.logs import FIELDS, JsonLines, TextLines, note_subject
from dask_sluice.wire.states import ClusterState

from .core import ADA
from .http.site import Site, running_site

log = logging.getLogger("dask_sluice.test")


class Lines:
    """What our loggers write, in both formats."""

    def __init__(self) -> None:
        self.text, self.json = io.StringIO(), io.StringIO()

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.json.getvalue().splitlines()]


@pytest.fixture
def lines() -> Iterator[Lines]:
    lines, root = Lines(), logging.getLogger("dask_sluice")
    handlers = [logging.StreamHandler(lines.text), logging.StreamHandler(lines.json)]
    for handler, formatter in zip(handlers, (TextLines(), JsonLines()), strict=True):
        handler.addFilter(note_subject)
        handler.setFormatter(formatter)
        root.addHandler(handler)
    before = root.level
    root.setLevel(logging.DEBUG)
    yield lines
    root.setLevel(before)
    for handler in handlers:
        root.removeHandler(handler)


def test_a_line_says_what_it_is_about_once(lines: Lines) -> None:
    with about(request="r1", cluster="ada-1"):
        log.warning("it failed")
        log.warning("ada-1: it failed in request r1", extra={FIELDS: {"status": 500}})
    log.warning("nothing special")
    said = [line.split(" ", 2)[2] for line in lines.text.getvalue().splitlines()]
    assert said == ["it failed (request r1, cluster ada-1)", "ada-1: it failed in request r1", "nothing special"]
    first, second, third = lines.objects
    assert (first["request"], first["cluster"], first["level"]) == ("r1", "ada-1", "warning")
    assert (second["status"], second["cluster"]) == (500, "ada-1")
    assert "request" not in third


def test_an_error_has_its_traceback_in_one_line(lines: Lines) -> None:
    try:
        sys.exit("no")
    except SystemExit:
        log.exception("broken")
    (line,) = lines.objects
    assert line["error"].startswith("Traceback")


async def test_a_task_that_outlives_its_cause_no_longer_names_it() -> None:
    async def work() -> dict[str, str]:
        now_about("ada-1")
        await asyncio.sleep(0)
        return current()

    with about(request="r1"):
        task = asyncio.create_task(work())
        assert await task == {"cluster": "ada-1"}
        assert current() == {"request": "r1"}
    assert current() == {}


async def test_a_request_is_one_line_with_who_asked_and_what_for(site: Site, lines: Lines) -> None:
    record = await site.core.running(ADA)
    async with site.client("ada", headers={"X-Request-ID": "mine-1"}) as client:
        await client.get(f"/api/v2/clusters/{record.name}")
        await client.get("/api/v2/clusters/nobody-1%0Aforged")
    seen, missed = [line for line in lines.objects if line.get("request") == "mine-1" and "path" in line]
    assert (seen["level"], seen["status"], seen["user"], seen["cluster"]) == ("debug", 200, "ada", record.name)
    assert (missed["level"], missed["status"], missed["cluster"]) == ("info", 404, "nobody-1\\nforged")
    assert "request mine-1" in lines.text.getvalue()
    assert not any(line.startswith("forged") for line in lines.text.getvalue().splitlines())


async def test_what_a_clusters_steps_say_names_the_cluster_and_no_request(site: Site, lines: Lines) -> None:
    async with site.client("ada") as client:
        name = (await client.post("/api/v2/clusters", json={})).json()["name"]
    await site.core.until(name, ClusterState.RUNNING)
    told = [line for line in lines.objects if line["logger"].endswith("store.store") and "request" not in line]
    assert told
    assert {line["cluster"] for line in told} == {name}


@pytest.fixture
async def site(tmp_path: Any) -> Any:
    async with running_site(tmp_path) as site:
        yield site
