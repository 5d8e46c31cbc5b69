"""What the proxy asks of the server, and the door that agents come in by: each opens to its own token only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from dask_sluice.server.backends.fake import PRESETS
from dask_sluice.server.http.proxy import TICKET_S, ticket
from dask_sluice.wire.names import LINK_PATH

from ..core import ADA
from .site import PROXY_TOKEN, Site, listening, running_site
from .test_error_shape import problem

PROXY = {"Authorization": f"Bearer {PROXY_TOKEN}"}


@pytest.fixture
async def quiet_site(tmp_path: Path) -> AsyncIterator[Site]:
    """One whose schedulers never call home, so that we can."""
    async with running_site(tmp_path, dials=PRESETS["never_connects"]) as site:
        yield site


async def test_only_the_proxy_may_ask_for_routes_and_access(site: Site) -> None:
    async with site.client("root") as client:
        assert problem(await client.get("/api/v2/routes"), 401)
        assert problem(await client.get("/api/v2/access/x"), 401)
        assert problem(await client.get("/api/v2/access/x", headers={"X-Sluice-Proxy": "guess"}), 401)


async def test_routes_are_a_snapshot_and_then_every_change(site: Site) -> None:
    record = await site.core.running()
    async with (
        listening(site) as address,
        httpx.AsyncClient(base_url=address, headers=PROXY, timeout=10) as client,
        client.stream("GET", "/api/v2/routes") as answer,
    ):
        lines = answer.aiter_lines()
        first = json.loads(await anext(lines))
        assert first["ticket_key"] == b"ticket key".hex()
        assert [route["name"] for route in first["snapshot"]] == [record.name]
        assert first["snapshot"][0]["scheduler_port"] == 8786
        await site.core.control.stop(ADA, record.name)
        assert json.loads(await anext(lines)) == {"delete": record.name}
        site.services.stopping.set()
        assert [line async for line in lines] == []


async def test_access_is_for_those_who_may_see_the_cluster(site: Site) -> None:
    name = (await site.core.running()).name
    headers = {"X-Sluice-Proxy": PROXY_TOKEN}
    for user, status in (("ada", 200), ("root", 200), ("grace", 404), (None, 401)):
        async with site.client(user, headers=headers) as client:
            answer = await client.get(f"/api/v2/access/{name}")
            assert answer.status_code == status, user
            if status == 200:
                given, expiry = answer.json(), int(answer.json()["ticket"].split(".")[0])
                assert given == {"user": user, "ticket": ticket(b"ticket key", name, str(user), expiry)}
                assert abs(expiry - TICKET_S - site.services.clock.now()) < 60
    cookie = site.services.sessions.create("ada", site.services.clock.now())
    async with site.client(headers=headers, cookies={site.cookie: cookie}) as client:
        assert (await client.get(f"/api/v2/access/{name}")).json()["user"] == "ada"


def test_a_ticket_has_the_form_that_the_proxy_verifies() -> None:
    """The form of docs/develop/seams.md, spelt out, since the two sides share no code."""
    assert ticket(b"key", "c1", "ada@x", 2000000000) == "2000000000.YWRhQHg.f31c4c897fab198f8f88cc2024612fd4"


async def test_an_agent_comes_in_with_its_link_token_and_says_hello(quiet_site: Site) -> None:
    site, record = quiet_site, await quiet_site.core.new()
    secret = (await site.core.store.secrets(record.name)).link_token
    async with listening(site) as address:
        url = address.replace("http", "ws") + LINK_PATH.format(name=record.name)
        async with connect(url, additional_headers={"Authorization": f"Bearer {secret}"}) as socket:
            hello = {"op": "hello", "cluster": record.name, "scheduler_port": 4321, "dashboard_port": None}
            await socket.send(json.dumps(hello | {"versions": {}, "pid": 1}))
            assert json.loads(await socket.recv())["op"] == "welcome"
            assert json.loads(await socket.recv())["op"] == "adapt"
            assert json.loads(await socket.recv())["op"] == "wanted"


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp5"}])
async def test_nobody_else_comes_in_as_an_agent(site: Site, header: dict[str, str]) -> None:
    record = await site.core.running()
    async with listening(site) as address:
        for name in (record.name, "no-such"):
            with pytest.raises(InvalidStatus) as caught:
                async with connect(
                    address.replace("http", "ws") + LINK_PATH.format(name=name), additional_headers=header
                ):
                    pass
            assert caught.value.response.status_code == 401
            assert json.loads(caught.value.response.body or b"")["code"] == "authentication_required"


@pytest.mark.parametrize("message", ["not json", "[1]", '{"op": "report"}', '{"op": "hello", "cluster": "x"}'])
async def test_an_agent_that_talks_nonsense_is_shown_the_door(quiet_site: Site, message: str) -> None:
    site, record = quiet_site, await quiet_site.core.new()
    secret = (await site.core.store.secrets(record.name)).link_token
    async with listening(site) as address:
        url = address.replace("http", "ws") + LINK_PATH.format(name=record.name)
        async with connect(url, additional_headers={"Authorization": f"Bearer {secret}"}) as socket:
            await socket.send(message)
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(socket.recv(), 5)
