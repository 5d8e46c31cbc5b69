"""The nursery: a warm parent from which the local backend's schedulers and workers are forked.

It runs in the environment's own Python with distributed imported, so a fork is a running scheduler after some
40 ms instead of a second and a half. One thread and no event loop: only such a process can be forked safely.

It is started with one JSON document on standard input, `{"listen_fd", "idle_s"}`, and listens on that Unix
socket, which the server has bound; a first connection may be made, and waits, while it warms up. Requests and
answers are JSON lines; an answer repeats the request's `id`:

    {"op": "fork", ...Fork}  ->  {"pid", "start_time"} or {"error", "errno", "path"}
    {"op": "list"}           ->  {"children": [{"job", "pid", "start_time"}]}
    {"op": "ping"}           ->  {"pid", "versions"}
    {"op": "quit"}           ->  {"quitting": true}, or an error while children live
    told to all, unasked:        {"event": "ended", "job", "pid", "exit_code", "signal", "time", "oom"}

It outlives a killed server: the next one finds the socket. It ends when told to, or when it has had neither
children nor connections for `idle_s`.
"""

from __future__ import annotations

import json
import os
import platform
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Optional

from ..wire.processes import process_stat
from . import nursery_child
from .nursery_child import Fork
from .nursery_exits import End, ended_child, how_it_ended, oom_kills, release, write_exit
from .nursery_logs import trim
from .nursery_warm import warm

_LONGEST_LINE = 1_000_000
_MOST_UNREAD = 4_000_000
"""A server that does not read this much is stuck: it is hung up on and will dial again."""

_TRIM_EVERY_S = 2.0
"""In that time a process that does nothing but print writes some 100 MB."""

_Born = tuple[Fork, int]
"""In a child: what it is to be, and the pipe by which it says that it is ready."""


@dataclass
class _Connection:
    socket: socket.socket
    unread: bytearray = field(default_factory=bytearray)
    unsent: bytearray = field(default_factory=bytearray)


@dataclass
class _Child:
    fork: Fork
    pid: int
    oom_kills_before: int
    start_time: str = ""
    """Empty until the child said that it is ready."""


@dataclass
class _Birth:
    """A fork whose child has not said yet whether it is ready."""

    child: _Child
    asked_by: _Connection
    request_id: Any


