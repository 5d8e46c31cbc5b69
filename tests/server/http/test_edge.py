"""What every request goes through: an id, a limit of size, no foreign web pages, safe headers, HEAD."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest

from dask_sluice.client import async_gateway
from dask_sluice.server.http import streams
from dask_sluice.server.http.edge import LARGEST_BODY, SECURITY_HEADERS
from dask_sluice.server.http.v1 import routes
from dask_sluice.wire.states import ClusterState

from .site import ADDRESS, BROWSER, Site
from .test_error_shape import problem


async def test_a_sane_request_id_is_taken_over_and_any_other_replaced(site: Site) -> None:
    async with site.client() as client:
        assert (await client.get("/api/health", headers={"X-Request-ID": "a.B-3_"})).headers["x-request-id"] == "a.B-3_"
        for other in ("", "x" * 65, "a b", "<script>", 'a"b'):
            given = (await client.get("/api/health", headers={"X-Request-ID": other})).headers["x-request-id"]
            assert given != other
            assert len(given) == 16


async def test_a_request_is_one_line_of_the_log_under_its_id(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dask_sluice.http")
    async with site.client("ada", headers={"X-Request-ID": "r1"}) as client:
        await client.post("/api/v2/clusters", json={})
        await client.get("/api/v2/clusters/evil%0A2026%20INFO%20forged", headers={"X-Request-ID": "r2"})
    created, forged = [record.getMessage() for record in caplog.records if record.name == "dask_sluice.http"]
    assert created.startswith("POST /api/v2/clusters -> 201 in ")
    assert created.endswith("request r1, user ada")
    assert "\n" not in forged


async def test_a_body_larger_than_any_real_one_is_refused_with_and_without_its_length(site: Site) -> None:
    async def drip() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * (LARGEST_BODY // 10)

    async with site.client("ada") as client:
        headers = {"Content-Type": "application/json"}
        whole = await client.post("/api/v2/clusters", content=b" " * (LARGEST_BODY + 1), headers=headers)
        assert problem(whole, 413)["code"] == "request_too_large"
        assert problem(await client.post("/api/v2/clusters", content=drip(), headers=headers), 413)
        old = await client.post("/api/v1/clusters/", content=drip())
        assert (old.status_code, "larger than" in old.json()["error"]) == (422, True), "its clients know no 413"
        odd = await client.post("/api/v2/clusters", content=b"{}", headers=headers | {"Content-Length": "many"})
        assert odd.status_code < 500


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},  # a sandboxed frame: such as a dashboard, which is somebody else's web page
        {"Origin": "http://sluice.test:8888"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": ADDRESS},
    ],
)
async def test_another_web_site_can_change_nothing_with_our_cookie(site: Site, headers: dict[str, str]) -> None:
    record = await site.core.new()
    cookie = site.services.sessions.create("ada", site.services.clock.now())
    async with site.client(cookies={site.cookie: cookie}, headers=headers) as client:
        for path in ("/api/v2/clusters/", "/api/v1/clusters/"):
            answer = await client.delete(path + record.name)
            assert answer.status_code == 403
            assert "another web site" in answer.text
        assert (await client.post("/login", content=b"user=ada&secret=lovelace")).status_code == 403
        assert (await client.post("/logout")).status_code == 403
    assert (await site.core.store.cluster(record.name)).wanted.stop is None


@pytest.mark.parametrize(
    "headers",
    [{}, {"Origin": ADDRESS}, {"Origin": ADDRESS, "Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}],
)
async def test_our_own_page_and_programs_can(site: Site, headers: dict[str, str]) -> None:
    record = await site.core.new()
    cookie = site.services.sessions.create("ada", site.services.clock.now())
    async with site.client(cookies={site.cookie: cookie}, headers=headers) as client:
        assert (await client.delete(f"/api/v2/clusters/{record.name}")).status_code == 202
    await site.core.until(record.name, ClusterState.STOPPED)


async def test_every_answer_has_the_headers_that_keep_browsers_safe(site: Site) -> None:
    async with site.client("ada") as client:
        for path in ("/login", "/api/v2/", "/api/v2/nope", "/static/page.css", "/api/v1/options"):
            answer = await client.get(path, headers=BROWSER)
            for name, value in SECURITY_HEADERS.items():
                assert answer.headers[name] == value, (path, name)
            assert answer.headers.get("cache-control") == (None if path.startswith("/static") else "no-store")


async def test_head_is_answered_wherever_get_is(site: Site) -> None:
    async with site.client("ada") as client:
        for path in ("/api/health", "/api/v1/options", "/api/v1/clusters/", "/api/v2/", "/static/page.css"):
            got, head = await client.get(path), await client.head(path)
            assert head.status_code == got.status_code == 200, path
            assert head.headers["content-length"] == got.headers["content-length"], path


def test_no_answer_is_kept_back_for_as_long_as_some_proxies_wait() -> None:
    """deployments.md, d.15: a route's time limit of 15 s cut the long poll for a cluster that was still starting."""
    assert max(async_gateway.WAIT_S, routes.WAIT_S, streams.KEEP_ALIVE_S) < 15
