"""A dashboard answers with all of its pages, those of its workers and live data, whatever is before the server: nothing
but a prefix; a hub; a hub beneath a base URL; https that ends before it. On Kubernetes: tests/chart/hub.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
import yaml

from dask_sluice import Gateway, JupyterHubAuth

from .. import dashboards
from ..live import LiveServer
from ..proxy.rig import Certificate, make_certificate
from .conftest import CONFIG, Pair, running_pair
from .hub import free_ports

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore:Mismatched versions")]


@contextmanager
def https_before(port: int, certificate: Certificate) -> Iterator[str]:
    """Something that ends TLS and passes on what is in it, and says no word of that: an address."""
    loop, began = asyncio.new_event_loop(), threading.Event()
    listening: list[asyncio.Server] = []

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ssl.SSLError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        with suppress(OSError):
            writer.close()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, to_behind = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pipe(reader, to_behind), pipe(behind, writer))

    async def serve() -> None:
        server = await asyncio.start_server(one, "127.0.0.1", 0, ssl=certificate.server_context())
        listening.append(server)
        began.set()
        with suppress(asyncio.CancelledError):
            await server.serve_forever()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert began.wait(20)
    try:
        yield f"https://127.0.0.1:{listening[0].sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(listening[0].close)
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
        thread.join(20)
        loop.close()


def looked_at(
    gateway: Gateway, header: dict[str, str], *, address: str = "", verify: ssl.SSLContext | None = None
) -> str:
    """The link to the dashboard of a new cluster, all of which answers.

    address   by which browsers come, where it is another one than the gateway's
    """
    with gateway.new_cluster() as cluster:
        cluster.scale(1)
        dashboard = f"{address or gateway.address}/clusters/{cluster.name}"
        with httpx.Client(follow_redirects=True, verify=verify or True, trust_env=False, headers=header) as browser:
            assert dashboards.answers(browser, dashboard, verify) == f"{dashboard}/status"
        return cluster.dashboard_link


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


def test_with_nothing_before_it_but_a_prefix(tmp_path: Path) -> None:
    (tmp_path / "sluice.yaml").write_text(yaml.safe_dump({"listen": {"prefix": "/dask/gate"}}))
    with LiveServer(tmp_path, "--config", str(tmp_path / "sluice.yaml")) as server, Gateway(server.url) as gateway:
        link = looked_at(gateway, {"Authorization": f"Bearer {server.token}"})
        assert link.startswith(f"{server.address}/clusters/")


def test_where_https_ends_before_it(tmp_path: Path, certificate: Certificate) -> None:
    (port,) = free_ports(1)
    with https_before(port, certificate) as address:
        (tmp_path / "sluice.yaml").write_text(yaml.safe_dump({"listen": {"public_url": address}}))
        with LiveServer(tmp_path, "--config", str(tmp_path / "sluice.yaml"), port=port) as server:
            header = {"Authorization": f"Bearer {server.token}"}
            with Gateway(server.url.replace(address, f"http://127.0.0.1:{port}")) as gateway:
                link = looked_at(gateway, header, address=address, verify=certificate.client_context())
        assert link.startswith(f"{address}/clusters/"), "links are for people"


def test_behind_a_hub(pair: Pair) -> None:
    token = pair.hub.token("ada")
    with Gateway(pair.hub.gateway, auth=JupyterHubAuth(token)) as gateway:
        link = looked_at(gateway, {"Authorization": f"token {token}"})
    assert link.startswith(f"{pair.hub.gateway}/clusters/")


def test_behind_a_hub_beneath_a_base_url_before_which_https_ends(
    hub_python: Path, tmp_path: Path, certificate: Certificate
) -> None:
    with running_pair(hub_python, tmp_path, CONFIG, base_url="/jupyter") as pair:
        token, port = pair.hub.token("ada"), httpx.URL(pair.hub.origin).port
        assert port is not None
        with (
            https_before(port, certificate) as origin,
            Gateway(pair.hub.gateway, auth=JupyterHubAuth(token)) as gateway,
        ):
            address, header = f"{origin}{pair.hub.prefix}", {"Authorization": f"token {token}"}
            looked_at(gateway, header, address=address, verify=certificate.client_context())
