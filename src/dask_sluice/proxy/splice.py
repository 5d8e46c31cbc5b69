"""The pump: carries bytes between two connected TCP sockets, both ways, untouched.

Small messages are copied through one shared buffer: two system calls each. Where a read fills that
buffer, bulk data is coming, and from then on whole pages move between the sockets inside the kernel
(`os.splice` through a pipe) until traffic becomes small again. So an idle connection holds no pipe. A
platform without `os.splice` copies always.

A socket is read only when all that was read before has been handed on: a reader that stops stops the
writer at the other end, and memory stays bounded. The end of one direction is passed on by itself
(half-close); an error in either ends both.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

COPY_BYTES = 64 * 1024
PIPE_BYTES = 1024 * 1024
"""Also the largest that an unprivileged process may ask for."""
_ROUNDS = 4  # reads per wake-up before other connections get their turn
_SMALL_ROUNDS = 16  # short reads in a row after which a pipe is given back
_SPARE_PIPES = 16
_F_SETPIPE_SZ = 1031  # Linux; fcntl names it from Python 3.10 on, on Linux only
HAS_SPLICE = hasattr(os, "splice")


@dataclass(frozen=True, slots=True)
class Pipe:
    """An empty pipe, neither end of which blocks."""

    read: int
    write: int

    def close(self) -> None:
        os.close(self.read)
        os.close(self.write)


class Pipes:
    """Spare pipes, kept because making a large one costs more than many messages."""

    def __init__(self, *, use_splice: bool = HAS_SPLICE) -> None:
        self._use_splice = use_splice
        self._spare: list[Pipe] = []
        self.buffer = memoryview(bytearray(COPY_BYTES))

    def take(self) -> Pipe | None:
        """An empty pipe; None where there is no splice or no file descriptor is left."""
        if not self._use_splice:
            return None
        if self._spare:
            return self._spare.pop()
        try:
            pipe = Pipe(*os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError:  # EMFILE, ENFILE: copying goes on
            return None
        with suppress(OSError):  # over the user's share of pipe memory: a small one works too
            fcntl.fcntl(pipe.write, _F_SETPIPE_SZ, PIPE_BYTES)
        return pipe

    def give(self, pipe: Pipe) -> None:
        """Take back an empty pipe."""
        if len(self._spare) < _SPARE_PIPES:
            self._spare.append(pipe)
        else:
            pipe.close()

    def close(self) -> None:
        while self._spare:
            self._spare.pop().close()


class _Way:
    """One direction: from `source` to `sink`."""

    __slots__ = ("_pending", "_pipe", "_piped", "_pump", "_short_reads", "_sink", "_sink_fd", "_source", "_source_fd")

    def __init__(self, pump: Pump, source: socket.socket, sink: socket.socket) -> None:
        self._pump, self._source, self._sink = pump, source, sink
        # The loop is given numbers: for a socket that it does not watch yet it would write out its repr.
        self._source_fd, self._sink_fd = source.fileno(), sink.fileno()
        self._pending = memoryview(b"")  # copied and not yet sent
        self._pipe: Pipe | None = None
        self._piped = 0  # bytes in the pipe
        self._short_reads = 0

    def start(self) -> None:
        self._pump.loop.add_reader(self._source_fd, self.read)

    def read(self) -> None:
        """Move what has arrived; called when there is something."""
        try:
            for _ in range(_ROUNDS):
                if not (self._copy() if self._pipe is None else self._splice(self._pipe)):
                    return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._pump.close()

    def _copy(self) -> bool:
        """Whether to look for more at once."""
        buffer = self._pump.pipes.buffer
        count = self._source.recv_into(buffer)
        if count == 0:
            self._end()
            return False
        try:
            sent = self._sink.send(buffer[:count])
        except (BlockingIOError, InterruptedError):
            sent = 0
        if sent < count:
            self._pending = memoryview(bytes(buffer[sent:count]))
            self._wait_for_sink()
            return False
        if count < COPY_BYTES:
            return False
        self._pipe = self._pump.pipes.take()
        return True

    def _splice(self, pipe: Pipe) -> bool:
        # Only an empty pipe is filled, so "would block" here always means that nothing has arrived.
        count = os.splice(self._source_fd, pipe.write, PIPE_BYTES, flags=_FLAGS)
        if count == 0:
            self._end()
            return False
        self._piped = count
        if not self._empty_pipe(pipe):
            self._wait_for_sink()
            return False
        self._short_reads = self._short_reads + 1 if count < COPY_BYTES else 0
        if self._short_reads > _SMALL_ROUNDS:
            self._release_pipe()
        return count >= COPY_BYTES

    def _empty_pipe(self, pipe: Pipe) -> bool:
        """Whether all of it could be handed on."""
        try:
            while self._piped:
                self._piped -= os.splice(pipe.read, self._sink_fd, self._piped, flags=_FLAGS)
        except (BlockingIOError, InterruptedError):
            return False
        return True

    def _wait_for_sink(self) -> None:
        self._pump.loop.remove_reader(self._source_fd)
        self._pump.loop.add_writer(self._sink_fd, self.write)

    def write(self) -> None:
        """Hand on what is left over; called when the sink takes bytes again."""
        try:
            if self._pending:
                self._pending = self._pending[self._sink.send(self._pending) :]
            elif self._pipe is not None:
                self._empty_pipe(self._pipe)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._pump.close()
            return
        if not self._pending and not self._piped:
            self._pump.loop.remove_writer(self._sink_fd)
            self._pump.loop.add_reader(self._source_fd, self.read)
            self.read()

    def _end(self) -> None:
        """The source will send no more: tell the sink so."""
        self._pump.loop.remove_reader(self._source_fd)
        self._release_pipe()
        self._sink.shutdown(socket.SHUT_WR)
        self._pump.way_ended()

    def _release_pipe(self) -> None:
        if self._pipe is not None:
            if self._piped:
                self._pipe.close()
            else:
                self._pump.pipes.give(self._pipe)
            self._pipe, self._piped, self._short_reads = None, 0, 0

    def drop(self) -> None:
        """Stop watching the sockets and let go of the pipe."""
        self._pump.loop.remove_reader(self._source_fd)
        self._pump.loop.remove_writer(self._sink_fd)
        self._release_pipe()


_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK if HAS_SPLICE else 0


class Pump:
    """Both directions between two non-blocking sockets, which it closes at the end."""

    __slots__ = ("_done", "_sockets", "_ways", "_ways_open", "loop", "pipes")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pipes: Pipes,
        first: socket.socket,
        second: socket.socket,
        done: Callable[[Pump], None],
    ) -> None:
        self.loop, self.pipes = loop, pipes
        self._sockets = (first, second)
        self._done = done
        self._ways = (_Way(self, first, second), _Way(self, second, first))
        self._ways_open = 2

    def start(self) -> None:
        for way in self._ways:
            way.start()
        self._ways[0].read()

    def way_ended(self) -> None:
        self._ways_open -= 1
        if not self._ways_open:
            self.close()

    def close(self) -> None:
        """End both directions now. Harmless when already ended."""
        if self._sockets[0].fileno() < 0:
            return
        for way in self._ways:
            way.drop()
        for sock in self._sockets:
            sock.close()
        self._done(self)
