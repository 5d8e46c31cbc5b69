"""`GET /api/v2/usage`: people see what they used, administrators what everybody did, programs get it in their form."""

from __future__ import annotations

import csv
import io

import pytest

from dask_sluice.server.focus import COLUMNS
from dask_sluice.wire import api

from ..core import GRACE
from .site import Site
from .test_error_shape import problem


async def test_people_see_what_they_used_and_administrators_what_everybody_did(site: Site) -> None:
    await site.core.running(workers=2)
    await site.core.running(GRACE)
    for user, seen in (("ada", ["ada"]), ("grace", ["grace"]), ("root", ["ada", "grace"])):
        async with site.client(user) as client:
            answer = await client.get("/api/v2/usage", params={"since": "1d"})
            found = api.read(api.UsageReport, answer.json())
            assert [row.key for row in found.rows] == [{"user": each} for each in seen]
            assert all(row.core_hours > 0 for row in found.rows)
            assert 86399 < found.until - found.since < 86401
            focus = (await client.get("/api/v2/usage?format=focus")).text
            assert {row["ResourceId"].rpartition("-")[0] for row in csv.DictReader(io.StringIO(focus))} == set(seen)


async def test_the_same_as_a_table_and_as_a_cloud_bill(site: Site) -> None:
    record = await site.core.running(workers=1)
    async with site.client("ada") as client:
        table = await client.get("/api/v2/usage", params={"by": "cluster,day", "format": "csv"})
        assert table.headers["content-type"].startswith("text/csv")
        head, *rows = table.text.splitlines()
        assert head == "cluster,day,process_hours,core_hours,memory_gib_hours,gpu_hours,cost,currency"
        assert rows[0].startswith(f"{record.name},20")
        bill = await client.get("/api/v2/usage?format=focus")
        assert bill.text.splitlines()[0] == ",".join(COLUMNS)
        assert len(bill.text.splitlines()) >= 3
        nothing = await client.get("/api/v2/usage?since=2020-01-01&until=2020-02-01")
        assert nothing.json()["rows"] == []


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ("by=usr", "by", "user, group, profile, cluster, day"),
        ("since=yesterday", "since", "a date such as 2026-11-01"),
        ("until=2026-99-01", "until", "a date such as 2026-11-01"),
        ("since=2026-02-01&until=2026-01-01", "since", "must not be after until"),
        ("format=xml", "format", "must be 'json', 'csv' or 'focus'"),
        ("since=" + "9" * 50, "since", "at most 40"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(site: Site, query: str, field: str, words: str) -> None:
    async with site.client("ada") as client:
        answer = problem(await client.get(f"/api/v2/usage?{query}"), 422)
    assert (answer["details"]["where"], answer["details"]["field"]) == ("query", field)
    assert words in answer["detail"]
