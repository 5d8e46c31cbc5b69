"""HTTP/1.1 over asyncio's streams, and the connections to the server.

`Wire` joins h11, which does no input or output, to a pair of streams; both sides of the proxy use it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import h11

from .pages import Headers

READ_BYTES = 64 * 1024
MAX_HEAD_BYTES = 32 * 1024
"""Longest head of a message; one that arrives in a single read may be a little longer."""
_CONNECT_TIMEOUT_S = 10.0
_NEXT_SERVER_S = 2.0
"""How long to wait for one of several servers: a machine that is gone says nothing."""
_SPARE_CONNECTIONS = 8
_SPARE_SECONDS = 3.0
"""Shorter than the server keeps idle connections (5 s), so a spare one is nearly never dead."""


class UpstreamGone(Exception):
    """The other side refused the connection, broke it off or spoke no HTTP."""


class Reader(asyncio.StreamReader):
    """A stream that can be left, with what it holds."""

    def __init__(self) -> None:
        super().__init__(limit=READ_BYTES)
        self.ended = False  # at_eof() is true only once all has been read

    def feed_eof(self) -> None:
        self.ended = True
        super().feed_eof()

    async def rest(self) -> bytes:
        """What has arrived and was not read. Does not wait; nothing can be read afterwards."""
        super().feed_eof()
        return await self.read()


class Writer(asyncio.StreamWriter):
    """A stream that can be forgotten: asyncio's would close its connection."""

    def __del__(self) -> None:
        pass


class Wire:
    """One HTTP/1.1 connection: events in, events out."""

    def __init__(self, role: type[h11.CLIENT | h11.SERVER], reader: Reader, writer: Writer) -> None:
        self.state = h11.Connection(role, max_incomplete_event_size=MAX_HEAD_BYTES)
        self.reader, self.writer = reader, writer
        self.idle_since = monotonic()
        self.address = Address()
        """What was connected to, where we were the one to connect."""

    async def next_event(self) -> Any:
        """The next thing that the other side says. Raises h11.RemoteProtocolError, OSError."""
        while (event := self.state.next_event()) is h11.NEED_DATA:
            self.state.receive_data(await self.reader.read(READ_BYTES))
        return event

    async def send(self, event: Any) -> None:
        """Say something, as fast as the other side takes it. Raises OSError."""
        if data := self.state.send(event):
            self.writer.write(data)
            await self.writer.drain()

    @property
    def transport(self) -> asyncio.Transport:
        """The connection itself."""
        transport = self.writer.transport
        assert isinstance(transport, asyncio.Transport)
        return transport

    def close(self) -> None:
        self.writer.close()


@dataclass(frozen=True)
class Address:
    """Where something listens: a Unix socket (`path`) or host and port."""

    path: str = ""
    host: str = ""
    port: int = 0

    @property
    def authority(self) -> str:
        """As it stands in a Host header."""
        if self.path:
            return "localhost"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def server_address(text: str) -> Address:
    """The address in `unix:/path` or `http://host:port`."""
    if text.startswith("unix:"):
        return Address(path=text.removeprefix("unix:"))
    parts = urlsplit(text)
    return Address(host=parts.hostname or "", port=parts.port or 80)


async def connect(address: Address, timeout_s: float = _CONNECT_TIMEOUT_S) -> Wire:
    """A new connection. Raises UpstreamGone."""
    loop = asyncio.get_running_loop()
    reader = Reader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport: asyncio.Transport
    try:
        async with asyncio.timeout(timeout_s):
            if address.path:
                transport, _ = await loop.create_unix_connection(lambda: protocol, address.path)
            else:
                transport, _ = await loop.create_connection(lambda: protocol, address.host, address.port)
    except OSError as error:  # TimeoutError is one
        raise UpstreamGone(f"cannot connect to {address.path or address.authority}: {error}") from error
    wire = Wire(h11.CLIENT, reader, Writer(transport, protocol, reader, loop))
    wire.address = address
    return wire


