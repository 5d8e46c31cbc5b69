"""Carries bytes both ways between two connections whose HTTP is over: WebSockets of agents and dashboards.

Such a connection lives for days and says little, so it holds neither a task nor a stream nor what is left of
its request, and all of them read into one buffer. It may be encrypted, so sockets cannot be joined directly.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .upstream import READ_BYTES, Wire

_buffer = memoryview(bytearray(READ_BYTES))  # what is read is handed on before the loop reads again


async def relay(one: Wire, other: Wire) -> Relay:
    """The two wires joined, to be started; nothing is left for the wires to do. Raises OSError where one is lost."""
    ends = _End(one), _End(other)
    # Nothing waits from here on, so not a byte can come between a stream and its relay.
    for end, wire in zip(ends, (one, other), strict=True):
        await end.take_from(wire)
    return Relay(*ends)


class Relay:
    """Both directions. An end that says no more is told to the other; an end that breaks ends both."""

    __slots__ = ("_done", "_ends", "_open")

    def __init__(self, one: _End, other: _End) -> None:
        self._ends = (one, other)
        self._open = 2
        self._done: Callable[[Relay], None] | None = None
        for end, peer in ((one, other), (other, one)):
            end.relay, end.peer = self, peer

    def start(self, done: Callable[[Relay], None]) -> None:
        """Hand on what came early; `done` is called once both ends are closed."""
        self._done = done
        for end in self._ends:
            end.start()

    def close(self) -> None:
        """End both directions now."""
        for end in self._ends:
            end.transport.abort()

    def end_lost(self) -> None:
        self._open -= 1
        if not self._open and self._done is not None:
            self._done(self)


class _End(asyncio.BufferedProtocol):
    """One of the two connections; what it hears goes to its peer."""

    __slots__ = ("_early", "_ended", "_lost", "peer", "relay", "transport")

    relay: Relay
    peer: _End

    def __init__(self, wire: Wire) -> None:
        self.transport: asyncio.Transport = wire.transport
        self._early, self._ended, self._lost = b"", False, False

    async def take_from(self, wire: Wire) -> None:
        self.transport.set_protocol(self)
        self._ended = wire.reader.ended
        early, _ = wire.state.trailing_data
        self._early = early + await wire.reader.rest()

    def start(self) -> None:
        early, self._early = self._early, b""
        self.peer.write(early)
        if self.transport.is_closing():  # nobody else may tell us
            self.connection_lost(None)
        elif self._ended:
            self._end()

    def write(self, data: bytes) -> None:
        if data and not self.transport.is_closing():
            self.transport.write(data)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.peer.write(bytes(_buffer[:nbytes]))

    def eof_received(self) -> bool:
        self._ended = True
        return self._end()

    def _end(self) -> bool:
        """Tell the peer that nothing more comes; whether this end can still be written to."""
        other = self.peer.transport
        if self.peer._ended or not other.can_write_eof():
            other.close()
            self.transport.close()
        elif not other.is_closing():
            other.write_eof()
        return self.transport.can_write_eof() and not self.transport.is_closing()

    def pause_writing(self) -> None:
        if not self.peer._ended:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if not self.peer._ended:  # reading again would find the end again
            self.peer.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._lost:
            return
        self._lost = True
        if exc is None:
            self.peer.transport.close()
        else:
            self.peer.transport.abort()
        self.relay.end_lost()
