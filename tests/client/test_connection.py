"""The client gets over what passes: a broken connection, a server that is gone, one that asks for a moment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from dask_sluice.client import connection
from dask_sluice.client.async_gateway import AsyncGateway
from dask_sluice.client.auth import NoAuth
from dask_sluice.client.errors import GatewayServerError, ServerUnreachable
from dask_sluice.server.http.pressure import LONGEST_RETRY_AFTER_S
from dask_sluice.wire.api import LeaseChange
from dask_sluice.wire.errors import ServerError, SluiceError

Answer = tuple[int, dict[str, str], dict[str, Any]]
BROKE_OFF: Answer = (502, {}, {"code": "server_broke_off", "detail": "it ended the connection before it answered"})
MOMENT: Answer = (503, {"Retry-After": "0"}, {"code": "backend_unavailable", "detail": "in a moment"})
CROWDED: Answer = (429, {"Retry-After": "0"}, {"code": "overloaded", "detail": "come again"})
FOREIGN: Answer = (504, {}, {"code": "x", "detail": "a gateway's"})
NO_ROUTE: Answer = (302, {"Location": "/hub/services/dask-gateway/api/v2/x"}, {})
DRAINED: Answer = (503, {}, {"code": "draining", "detail": "the server is being drained"})
FINE: Answer = (200, {}, {"ok": True})
BREAKS = None


class Scripted:
    """An HTTP server on a real socket that answers by a list; None breaks the connection off."""

    def __init__(self) -> None:
        self.script: list[Any] = []
        self.heard: list[str] = []
        self.connections = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.heard.append(head.decode().splitlines()[0])
                length = next(
                    (int(line[16:]) for line in head.decode().lower().splitlines() if "content-le" in line), 0
                )
                await reader.readexactly(length)
                answer = self.script.pop(0)
                if answer is BREAKS:
                    break
                status, headers, body = answer
                text = json.dumps(body).encode()
                lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(text)}", "Content-Type: application/json"]
                lines += [f"{name}: {value}" for name, value in headers.items()]
                writer.write("\r\n".join([*lines, "", ""]).encode() + text)
                if headers.get("Connection") == "close":
                    break
        except asyncio.IncompleteReadError:
            pass
        writer.close()


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scripted]:
    monkeypatch.setattr(connection, "_pause", lambda *_: 0.0)
    scripted = Scripted()
    async with await asyncio.start_server(scripted.serve, "127.0.0.1", 0) as listening:
        scripted.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield scripted


async def asked(server: Scripted, *script: Any, repeatable: bool = True, prefix: str = "") -> Any:
    server.script = list(script)
    there = connection.Connection(server.url + prefix, NoAuth())
    try:
        return await there.send("POST", "/api/v2/x", body={}, repeatable=repeatable)
    finally:
        await there.close()


@pytest.mark.parametrize("trouble", [BROKE_OFF, MOMENT, CROWDED, BREAKS, FOREIGN])
async def test_what_passes_is_tried_again(server: Scripted, trouble: Any) -> None:
    assert await asked(server, trouble, trouble, FINE) == {"ok": True}
    assert len(server.heard) == 3


async def test_a_connection_that_the_other_side_gives_up_is_not_used_again(server: Scripted) -> None:
    gone = (503, {"Retry-After": "0", "Connection": "close"}, {"code": "server_unavailable", "detail": "gone"})
    assert await asked(server, gone, gone, FINE) == {"ok": True}
    assert server.connections == 3, "each try may lead to another server"


@pytest.mark.parametrize("asked_for_s", [1, 7, LONGEST_RETRY_AFTER_S])
def test_the_time_that_a_server_asks_for_is_waited(asked_for_s: int) -> None:
    assert asked_for_s <= connection._pause(0, str(asked_for_s)) <= 1.3 * asked_for_s


@pytest.mark.parametrize(("trouble", "error"), [(BROKE_OFF, ServerError), (BREAKS, ServerUnreachable)])
async def test_what_must_not_happen_twice_is_not_tried_again_once_it_may_have_happened(
    server: Scripted, trouble: Any, error: type[SluiceError]
) -> None:
    with pytest.raises(error):
        await asked(server, trouble, FINE, repeatable=False)
    assert len(server.heard) == 1
    assert await asked(server, MOMENT, FINE, repeatable=False) == {"ok": True}, "nothing was done"


async def test_a_life_is_not_extended_twice_by_one_wish(server: Scripted) -> None:
    server.script = [BROKE_OFF, FINE]
    async with AsyncGateway(server.url, auth=NoAuth()) as gateway:
        with pytest.raises(ServerError):
            await gateway.change_lease("ada-1", LeaseChange(extend_s=3600))
    assert len(server.heard) == 1


async def test_who_is_told_no_does_not_ask_again(server: Scripted) -> None:
    with pytest.raises(SluiceError, match="drained"):
        await asked(server, DRAINED, FINE)
    assert len(server.heard) == 1


async def test_a_hub_whose_proxy_has_no_route_yet_is_asked_again_and_then_named(server: Scripted) -> None:
    prefix = "/services/dask-gateway"
    assert await asked(server, NO_ROUTE, FINE, repeatable=False, prefix=prefix) == {"ok": True}, "nothing was done"
    with pytest.raises(GatewayServerError, match="its proxy has no route to that service"):
        await asked(server, *[NO_ROUTE] * connection.TRIES, prefix=prefix)
    assert server.script == []


async def test_a_server_that_answered_before_is_waited_for_and_a_wrong_address_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paused = asyncio.Event()

    def pause(*_: Any) -> float:
        paused.set()
        return 0.05

    monkeypatch.setattr(connection, "_pause", pause)
    scripted = Scripted()
    scripted.script = [(200, {"Connection": "close"}, {"ok": True})] * 2
    listening = await asyncio.start_server(scripted.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    there = connection.Connection(f"http://127.0.0.1:{port}", NoAuth())
    async with listening:
        await there.get("/api/v2/x")
    newcomer = connection.Connection(there.address, NoAuth())
    with pytest.raises(ServerUnreachable):
        await newcomer.get("/api/v2/x")
    assert not paused.is_set()
    asked = asyncio.create_task(there.send("POST", "/api/v2/x", repeatable=False))
    await paused.wait()
    async with await asyncio.start_server(scripted.serve, "127.0.0.1", port):
        assert await asked == {"ok": True}, "nothing had been sent, so even this may be tried again"
        await there.close()
    await newcomer.close()


async def test_another_redirect_is_named(server: Scripted) -> None:
    with pytest.raises(GatewayServerError, match=r"sends us on to \S+/elsewhere\nUse that address"):
        await asked(server, (302, {"Location": "/elsewhere"}, {}))
    assert len(server.heard) == 1


async def test_patience_ends(server: Scripted) -> None:
    with pytest.raises(ServerUnreachable, match=r"what listens at 127.0.0.1, port \d+, does not answer in HTTP"):
        await asked(server, *[BREAKS] * connection.TRIES)
    assert server.script == []