class ServerConnections:
    """Connections to the server, a few of them kept for the next request.

    Of several servers, which all know the same, one is asked until it fails; then the next.
    """

    def __init__(self, addresses: Sequence[Address], token: str, *, patience_s: float = 2.0) -> None:
        self._addresses = deque(addresses)
        self._token = token
        # Only over a network the server has to be told that it is us.
        self.introduction = [] if all(address.path for address in addresses) else self.own_headers()
        self._patience_s = patience_s
        self._spare: list[Wire] = []

    def take_spare(self) -> Wire | None:
        """A connection used before and still open, if there is one."""
        while self._spare:
            wire = self._spare.pop()
            if monotonic() - wire.idle_since < _SPARE_SECONDS and not wire.reader.at_eof():
                return wire
            wire.close()
        return None

    async def connect(self) -> Wire:
        """A new connection; a server that is restarting is given a little time.

        Nothing has been sent before, so trying again is harmless for any request.
        """
        deadline = monotonic() + self._patience_s
        delay = 0.02
        while True:
            try:
                return await self._connect_to_any()
            except UpstreamGone:
                if monotonic() + delay > deadline:
                    raise
            await asyncio.sleep(delay)
            delay = min(delay * 2, 0.2)

    async def _connect_to_any(self) -> Wire:
        timeout_s = _CONNECT_TIMEOUT_S if len(self._addresses) == 1 else _NEXT_SERVER_S
        failure = UpstreamGone("there is no server")
        for _ in range(len(self._addresses)):
            address = self._addresses[0]
            try:
                return await connect(address, timeout_s)
            except UpstreamGone as error:
                failure = error
                self._move_on(address)
        raise failure

    def _move_on(self, address: Address) -> None:
        """Ask the next server from now on, unless that has happened already."""
        if self._addresses[0] is address:
            self._addresses.rotate(-1)

    def give_back(self, wire: Wire) -> None:
        """Keep a connection whose request and answer are complete, or close it."""
        try:
            wire.state.start_next_cycle()
        except h11.LocalProtocolError:
            wire.close()
            return
        wire.idle_since = monotonic()
        if len(self._spare) < _SPARE_CONNECTIONS and not wire.reader.at_eof():
            self._spare.append(wire)
        else:
            wire.close()

    def own_headers(self) -> Headers:
        """Headers by which the server knows its proxy."""
        return [(b"X-Sluice-Proxy", self._token.encode())]

    async def ask(self, target: str, headers: Headers) -> tuple[int, bytes]:
        """Status and body of a small GET. Raises UpstreamGone."""
        spare = self.take_spare()
        if spare is not None:
            try:
                return await self._ask(spare, target, headers)
            except UpstreamGone:
                pass  # it had gone stale; a GET may be repeated
        return await self._ask(await self.connect(), target, headers)

    async def _ask(self, wire: Wire, target: str, headers: Headers) -> tuple[int, bytes]:
        body = bytearray()
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await self._send_get(wire, target, headers)
                status = await _final_status(wire)
                while isinstance(event := await wire.next_event(), h11.Data):
                    body += event.data
        except (OSError, h11.ProtocolError) as error:
            wire.close()
            raise UpstreamGone(f"the server broke off: {error}") from error
        except BaseException:
            wire.close()
            raise
        self.give_back(wire)
        return status, bytes(body)

    async def stream(self, target: str) -> AsyncGenerator[bytes, None]:
        """The body of a GET that goes on for ever, in pieces as they come. Raises UpstreamGone."""
        wire = await self._connect_to_any()
        try:
            await self._send_get(wire, target, [(b"Authorization", b"Bearer " + self._token.encode())])
            status = await _final_status(wire)
            if status != 200:
                raise UpstreamGone(f"the server answered {status} to {target}")
            while isinstance(event := await wire.next_event(), h11.Data):
                yield bytes(event.data)
        except (OSError, h11.ProtocolError) as error:
            raise UpstreamGone(f"the server broke off: {error}") from error
        finally:
            self._move_on(wire.address)
            wire.close()

    async def _send_get(self, wire: Wire, target: str, headers: Headers) -> None:
        host = (b"Host", wire.address.authority.encode())
        await wire.send(h11.Request(method=b"GET", target=target.encode("ascii"), headers=[host, *headers]))
        await wire.send(h11.EndOfMessage())


async def _final_status(wire: Wire) -> int:
    while not isinstance(event := await wire.next_event(), h11.Response):
        if not isinstance(event, h11.InformationalResponse):
            raise h11.RemoteProtocolError("no answer")
    return event.status_code
