"""A real scheduler and its Bokeh dashboard behind the proxy, as people and programs see them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
import websockets
from distributed import Scheduler

from .conftest import StartProxy
from .rig import ADA, ADA_COOKIE, Proxy, Server

PAGE = {"Accept": "text/html,application/xhtml+xml"}


@dataclass
class Dashboard:
    """A cluster `c1` that runs, seen through a proxy."""

    server: Server
    proxy: Proxy
    client: httpx.AsyncClient


@pytest.fixture
async def dashboard(server: Server, start_proxy: StartProxy) -> AsyncIterator[Dashboard]:
    async with Scheduler(host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0") as scheduler:
        server.put("c1", scheduler.port, dashboard_port=scheduler.http_server.port)
        proxy = start_proxy()
        async with httpx.AsyncClient(base_url=proxy.url, timeout=20, trust_env=False) as client:
            yield Dashboard(server, proxy, client)


async def test_a_person_with_a_login_is_led_to_a_ticket_and_sees_the_page(dashboard: Dashboard) -> None:
    answer = await dashboard.client.get("/clusters/c1", headers=PAGE | ADA_COOKIE, follow_redirects=True)
    assert answer.status_code == 200
    assert re.fullmatch(r"/clusters/c1/~[^/]+/status", answer.url.path)
    assert "Dask" in answer.text
    assert answer.headers["content-security-policy"].startswith("sandbox allow-scripts")
    assert "set-cookie" not in answer.headers
    assert dashboard.server.access_checks == 1


async def test_a_ticket_needs_no_login_and_not_even_the_server(dashboard: Dashboard) -> None:
    ticket = dashboard.server.ticket("c1")
    await asyncio.wait_for(dashboard.server.listening_to_routes.wait(), 10)
    await dashboard.server.stop()
    answer = await dashboard.client.get(f"/clusters/c1/~{ticket}/status", headers=PAGE)
    assert answer.status_code == 200
    base = f"/clusters/c1/~{ticket}/"
    scripts = re.findall(r'src="([^"]+\.js[^"]*)"', answer.text)
    assert scripts
    script = await dashboard.client.get(httpx.URL(dashboard.proxy.url + base + "status").join(scripts[0]))
    assert script.status_code == 200 and script.headers["access-control-allow-origin"] == "*"


async def test_a_person_without_a_login_is_sent_to_log_in(dashboard: Dashboard) -> None:
    answer = await dashboard.client.get("/clusters/c1/graph?a=b", headers=PAGE)
    assert answer.status_code == 307
    assert answer.headers["location"] == "/login?next=/clusters/c1/graph%3Fa%3Db"


async def test_a_program_without_a_login_is_told_so(dashboard: Dashboard) -> None:
    answer = await dashboard.client.get("/clusters/c1/status")
    assert answer.status_code == 401
    assert answer.json()["code"] == "authentication_required"


async def test_a_program_with_a_token_is_served_in_place(dashboard: Dashboard) -> None:
    for _ in range(3):
        answer = await dashboard.client.get("/clusters/c1/info/main/workers.html", headers=PAGE | ADA)
        assert answer.status_code == 200
    assert dashboard.server.access_checks == 1  # remembered
    assert (await dashboard.client.get("/clusters/c1/health", headers=ADA)).text == "ok"


async def test_the_schedulers_own_redirects_stay_in_place(dashboard: Dashboard) -> None:
    answer = await dashboard.client.get("/clusters/c1/info", headers=ADA)
    assert answer.status_code in (301, 302, 307)
    followed = await dashboard.client.get(
        httpx.URL(dashboard.proxy.url + "/clusters/c1/info").join(answer.headers["location"]), headers=ADA
    )
    assert followed.status_code == 200


async def test_an_expired_ticket_leads_a_person_back_and_refuses_a_program(dashboard: Dashboard) -> None:
    path = f"/clusters/c1/~{dashboard.server.ticket('c1', valid_s=-1)}/status"
    page = await dashboard.client.get(path, headers=PAGE)
    assert (page.status_code, page.headers["location"]) == (307, "/clusters/c1/status")
    assert (await dashboard.client.get(path)).status_code == 401


@pytest.mark.parametrize("path", ["status/ws", "eventstream"])
async def test_websockets_of_the_dashboard_open_under_a_ticket(dashboard: Dashboard, path: str) -> None:
    await asyncio.wait_for(dashboard.server.listening_to_routes.wait(), 10)
    url = f"ws://127.0.0.1:{dashboard.proxy.port}/clusters/c1/~{dashboard.server.ticket('c1')}/{path}"
    protocols = [websockets.Subprotocol("bokeh"), await _bokeh_token(dashboard)] if "ws" in path else None
    async with websockets.connect(url, origin=websockets.Origin("null"), subprotocols=protocols, proxy=None) as opened:
        if protocols:
            assert b"ACK" in str(await asyncio.wait_for(opened.recv(), 10)).encode()


async def _bokeh_token(dashboard: Dashboard) -> websockets.Subprotocol:
    page = await dashboard.client.get("/clusters/c1/status", headers=PAGE | ADA)
    found = re.search(r'"token":"([^"]+)"', page.text)
    assert found
    return websockets.Subprotocol(found[1])


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), (ADA_COOKIE | {"Origin": "https://evil.example"}, 403), ({"Authorization": "Bearer wrong"}, 401)],
)
async def test_a_websocket_without_leave_is_refused(dashboard: Dashboard, headers: dict[str, str], status: int) -> None:
    url = f"ws://127.0.0.1:{dashboard.proxy.port}/clusters/c1/eventstream"
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with websockets.connect(url, additional_headers=headers, proxy=None):
            pass
    assert refused.value.response.status_code == status


async def test_somebody_elses_cluster_looks_like_none(dashboard: Dashboard) -> None:
    answer = await dashboard.client.get("/clusters/other/status", headers=PAGE | ADA_COOKIE)
    assert answer.status_code == 404
    assert "No such cluster" in answer.text


async def test_a_cluster_that_starts_says_so(dashboard: Dashboard) -> None:
    dashboard.server.put("c2", None)
    answer = await dashboard.client.get("/clusters/c2/status", headers=ADA)
    assert answer.status_code == 503
    assert answer.json()["detail"] == "Cluster c2 is starting: its scheduler does not listen yet."


async def test_a_dead_scheduler_says_so(dashboard: Dashboard) -> None:
    dashboard.server.put("c1", 1, dashboard_port=1)
    await asyncio.sleep(0.1)
    answer = await dashboard.client.get("/clusters/c1/status", headers=PAGE | ADA)
    assert answer.status_code == 502
    assert "The scheduler of cluster c1 cannot be reached" in answer.text
