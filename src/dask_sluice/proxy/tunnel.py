"""Dask's traffic inside a WebSocket, for networks that let only HTTPS through.

The binary messages are the bytes of one TCP connection to the scheduler, cut anywhere. TLS runs inside,
from the client to the scheduler: the proxy sees no more of it than in a direct connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import h11
from websockets.exceptions import InvalidHandshake
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from . import pages
from .routes import Route
from .upstream import READ_BYTES, Address, UpstreamGone, Wire, connect

MAX_FRAME = 1024 * 1024
_PING_EVERY_S = 25.0
_CLOSE_PATIENCE_S = 5.0


async def serve_tunnel(client: Wire, request: h11.Request, route: Route) -> None:
    """Carry the tunnel until either end is done. Raises pages.Refusal where it cannot be opened."""
    assert route.scheduler_port is not None
    try:
        upstream = await connect(Address(host=route.host, port=route.scheduler_port))
    except UpstreamGone as error:
        raise pages.scheduler_away(route.name) from error
    try:
        tunnel = _Tunnel(client, upstream)
        await tunnel.open(request)
        await tunnel.run()
    finally:
        upstream.close()


class _Tunnel:
    """One WebSocket and one TCP connection."""

    def __init__(self, client: Wire, upstream: Wire) -> None:
        self._client, self._upstream = client, upstream
        self._socket = ServerProtocol(extensions=None, max_size=MAX_FRAME)

    async def open(self, request: h11.Request) -> None:
        """Answer the handshake, which h11 has read already: it is written out again for `websockets`."""
        head = b"GET %b HTTP/1.1\r\n" % request.target
        head += b"".join(b"%b: %b\r\n" % (name, value) for name, value in request.headers)
        self._socket.receive_data(head + b"\r\n")
        asked = next(iter(self._socket.events_received()), None)
        if not isinstance(asked, Request):
            raise _not_a_websocket(self._socket.handshake_exc)
        answer = self._socket.accept(asked)
        if answer.status_code != 101:
            raise _not_a_websocket(self._socket.handshake_exc)
        self._socket.send_response(answer)
        early, _ = self._client.state.trailing_data
        if early:
            self._socket.receive_data(early)
        await self._flush()

    async def run(self) -> None:
        """Carry bytes until the WebSocket is closed or either end breaks off."""
        await _run_until(asyncio.FIRST_COMPLETED, self._to_scheduler(), self._to_client(), self._ping())

    async def _flush(self) -> None:
        for data in self._socket.data_to_send():
            if data:
                self._client.writer.write(data)
            elif self._client.writer.can_write_eof():
                self._client.writer.write_eof()
        await self._client.writer.drain()

    async def _to_scheduler(self) -> None:
        """Messages out to the scheduler, until the WebSocket is closed."""
        while True:
            for frame in self._socket.events_received():
                if isinstance(frame, Frame) and frame.opcode in (Opcode.BINARY, Opcode.CONT):
                    self._upstream.writer.write(frame.data)
            await self._upstream.writer.drain()
            await self._flush()  # pongs, and the answer to a close
            if self._socket.state is State.CLOSED or self._socket.close_expected():
                return
            data = await self._client.reader.read(READ_BYTES)
            if not data:
                self._socket.receive_eof()
                return
            self._socket.receive_data(data)

    async def _to_client(self) -> None:
        """The scheduler's bytes as messages; its end closes the WebSocket."""
        while data := await self._upstream.reader.read(READ_BYTES):
            self._socket.send_binary(data)
            await self._flush()
        if self._socket.state is State.OPEN:
            self._socket.send_close(1000, "the scheduler closed the connection")
            await self._flush()
        await asyncio.sleep(_CLOSE_PATIENCE_S)
        self._client.close()  # the client never answered the close

    async def _ping(self) -> None:
        """Now and then a sign of life, so that boxes in between keep the connection."""
        while True:
            await asyncio.sleep(_PING_EVERY_S)
            if self._socket.state is not State.OPEN:
                return
            self._socket.send_ping(b"")
            await self._flush()


async def _run_until(when: str, *coroutines: Coroutine[Any, Any, None]) -> None:
    """Run these side by side until `when` (as for asyncio.wait), then end the rest.

    An end that broke off is a normal way for bytes to stop coming, so OSError is not passed on.
    """
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=when)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception) and not isinstance(result, OSError):
            raise result


def _not_a_websocket(error: Exception | None) -> pages.Refusal:
    why = str(error) if isinstance(error, InvalidHandshake) else "the handshake is malformed"
    return pages.Refusal(400, "request_invalid", "Bad WebSocket handshake", f"This is no WebSocket: {why}.")
