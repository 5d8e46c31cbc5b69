"""Accepts connections, looks at their first bytes without taking them, and hands each to who serves it.

The bytes stay in the socket (`MSG_PEEK`), so that a scheduler, asyncio's TLS or h11 read them as if nobody
had looked. The usual way of a Dask connection is taken without a task or a coroutine: accept, look, connect,
pump.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Coroutine
from typing import Any

from . import hello
from .http_front import HttpFront, is_loopback
from .limits import PerAddress
from .routes import Route, RouteTable
from .settings import Settings
from .splice import Pipes, Pump

log = logging.getLogger(__name__)

_ACCEPTS_AT_ONCE = 64
_ACCEPT_PAUSE_S = 0.2
_ROUTE_PATIENCE_S = 0.3
_CONNECT_TIMEOUT_S = 10.0
_LINGER_S = 1.0
_LOOPBACK_SEND_BYTES = 512 * 1024
"""Within one machine there is no distance to fill: what waits in larger buffers only leaves the CPU's cache."""
_KEEPALIVE_IDLE_S, _KEEPALIVE_EVERY_S, _KEEPALIVE_COUNT = 60, 15, 4


class Listener:
    """The public port."""

    def __init__(self, sock: socket.socket, settings: Settings, routes: RouteTable, front: HttpFront) -> None:
        self.loop = asyncio.get_running_loop()
        self.settings, self.routes, self.front = settings, routes, front
        self.pipes = Pipes()
        self.pumps: set[Pump] = set()
        self.all_carried = asyncio.Event()  # no pump is running
        self.all_carried.set()
        self.limits = PerAddress(settings.max_connections_per_address)
        self.peek_buffer = memoryview(bytearray(hello.MAX_BYTES))
        self.tasks: set[asyncio.Task[None]] = set()
        self._arrivals: set[Arrival] = set()
        self._sock = sock
        self._resume: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        prepare(sock)  # accepted sockets inherit it

    def start(self) -> None:
        self._resume = None
        self.loop.add_reader(self._sock.fileno(), self._accept)

    def stop(self) -> None:
        """Accept no more, and let go of connections that have not said anything yet."""
        if self._resume is not None:
            self._resume.cancel()
        self.loop.remove_reader(self._sock.fileno())
        self._sock.close()
        for arrival in list(self._arrivals):
            arrival.close()

    def cut(self) -> None:
        """End everything that is still carried."""
        for task in self.tasks:
            task.cancel()
        for pump in list(self.pumps):
            pump.close()
        self.pipes.close()

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_AT_ONCE):
            try:
                sock, peer = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(error)
                return
            address = peer[0]
            if not self.limits.enter(address):
                log.warning("%s: connection refused, %d are open", address, self.settings.max_connections_per_address)
                sock.close()
                continue
            sock.setblocking(False)
            arrival = Arrival(self, sock, address)
            self._arrivals.add(arrival)
            arrival.look()

    def _pause(self, error: OSError) -> None:
        """No file descriptor or memory left: those that are served go on, and new ones wait in the backlog."""
        log.error("cannot accept connections, trying again in %g s: %s", _ACCEPT_PAUSE_S, error)
        self.loop.remove_reader(self._sock.fileno())
        self._resume = self.loop.call_later(_ACCEPT_PAUSE_S, self.start)

    def forget(self, arrival: Arrival) -> None:
        self._arrivals.discard(arrival)

    def run(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        """Run this to its end, or until `cut`."""
        task = asyncio.create_task(coroutine, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


class Arrival:
    """A connection of which it is not yet known what it wants."""

    __slots__ = ("_address", "_listener", "_seen", "_sock", "_timer", "_watching")

    def __init__(self, listener: Listener, sock: socket.socket, address: str) -> None:
        self._listener, self._sock, self._address = listener, sock, address
        self._timer: asyncio.TimerHandle | None = None
        self._watching = False
        self._seen = 0

    def look(self) -> None:
        """Look at what has arrived; wait for more until it is clear."""
        buffer = self._listener.peek_buffer
        try:
            count = self._sock.recv_into(buffer, len(buffer), socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            self._wait(1)
            return
        except OSError:
            self.close()
            return
        if count == self._seen:  # woken, and nothing new: the client will send no more
            self.close()
            return
        self._seen = count
        verdict = hello.read_hello(bytes(buffer[:count]))
        if isinstance(verdict, hello.NeedMore):
            self._wait(verdict.total)
        else:
            self._decided(verdict)

    def _wait(self, total: int) -> None:
        """Look again when `total` bytes are there: with fewer the kernel does not wake us."""
        if total > 1 or self._watching:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, total)
        if not self._watching:
            self._watching = True
            self._listener.loop.add_reader(self._sock.fileno(), self.look)
            self._timer = self._listener.loop.call_later(self._listener.settings.hello_timeout_s, self._too_slow)

    def _too_slow(self) -> None:
        log.info("%s said nothing clear in %g s", self._address, self._listener.settings.hello_timeout_s)
        self.close()

    def _decided(self, verdict: hello.Verdict) -> None:
        self._stop_watching()
        listener, sock, address = self._listener, self._sock, self._address
        listener.forget(self)
        name = hello.cluster_of(verdict.server_name) if isinstance(verdict, hello.Hello) else None
        if name is not None:
            route = listener.routes.get(name)
            if route is not None and route.scheduler_port is not None and route.host_is_address:
                Passage(listener, sock, address).connect(route, route.host)
            else:
                listener.run(Passage(listener, sock, address).find(name), f"find {name}")
        elif isinstance(verdict, hello.NotTLS):
            listener.front.take(sock, address, tls=False, done=lambda: listener.limits.leave(address))
        elif listener.settings.tls_certificate:
            listener.front.take(sock, address, tls=True, done=lambda: listener.limits.leave(address))
        else:
            why = verdict.why if isinstance(verdict, hello.Broken) else "TLS for no cluster, and HTTPS is not set up"
            log.info("%s: %s", address, why)
            listener.run(Passage(listener, sock, address).refuse(hello.HANDSHAKE_FAILURE), "refuse")

    def _stop_watching(self) -> None:
        if self._watching:
            self._watching = False
            self._listener.loop.remove_reader(self._sock.fileno())
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        if self._timer is not None:
            self._timer.cancel()

    def close(self) -> None:
        self._stop_watching()
        self._listener.forget(self)
        self._listener.limits.leave(self._address)
        self._sock.close()


class Passage:
    """A connection on its way to a scheduler."""

    def __init__(self, listener: Listener, sock: socket.socket, address: str) -> None:
        self._listener, self._sock, self._address = listener, sock, address
        self._upstream: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._name = self._host = ""

    async def find(self, name: str) -> None:
        """The rarer cases: a route that is not there yet, or a host that has to be looked up."""
        route = await self._listener.routes.wait_for(name, _ROUTE_PATIENCE_S)
        if route is None or route.scheduler_port is None:
            state = "unknown" if route is None else route.state or "starting"
            log.info("%s: cluster %s is %s", self._address, name, state)
            await self.refuse(hello.UNRECOGNIZED_NAME if route is None else hello.INTERNAL_ERROR)
            return
        try:
            found = await self._listener.loop.getaddrinfo(route.host, route.scheduler_port, type=socket.SOCK_STREAM)
        except OSError as error:
            log.warning("cluster %s: host %s not found: %s", name, route.host, error)
            await self.refuse(hello.INTERNAL_ERROR)
            return
        self.connect(route, str(found[0][4][0]))

    def connect(self, route: Route, host: str) -> None:
        """Open the connection to the scheduler; the pump starts as soon as it stands."""
        self._name, self._host = route.name, host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._upstream = upstream = socket.socket(family, socket.SOCK_STREAM)
            upstream.setblocking(False)
            prepare(upstream)
            result = upstream.connect_ex((host, route.scheduler_port))
        except OSError as error:  # no file descriptor left
            self._failed(error)
            return
        if result not in (0, errno.EINPROGRESS):
            self._failed(OSError(result, "connect"))
        elif result == 0 or _is_connected(upstream):
            self._start_pump()
        else:
            self._listener.loop.add_writer(upstream.fileno(), self._connected)
            self._timer = self._listener.loop.call_later(_CONNECT_TIMEOUT_S, self._failed, TimeoutError("no answer"))

    def _connected(self) -> None:
        assert self._upstream is not None
        result = self._upstream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if result:
            self._failed(OSError(result, "connect"))
            return
        self._listener.loop.remove_writer(self._upstream.fileno())
        if self._timer is not None:
            self._timer.cancel()
        self._start_pump()

    def _start_pump(self) -> None:
        assert self._upstream is not None
        listener, address = self._listener, self._address

        def done(pump: Pump) -> None:
            listener.pumps.discard(pump)
            if not listener.pumps:
                listener.all_carried.set()
            listener.limits.leave(address)

        for sock, far_end in ((self._sock, address), (self._upstream, self._host)):
            if is_loopback(far_end):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LOOPBACK_SEND_BYTES)
        pump = Pump(listener.loop, listener.pipes, self._sock, self._upstream, done)
        listener.pumps.add(pump)
        listener.all_carried.clear()
        pump.start()

    def _failed(self, error: OSError) -> None:
        if self._upstream is not None:
            self._listener.loop.remove_writer(self._upstream.fileno())
            self._upstream.close()
        if self._timer is not None:
            self._timer.cancel()
        log.warning("cluster %s: its scheduler cannot be reached: %s", self._name, error)
        self._listener.run(self.refuse(hello.INTERNAL_ERROR), "refuse")

    async def refuse(self, description: int) -> None:
        """Say why in TLS's own words, and wait for the client to have read it."""
        loop, sock = self._listener.loop, self._sock
        try:
            async with asyncio.timeout(_LINGER_S):
                await loop.sock_sendall(sock, hello.alert(description))
                sock.shutdown(socket.SHUT_WR)
                # Closing with the hello unread would reset the connection, and the alert with it.
                while await loop.sock_recv(sock, hello.MAX_BYTES):
                    pass
        except OSError:  # TimeoutError is one: it has had its time
            pass
        finally:
            sock.close()
            self._listener.limits.leave(self._address)


def prepare(sock: socket.socket) -> None:
    """No delay for small messages; a peer that vanished without a word is noticed in two minutes."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):  # Linux; macOS names it differently and has good defaults
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_EVERY_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_COUNT)


def _is_connected(sock: socket.socket) -> bool:
    """Whether the handshake is over already, as on loopback: saves a turn of the loop."""
    try:
        sock.getpeername()
    except OSError:
        return False
    return True
