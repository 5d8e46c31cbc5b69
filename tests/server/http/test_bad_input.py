"""Whatever is sent, the answer says what was wrong and where, and the server goes on.

One site serves the whole file: a refused request changes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from .site import Site, running_site
from .test_error_shape import problem

pytestmark = pytest.mark.asyncio(loop_scope="module")
JSON = {"Content-Type": "application/json"}


@dataclass
class BusySite(Site):
    """A site with a cluster of Ada's."""

    name: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BusySite]:
    async with running_site(tmp_path_factory.mktemp("site")) as site:
        record = await site.core.running()
        yield BusySite(site.core, site.services, site.app, record.name)
        assert (await site.core.store.cluster(record.name)).wanted == record.wanted


@pytest.mark.parametrize(
    ("path", "body", "field", "words"),
    [
        ("", {"options": {"worker_memory": -1}}, None, "worker_memory must be >= 0.25"),
        ("", {"options": {"wrker_memory": 1}}, None, "Did you mean 'worker_memory'?"),
        ("", {"options": {"worker_threads": True}}, None, "worker_threads must be a whole number, got True"),
        ("", {"options": [1]}, "options", "must be an object"),
        ("", {"option": {}}, "option", "unknown field"),
        ("", [], "", "must be an object"),
        ("", None, "", "is missing"),
        ("/{name}/scale", {}, "count", "is missing"),
        ("/{name}/scale", {"count": True}, "count", "must be a whole number"),
        ("/{name}/scale", {"count": "3"}, "count", "must be a whole number"),
        ("/{name}/scale", {"count": 3.0}, "count", "must be a whole number"),
        ("/{name}/scale", {"count": None}, "count", "must be a whole number"),
        ("/{name}/scale", {"count": -1}, "count", "must be greater than or equal to 0"),
        ("/{name}/scale", {"count": 10**12}, "count", "less than or equal to 1000000"),
        ("/{name}/scale", {"count": 1, "cuont": 1}, "cuont", "unknown field"),
        ("/{name}/scale", {"count": 1, "group": "gpu"}, "group", "unknown field"),
        ("/{name}/adapt", {"minimum": 3, "maximum": 2}, "", "minimum must not be above maximum, got 3 and 2"),
        ("/{name}/adapt", {"minimum": False}, "minimum", "must be a whole number"),
        ("/{name}/adapt", {"active": 1}, "active", "must be true or false"),
    ],
)
async def test_a_wrong_body_is_refused_with_the_field_named(
    site: BusySite, path: str, body: Any, field: str | None, words: str
) -> None:
    async with site.client("ada") as client:
        answer = problem(await client.post("/api/v2/clusters" + path.format(name=site.name), json=body), 422)
    assert words in answer["detail"]
    if field is not None:
        assert (answer["details"]["where"], answer["details"]["field"]) == ("body", field)
        assert answer["code"] == "request_invalid"
    else:
        assert answer["code"] == "option_invalid"


@pytest.mark.parametrize("text", [b"{", b"", b"\xff\xfe", b'{"options": {"a": }}', b"[" * 100_000, b'{"a"'])
async def test_what_is_not_json_is_refused_and_never_our_fault(site: BusySite, text: bytes) -> None:
    async with site.client("ada") as client:
        answer = problem(await client.post("/api/v2/clusters", content=text, headers=JSON), 422)
    assert answer["code"] == "request_invalid"


async def test_malformed_json_is_told_with_its_place(site: BusySite) -> None:
    async with site.client("ada") as client:
        answer = problem(await client.post("/api/v2/clusters", content=b'{"options": }', headers=JSON), 422)
    assert answer["detail"].startswith("body: not JSON at character 12")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("/wait", "after_version"),
        ("/wait?after_version=x", "after_version"),
        ("/wait?after_version=-1", "after_version"),
        ("/wait?after_version=0&timeout_s=31", "timeout_s"),
        ("/wait?after_version=0&timeout_s=nan", "timeout_s"),
        ("/logs?max_bytes=0", "max_bytes"),
        ("/events?after=-1", "after"),
        ("/events?limit=1001", "limit"),
    ],
)
async def test_a_wrong_query_is_refused_with_the_parameter_named(site: BusySite, query: str, field: str) -> None:
    async with site.client("ada") as client:
        answer = problem(await client.get(f"/api/v2/clusters/{site.name}{query}"), 422)
    assert (answer["details"]["where"], answer["details"]["field"]) == ("query", field)