class Nursery:
    """All state of the warm parent."""

    def __init__(self, listener: socket.socket, idle_s: float) -> None:
        self._listener = listener
        self._idle_s = idle_s
        self._connections: dict[int, _Connection] = {}
        self._children: dict[int, _Child] = {}
        self._births: dict[int, _Birth] = {}
        self._poll = select.poll()
        self._signalled, self._signal = os.pipe()
        self._quitting = False
        self._trimmed_at = time.monotonic()

    def serve(self) -> Optional[_Born]:
        """Serve until told to quit: None. In a child it returns at once, with what the child is to be."""
        self._listener.setblocking(False)
        for fd in (self._signalled, self._signal):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._signal, warn_on_full_buffer=False)
        self._poll.register(self._listener, select.POLLIN)
        self._poll.register(self._signalled, select.POLLIN)
        while not self._quitting:
            in_use = self._children or self._connections
            ready = self._poll.poll(self._patience_s() * 1000)
            if not ready and not in_use:
                break
            self._trim_logs()
            for fd, event in ready:
                born = self._on_ready(fd, event)
                if born is not None:
                    return born
        return None

    def _patience_s(self) -> float:
        """How long to wait for something to happen; below zero: for ever."""
        if self._children:
            return _TRIM_EVERY_S
        return -0.001 if self._connections else self._idle_s

    def _trim_logs(self) -> None:
        now = time.monotonic()
        if now - self._trimmed_at < _TRIM_EVERY_S:
            return
        for child in self._children.values():
            _trim_log(child.fork)
        self._trimmed_at = time.monotonic()

    def _on_ready(self, fd: int, event: int) -> Optional[_Born]:
        if fd == self._listener.fileno():
            self._accept()
        elif fd == self._signalled:
            os.read(fd, 4096)
            self._reap()
        elif fd in self._births:
            self._on_birth(fd)
        elif fd in self._connections:
            connection = self._connections[fd]
            if event & select.POLLOUT:
                self._send(connection)
            if event & ~select.POLLOUT:
                return self._receive(connection)
        return None

    # -- connections

    def _accept(self) -> None:
        try:
            peer, _ = self._listener.accept()
        except OSError:  # the peer was gone before its turn came
            return
        if not _is_ours(peer):
            peer.close()
            return
        peer.setblocking(False)
        self._connections[peer.fileno()] = _Connection(peer)
        self._poll.register(peer, select.POLLIN)

    def _receive(self, connection: _Connection) -> Optional[_Born]:
        try:
            data = connection.socket.recv(65536)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        connection.unread += data
        if not data or len(connection.unread) > _LONGEST_LINE:
            self._hang_up(connection)
            return None
        *lines, rest = bytes(connection.unread).split(b"\n")
        connection.unread = bytearray(rest)
        for line in lines:
            try:
                born = self._answer(connection, json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):  # not a request as we know them
                self._hang_up(connection)
                return None
            if born is not None:
                return born
        return None

    def _say(self, connection: _Connection, message: Mapping[str, Any]) -> None:
        connection.unsent += json.dumps(message).encode() + b"\n"
        self._send(connection)

    def _send(self, connection: _Connection) -> None:
        fd = connection.socket.fileno()
        if fd not in self._connections:  # hung up while its fork was under way
            return
        try:
            sent = connection.socket.send(connection.unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._hang_up(connection)
            return
        del connection.unsent[:sent]
        if len(connection.unsent) > _MOST_UNREAD:
            self._hang_up(connection)
        else:
            self._poll.modify(fd, select.POLLIN | select.POLLOUT if connection.unsent else select.POLLIN)

    def _hang_up(self, connection: _Connection) -> None:
        fd = connection.socket.fileno()
        if self._connections.pop(fd, None) is not None:
            self._poll.unregister(fd)
            connection.socket.close()

    # -- requests

    def _answer(self, connection: _Connection, request: dict[str, Any]) -> Optional[_Born]:
        op, request_id = request.pop("op"), request.pop("id")
        if op == "fork":
            return self._fork(connection, request_id, request)  # type: ignore[arg-type]
        if op == "list":
            children = [
                {"job": child.fork["job"], "pid": child.pid, "start_time": child.start_time}
                for child in self._children.values()
            ]
            self._say(connection, {"id": request_id, "children": children})
        elif op == "ping":
            self._say(connection, {"id": request_id, "pid": os.getpid(), "versions": _versions()})
        elif op == "quit":
            self._quit(connection, request_id)
        else:
            self._refuse(connection, request_id, f"no such request: {op!r}")
        return None

    def _quit(self, connection: _Connection, request_id: Any) -> None:
        self._reap()  # whoever asks may have seen the last child end before we were told
        if self._children:
            self._refuse(connection, request_id, "it has children")
            return
        self._quitting = True
        self._say(connection, {"id": request_id, "quitting": True})

    def _refuse(self, connection: _Connection, request_id: Any, error: str) -> None:
        self._say(connection, {"id": request_id, "error": error, "errno": None, "path": None})

    def _fork(self, connection: _Connection, request_id: Any, fork: Fork) -> Optional[_Born]:
        told, tell = os.pipe()
        try:
            pid = os.fork()
        except OSError as error:  # too many processes, no memory
            os.close(told)
            os.close(tell)
            failure = {"id": request_id, "error": error.strerror, "errno": error.errno, "path": None}
            self._say(connection, failure)
            return None
        if pid == 0:
            os.close(told)
            self._let_go()
            return fork, tell
        os.close(tell)
        child = self._children[pid] = _Child(fork, pid, oom_kills())
        self._births[told] = _Birth(child, connection, request_id)
        self._poll.register(told, select.POLLIN)
        return None

    def _let_go(self) -> None:
        """In the child: close everything that belongs to the nursery."""
        self._listener.close()
        for fd in (self._signalled, self._signal, *self._births):
            os.close(fd)
        for connection in self._connections.values():
            connection.socket.close()

    def _on_birth(self, fd: int) -> None:
        birth = self._births.pop(fd)
        self._poll.unregister(fd)
        data = os.read(fd, 65536)
        os.close(fd)
        answer: dict[str, Any] = (
            json.loads(data) if data else {"error": "it ended before it was ready", "errno": None, "path": None}
        )
        if "error" in answer:
            # Never a job of ours: reaped like any child, but nothing is told or written of its end.
            self._children.pop(birth.child.pid, None)
        birth.child.start_time = answer.get("start_time", "")
        self._say(birth.asked_by, {"id": birth.request_id, **answer})

    # -- ends

    def _reap(self) -> None:
        """Write how each ended child ended, tell it, and only then let its number go."""
        while True:
            ended = ended_child()
            if ended is None:
                return
            pid, code = ended
            for fd in [fd for fd, birth in self._births.items() if birth.child.pid == pid]:
                self._on_birth(fd)  # first say that it was born
            child = self._children.pop(pid, None)
            if child is not None:
                self._tell_end(child, how_it_ended(code, oom_kills() > child.oom_kills_before))
            release(pid)

    def _tell_end(self, child: _Child, end: End) -> None:
        _trim_log(child.fork)
        write_exit(child.fork["exit"], end)
        for connection in list(self._connections.values()):
            self._say(connection, {"event": "ended", "job": child.fork["job"], "pid": child.pid, **end})


def _trim_log(fork: Fork) -> None:
    if fork.get("log_bytes"):  # a server of an earlier release does not say
        trim(fork["log"], fork["log_bytes"])


def _is_ours(peer: socket.socket) -> bool:
    """Whether the other end is root or this very account. Where Linux cannot tell, the socket's mode does."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return uid in (0, os.geteuid())


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), "distributed": metadata.version("distributed")}


def main() -> int:
    """Serve; in a child: be what it was forked for."""
    start = json.load(sys.stdin)
    listener = socket.socket(fileno=start["listen_fd"])
    listener.set_inheritable(False)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    began = time.monotonic()
    warm()
    process_stat(os.getpid())  # it remembers what a fork would have to look up
    from .main import run  # by now all that it imports is there

    print(f"nursery {os.getpid()} warm after {time.monotonic() - began:.2f} s", file=sys.stderr, flush=True)
    born = Nursery(listener, start["idle_s"]).serve()
    if born is not None:
        nursery_child.run(*born, run)
    return 0
