"""Every failure has the shape of its part of the site, whatever the route:

/api/v1/...   {"error": sentence}
/api/...      application/problem+json with code, detail, hint, details and request_id
pages         HTML for browsers, the same problem document for programs
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from typing import Any

import httpx
import pytest

from dask_sluice.server.http.app import bare_app
from dask_sluice.wire.errors import from_problem

from .site import BROWSER, Site

V1 = [
    ("GET", "/api/v1/options"),
    ("GET", "/api/v1/clusters/"),
    ("POST", "/api/v1/clusters/"),
    ("GET", "/api/v1/clusters/x"),
    ("DELETE", "/api/v1/clusters/x"),
    ("POST", "/api/v1/clusters/x/scale"),
    ("POST", "/api/v1/clusters/x/adapt"),
]


def v2() -> Iterator[tuple[str, str]]:
    for path, methods in bare_app().openapi()["paths"].items():
        for method in methods:
            yield method.upper(), path.replace("{name}", "no-such")


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem document, checked for its shape."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert {"type", "title", "status", "detail", "code", "hint", "details", "request_id"} <= set(body)
    assert body["status"] == status
    assert body["detail"]
    assert body["request_id"] == answer.headers["x-request-id"]
    error = from_problem(body, status)
    assert (type(error).code, type(error).status) == (body["code"], status), "the client raises the same class"
    return body


async def test_every_v2_route_refuses_strangers_with_a_problem(site: Site) -> None:
    async with site.client() as client:
        for method, path in v2():
            answer = await client.request(method, path, json={})
            assert problem(answer, 401)["code"] == "authentication_required", (method, path)
            assert answer.headers["www-authenticate"].startswith("Bearer"), (method, path)


def call(client: httpx.AsyncClient, method: str, path: str) -> Awaitable[httpx.Response]:
    """A call that nothing is wrong with but the cluster."""
    params = {"after_version": 0} if path.endswith("/wait") else {}
    body = {"count": 1} if path.endswith("/scale") else {}
    return client.request(method, path, params=params, json=body)


async def test_every_route_of_a_cluster_knows_no_unknown_one_and_nobody_elses(site: Site) -> None:
    record = await site.core.running()
    async with site.client("grace") as client:
        for method, path in v2():
            if "no-such" not in path:
                continue
            unknown = problem(await call(client, method, path), 404)
            assert unknown["details"] == {"cluster": "no-such"}
            theirs = problem(await call(client, method, path.replace("no-such", record.name)), 404)
            assert theirs["detail"].replace(record.name, "no-such") == unknown["detail"], (method, path)
    assert (await site.core.store.cluster(record.name)).wanted == record.wanted


async def test_every_v1_route_refuses_strangers_as_dask_gateway_does(site: Site) -> None:
    async with site.client() as client:
        for method, path in V1:
            answer = await client.request(method, path, json={})
            assert (answer.status_code, answer.json()) == (401, {"error": "Authentication required"}), (method, path)
            assert answer.headers["www-authenticate"].startswith("Basic")


UNKNOWN = ("/api", "/api/v2/nope", "/api/v3/clusters", "/nope", "/clusters/x/nope", "/static/nope", "/static/../app.py")


async def test_unknown_paths_are_problems_too(site: Site) -> None:
    async with site.client() as client:
        for path in UNKNOWN:
            assert problem(await client.get(path), 404)["code"] == "route_not_found"


async def test_a_method_that_a_path_does_not_take_is_named(site: Site) -> None:
    async with site.client() as client:
        answer = await client.put("/api/v2/clusters")
        assert problem(answer, 405)["details"] == {"path": "/api/v2/clusters", "method": "PUT"}
        assert (await client.put("/api/v1/clusters/")).json() == {"error": "/api/v1/clusters/ does not take PUT"}
        assert (await client.get("/api/v1/nope")).json() == {"error": "there is nothing at /api/v1/nope"}


async def test_people_get_a_page_where_programs_get_a_problem(site: Site) -> None:
    async with site.client(headers=BROWSER) as client:
        answer = await client.get("/nope/<script>")
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("text/html")
        assert "There is nothing at /nope/&lt;script&gt;" in answer.text
        assert answer.headers["x-request-id"] in answer.text
        assert problem(await client.get("/api/v2/clusters"), 401), "the API has no pages"


@pytest.mark.parametrize(
    ("path", "kind"), [("/api/v2/options", "problem"), ("/api/v1/options", "v1"), ("/", "page"), ("/login", "page")]
)
async def test_our_own_faults_show_an_id_and_nothing_of_the_inside(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, path: str, kind: str
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the secret inside")

    monkeypatch.setattr(site.core.control, "options", broken)
    monkeypatch.setattr(site.core.control, "clusters", broken)
    monkeypatch.setattr(type(site.services.sessions), "read", broken)
    async with site.client("ada", headers=BROWSER | {"Cookie": f"{site.cookie}=x"}) as client:
        answer = await client.get(path, headers={"X-Request-ID": "my-id.1"})
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] == "my-id.1"
    assert "secret" not in answer.text
    assert "my-id.1" in answer.text
    assert "the secret inside" in caplog.text, "the log has it, under the same id"
    assert "request my-id.1" in caplog.text
