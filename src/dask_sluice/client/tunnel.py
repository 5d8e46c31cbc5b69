"""A socket whose bytes travel inside a WebSocket: what remains where networks let only HTTP pass.

TLS needs a socket, so one end of a loopback pair is given away and the other is pumped into the WebSocket.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Mapping

import websockets
from websockets.asyncio.client import ClientConnection, connect

_CHUNK = 256 * 1024
_running: set[asyncio.Task[None]] = set()


async def open_tunnel(url: str, headers: Mapping[str, str]) -> socket.socket:
    """A connected, non-blocking socket; closing it closes the tunnel.

    raises  OSError if the server does not open one
    """
    try:
        carrier = await connect(url, additional_headers=headers, compression=None, max_size=None)
    except (websockets.WebSocketException, OSError) as error:
        raise OSError(f"the tunnel {url} was not opened: {error}") from error
    ours, theirs = await _loopback_pair()
    task = asyncio.create_task(_pump(carrier, ours))
    _running.add(task)  # the loop itself keeps tasks only weakly
    task.add_done_callback(_running.discard)
    return theirs


async def _loopback_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected TCP sockets: distributed sets TCP options, which a Unix pair would refuse."""
    loop = asyncio.get_running_loop()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        listener.setblocking(False)
        theirs = socket.socket()
        theirs.setblocking(False)
        await loop.sock_connect(theirs, listener.getsockname())
        while True:
            ours, peer = await loop.sock_accept(listener)
            if peer == theirs.getsockname():  # and not some other process that was quicker
                ours.setblocking(False)
                return ours, theirs
            ours.close()


async def _pump(carrier: ClientConnection, ours: socket.socket) -> None:
    loop = asyncio.get_running_loop()

    async def outwards() -> None:
        while data := await loop.sock_recv(ours, _CHUNK):
            await carrier.send(data)

    async def inwards() -> None:
        async for message in carrier:
            await loop.sock_sendall(ours, message if isinstance(message, bytes) else message.encode())

    with ours:
        tasks = {asyncio.ensure_future(outwards()), asyncio.ensure_future(inwards())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with contextlib.suppress(asyncio.CancelledError, OSError, websockets.ConnectionClosed):
                    await task
            await carrier.close()
