"""A tunnel is one TCP connection to the scheduler, inside a WebSocket."""

from __future__ import annotations

import asyncio
import os

import pytest
import websockets

from .rig import ADA, ADA_COOKIE, Proxy, Server, echo, raw_scheduler


def _open(proxy: Proxy, name: str = "c1", headers: dict[str, str] | None = None) -> websockets.connect:
    url = f"ws://127.0.0.1:{proxy.port}/tunnel/{name}"
    return websockets.connect(url, additional_headers=ADA if headers is None else headers, proxy=None, max_size=None)


async def test_bytes_go_both_ways(server: Server, proxy: Proxy) -> None:
    async with raw_scheduler(echo) as port:
        server.put("c1", port)
        async with _open(proxy) as tunnel:
            for message in (b"one", b"", b"two", os.urandom(900_000)):
                await tunnel.send(message)
                received = b""
                while len(received) < len(message):
                    piece = await asyncio.wait_for(tunnel.recv(), 5)
                    assert isinstance(piece, bytes)
                    received += piece
                assert received == message


async def test_a_lot_goes_through_while_both_send(server: Server, proxy: Proxy) -> None:
    blob = os.urandom(1 << 17)
    async with raw_scheduler(echo) as port:
        server.put("c1", port)
        async with _open(proxy) as tunnel, asyncio.timeout(30):

            async def send() -> None:
                for _ in range(100):
                    await tunnel.send(blob)

            sending = asyncio.create_task(send())
            left = 100 * len(blob)
            while left:
                left -= len(await tunnel.recv())
            await sending


async def test_the_end_of_the_scheduler_closes_the_tunnel(server: Server, proxy: Proxy) -> None:
    async def bye(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")

    async with raw_scheduler(bye) as port:
        server.put("c1", port)
        async with _open(proxy) as tunnel:
            assert await tunnel.recv() == b"bye"
            with pytest.raises(websockets.ConnectionClosedOK):
                await asyncio.wait_for(tunnel.recv(), 5)


async def test_the_end_of_the_client_closes_the_connection_to_the_scheduler(server: Server, proxy: Proxy) -> None:
    ended = asyncio.Event()

    async def until_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        ended.set()

    async with raw_scheduler(until_the_end) as port:
        server.put("c1", port)
        async with _open(proxy) as tunnel:
            await tunnel.send(b"hi")
        await asyncio.wait_for(ended.wait(), 5)


@pytest.mark.parametrize(
    ("name", "headers", "status"),
    [
        ("c1", {}, 401),
        ("c1", ADA_COOKIE | {"Origin": "https://evil.example"}, 403),
        ("nobody", ADA, 404),
        ("starting", ADA, 503),
        ("dead", ADA, 502),
    ],
)
async def test_a_tunnel_that_cannot_be_opened_says_why(
    server: Server, proxy: Proxy, name: str, headers: dict[str, str], status: int
) -> None:
    server.put("c1", 1)
    server.put("starting", None)
    server.put("dead", 1)
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with _open(proxy, name, headers):
            pass
    assert refused.value.response.status_code == status
