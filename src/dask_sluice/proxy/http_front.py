"""HTTP as clients see it: reads requests, decides by the path where they go, answers what it must itself.

What is forwarded goes through `forwarding`; what is decided is decided in `paths` and `dashboards`; this
file ties them together for one connection after another.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from time import time
from urllib.parse import quote

import h11

from . import dashboards, pages
from .access import AccessCheck
from .forwarding import Caller, ClientGone, exchange, has_body, header, request_headers, wants_upgrade
from .pages import Headers
from .paths import Destination, Elsewhere, Nowhere, ToDashboard, ToProxy, ToServer, ToTunnel, destination
from .relay import Relay, relay
from .routes import Route, RouteTable
from .settings import Settings
from .upstream import READ_BYTES, Address, Reader, ServerConnections, UpstreamGone, Wire, Writer, connect

log = logging.getLogger(__name__)

_IDLE_S = 75.0
"""How long a connection is kept open between two requests."""
_LINGER_S = 1.0
_LINGER_BYTES = 1024 * 1024
_ROUTE_PATIENCE_S = 0.3
_REPEATABLE = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_REFUSED_METHODS = frozenset({b"CONNECT", b"TRACE"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CLOSE = (b"Connection", b"close")
_LOOPBACK = ("127.", "::1", "::ffff:127.")


def is_loopback(address: str) -> bool:
    """Whether this is the machine itself."""
    return address.startswith(_LOOPBACK)


class _ClientProtocol(asyncio.StreamReaderProtocol):
    """A stream that says when the client has gone, so that nobody goes on working for it."""

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader)
        self.when_gone: Callable[[], object] | None = None

    def eof_received(self) -> bool | None:
        stays_open = super().eof_received()
        self._gone()
        return stays_open

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._gone()

    def _gone(self) -> None:
        if self.when_gone is not None:
            self.when_gone()
            self.when_gone = None


class _SwitchedProtocols(Exception):
    """The connection has become a WebSocket, and what carries it from now on needs none of us."""

    def __init__(self, carrier: Relay) -> None:
        super().__init__()
        self.carrier = carrier


class HttpFront:
    """Serves HTTP on the connections that it is handed."""

    def __init__(
        self, settings: Settings, routes: RouteTable, server: ServerConnections, context: ssl.SSLContext | None
    ) -> None:
        self._settings = settings
        self._routes = routes
        self._server = server
        self._access = AccessCheck(server)
        self._context = context
        self._tasks: set[asyncio.Task[Relay | None]] = set()
        self._idle: set[asyncio.Task[Relay | None]] = set()
        self._relays: set[Relay] = set()
        self._all_relayed = asyncio.Event()  # no WebSocket is open
        self._all_relayed.set()
        self._stopping = False

    def take(self, sock: socket.socket, address: str, *, tls: bool, done: Callable[[], None]) -> None:
        """Serve this connection from its first byte on; `done` is called when it is over."""
        task = asyncio.create_task(self._serve(sock, address, tls=tls), name=f"http {address}")
        self._tasks.add(task)

        def over(_: object) -> None:
            self._tasks.discard(task)
            carrier = None if task.cancelled() else task.result()
            if carrier is None:
                done()
            else:
                self._carry(carrier, done)

        task.add_done_callback(over)

    def _carry(self, carrier: Relay, done: Callable[[], None]) -> None:
        def over(_: object) -> None:
            self._relays.discard(carrier)
            if not self._relays:
                self._all_relayed.set()
            done()

        self._relays.add(carrier)
        self._all_relayed.clear()
        carrier.start(over)

    async def stop(self) -> None:
        """Let running exchanges finish; idle connections end at once. Cancel it to end the rest."""
        self._stopping = True
        for task in self._idle:
            task.cancel()
        try:
            while self._tasks:
                await asyncio.wait(self._tasks)
            await self._all_relayed.wait()
        finally:
            for task in self._tasks:
                task.cancel()
            for carrier in self._relays:
                carrier.close()

    async def _serve(self, sock: socket.socket, address: str, *, tls: bool) -> Relay | None:
        """Serve the connection to its end, or until it is a WebSocket, which whoever asked has to carry on."""
        reader = Reader()
        protocol = _ClientProtocol(reader)
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol,
                sock,
                ssl=self._context if tls else None,
                ssl_handshake_timeout=self._settings.hello_timeout_s if tls else None,
            )
        except OSError as error:  # SSLError is one: the handshake failed, which is the client's to tell
            log.debug("%s: no TLS handshake: %s", address, error)
            sock.close()
            return None
        client = Wire(h11.SERVER, reader, Writer(transport, protocol, reader, loop))
        connection = _Connection(self, client, protocol, address, "https" if tls else "http")
        try:
            await connection.serve()
        except _SwitchedProtocols as switched:
            return switched.carrier
        except (ClientGone, OSError) as error:
            log.debug("%s went away: %s", address, error)
        except Exception:  # the outer edge: one connection's trouble must not reach another
            log.exception("%s: unexpected error, connection closed", address)
        except BaseException:
            client.close()
            raise
        client.close()
        return None


class _Connection:
    """One client's connection: requests one after another."""

    def __init__(self, front: HttpFront, client: Wire, protocol: _ClientProtocol, address: str, scheme: str) -> None:
        self._front, self._client, self._protocol = front, client, protocol
        self._settings, self._routes, self._server = front._settings, front._routes, front._server
        self._address, self._scheme = address, scheme
        self._task = asyncio.current_task()
        assert self._task is not None

    async def serve(self) -> None:
        patience = self._settings.hello_timeout_s
        while (request := await self._next_request(patience)) is not None:
            await self._answer(request)
            if self._front._stopping:
                return
            try:
                self._client.state.start_next_cycle()
            except h11.LocalProtocolError:  # one side said "close", or part of a body was left unread
                await self._linger()
                return
            patience = _IDLE_S

    async def _next_request(self, patience: float) -> h11.Request | None:
        """The next request, None where none came in time or the connection is over."""
        assert self._task is not None
        self._front._idle.add(self._task)
        try:
            async with asyncio.timeout(patience):
                event = await self._client.next_event()
        except TimeoutError:
            return None
        except h11.RemoteProtocolError as error:
            await self._refuse(pages.no_request(error.error_status_hint, str(error)))
            await self._linger()
            return None
        finally:
            self._front._idle.discard(self._task)
        if not isinstance(event, h11.Request):
            return None
        if not has_body(event):
            self._client.state.next_event()  # the end of the message, there already
        return event

    async def _answer(self, request: h11.Request) -> None:
        headers = list(request.headers)
        given = header(headers, b"x-request-id")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        accept = header(headers, b"accept")
        try:
            await self._route(request, headers, request_id)
        except pages.Redirect as redirect:
            await self._send(pages.redirect_answer(redirect, request_id), request.method)
        except pages.Refusal as refusal:
            await self._send(pages.refusal_answer(refusal, accept=accept, request_id=request_id), request.method)

    async def _route(self, request: h11.Request, headers: Headers, request_id: str) -> None:
        host = header(headers, b"host")
        target = request.target.decode("ascii")
        if request.http_version not in (b"1.0", b"1.1"):
            raise pages.Refusal(
                505, "request_invalid", "HTTP version not supported", "Only HTTP/1.1 is spoken here.", headers=[_CLOSE]
            )
        if request.method in _REFUSED_METHODS:
            raise pages.Refusal(405, "method_not_allowed", "Method not allowed", "This method is not served here.")
        if header(headers, b"transfer-encoding") and header(headers, b"content-length"):
            raise pages.Refusal(400, "request_invalid", "Bad request", "Both Content-Length and Transfer-Encoding.")
        goal: Destination = destination(target, self._settings.prefix)
        if isinstance(goal, ToProxy):
            await self._send(pages.health_answer(ready=self._routes.known or not goal.ready), request.method)
            return
        if self._settings.tls_certificate and self._scheme == "http" and not is_loopback(self._address):
            raise pages.Redirect(f"https://{host}{target}", 308)
        caller = Caller(self._address, self._scheme, host, self._settings.prefix)
        sent_on = request_headers(headers, caller, request_id)
        match goal:
            case ToServer():
                await self._to_server(request, goal.target, sent_on + self._server.introduction)
            case ToDashboard():
                await self._to_dashboard(request, goal, headers, sent_on)
            case ToTunnel():
                await self._to_tunnel(request, goal.cluster, headers)
            case Elsewhere():
                raise pages.Redirect(goal.location)
            case Nowhere():
                raise pages.not_found(target, self._settings.prefix)

    async def _to_server(self, request: h11.Request, target: str, headers: Headers) -> None:
        if not header(headers, b"host"):
            headers = [(b"Host", b"localhost"), *headers]
        sent_on = h11.Request(method=request.method, target=target.encode(), headers=headers)
        if request.method in _REPEATABLE and not has_body(request) and not wants_upgrade(headers):
            spare = self._server.take_spare()
            if spare is not None:
                with suppress(UpstreamGone):  # gone stale: once more, on a new connection
                    await self._exchange(sent_on, spare, _unchanged)
                    return
        try:
            upstream = await self._server.connect()
        except UpstreamGone as error:
            raise pages.server_away() from error
        try:
            await self._exchange(sent_on, upstream, _unchanged)
        except UpstreamGone as error:
            raise pages.server_broke_off() from error

    async def _exchange(self, request: h11.Request, upstream: Wire, rewrite: Callable[[Headers], Headers]) -> None:
        """One exchange, after which `upstream` is spare or closed. Ends early when the client goes."""
        assert self._task is not None
        carrier = None
        complete = False
        self._protocol.when_gone = self._task.cancel
        try:
            await exchange(self._client, upstream, request, rewrite)
            self._protocol.when_gone = None
            if self._client.state.our_state is h11.SWITCHED_PROTOCOL:
                carrier = await relay(self._client, upstream)
            complete = True
        finally:
            self._protocol.when_gone = None
            if not complete:
                upstream.close()
        if carrier is not None:
            raise _SwitchedProtocols(carrier)
        self._server.give_back(upstream)

    async def _to_dashboard(self, request: h11.Request, goal: ToDashboard, headers: Headers, sent_on: Headers) -> None:
        is_page = request.method in (b"GET", b"HEAD") and pages.wants_page(header(headers, b"accept"))
        base = await self._admit(goal, headers, is_page=is_page and not wants_upgrade(headers))
        if goal.rest in ("", "/"):
            raise pages.Redirect(f"{base}/status{goal.query}")
        route = await self._route_of(goal.cluster)
        if route.dashboard_port is None:
            raise pages.Refusal(
                404, "no_dashboard", "No dashboard", f"The scheduler of cluster {goal.cluster} serves no dashboard."
            )
        address = Address(host=route.host, port=route.dashboard_port)
        rewritten = dashboards.request_headers(sent_on, address.authority)
        target = (goal.rest + goal.query).encode()

        def rewrite(answer: Headers) -> Headers:
            return dashboards.answer_headers(
                answer, base=base, upstream=address.authority, ticketed=goal.ticket is not None
            )

        try:
            upstream = await connect(address)
            if not wants_upgrade(rewritten):
                rewritten.append(_CLOSE)
            sent = h11.Request(method=request.method, target=target, headers=rewritten)
            await self._exchange(sent, upstream, rewrite)
        except UpstreamGone as error:
            raise pages.scheduler_away(goal.cluster) from error

    async def _admit(self, goal: ToDashboard, headers: Headers, *, is_page: bool) -> str:
        """The dashboard's path as the viewer must use it. Raises where the viewer may not, or must go elsewhere."""
        base = f"{self._settings.prefix}/clusters/{goal.cluster}"
        rest = goal.rest if goal.rest not in ("", "/") else "/status"
        if goal.ticket is not None:
            key = self._routes.ticket_key
            if dashboards.ticket_is_valid(goal.ticket, key, cluster=goal.cluster, now=time()):
                return f"{base}/~{goal.ticket}"
            if is_page:
                raise pages.Redirect(base + rest + goal.query)
            raise pages.login_needed()
        try:
            access = await self._front._access.check(goal.cluster, headers)
        except pages.Refusal as refusal:
            if refusal.status == 401 and is_page:
                wanted = quote(base + rest + goal.query, safe="/")
                raise pages.Redirect(f"{self._settings.prefix}/login?next={wanted}") from refusal
            raise
        if not header(headers, b"authorization"):
            self._refuse_foreign(headers)
            if is_page:
                raise pages.Redirect(f"{base}/~{access.ticket}{rest}{goal.query}")
        return base

    def _refuse_foreign(self, headers: Headers) -> None:
        """A cookie is sent by the browser unasked: only our own pages may use it."""
        origin = header(headers, b"origin")
        if origin and not dashboards.same_origin(origin, header(headers, b"host")):
            raise pages.foreign_origin()

    async def _route_of(self, cluster: str) -> Route:
        route = await self._routes.wait_for(cluster, _ROUTE_PATIENCE_S)
        if route is None:
            raise pages.unknown_cluster(cluster)
        if route.scheduler_port is None:
            raise pages.cluster_starting(cluster, route.state)
        return route

    async def _to_tunnel(self, request: h11.Request, cluster: str, headers: Headers) -> None:
        if not wants_upgrade(headers):
            raise pages.Refusal(
                426,
                "request_invalid",
                "WebSocket only",
                "A tunnel carries Dask's traffic inside a WebSocket; it is no page.",
                "Dask clients open it by themselves.",
                [(b"Upgrade", b"websocket")],
            )
        await self._front._access.check(cluster, headers)
        if not header(headers, b"authorization"):
            self._refuse_foreign(headers)
        route = await self._route_of(cluster)
        from .tunnel import serve_tunnel  # loads websockets, which few proxies ever need

        await serve_tunnel(self._client, request, route)
        raise ClientGone("the tunnel is over")

    async def _refuse(self, refusal: pages.Refusal) -> None:
        """Answer something that was no request."""
        if self._client.state.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            answer = pages.refusal_answer(refusal, accept="", request_id=secrets.token_hex(8))
            answer.headers.append(_CLOSE)
            await self._send(answer, b"GET")

    async def _send(self, answer: pages.Answer, method: bytes) -> None:
        if self._client.state.their_state is h11.SEND_BODY:
            answer.headers.append(_CLOSE)
        await self._client.send(h11.Response(status_code=answer.status, headers=answer.headers, reason=answer.reason))
        if method != b"HEAD":
            await self._client.send(h11.Data(data=answer.body))
        await self._client.send(h11.EndOfMessage())

    async def _linger(self) -> None:
        """Let the client read the answer: closing with its bytes unread would reset the connection."""
        writer = self._client.writer
        if not writer.can_write_eof():
            return
        with suppress(TimeoutError, OSError):
            writer.write_eof()
            async with asyncio.timeout(_LINGER_S):
                left = _LINGER_BYTES
                while left > 0 and (data := await self._client.reader.read(READ_BYTES)):
                    left -= len(data)


def _unchanged(headers: Headers) -> Headers:
    return headers
