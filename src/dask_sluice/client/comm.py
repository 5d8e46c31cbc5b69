"""`sluice://host:port/cluster`: distributed's connections to a scheduler behind a dask-sluice server.

Two ways lead there, TLS with the scheduler from end to end on both. `proxy`: a TCP connection to the
server's port whose TLS hello names the cluster. `tunnel`: the same bytes inside a WebSocket, for networks that
let only HTTP pass. `auto` takes the first unless it fails in a way that the second may cure.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import dask.config
from dask.utils import parse_timedelta
from distributed.comm.core import Connector
from distributed.comm.registry import Backend, backends
from distributed.comm.tcp import MAX_BUFFER_SIZE, TLS
from tornado.iostream import IOStream, StreamClosedError
from tornado.tcpclient import TCPClient

from ..wire.api import ClusterView
from ..wire.names import server_name
from .identity import Identity
from .tunnel import open_tunnel

if TYPE_CHECKING:
    from .async_gateway import AsyncGateway

logger = logging.getLogger("dask_sluice.client")
Transport = Literal["auto", "proxy", "tunnel"]


@dataclass
class Route:
    """How to reach one cluster's scheduler. `transport` becomes the way that worked first."""

    name: str
    host: str
    port: int
    tunnel_url: str
    tunnel_headers: dict[str, str]
    identity: Identity
    transport: Transport = "auto"
    trouble: str = ""
    """Why the direct way was not taken, or why neither leads there."""
    _client: TCPClient = field(default_factory=TCPClient)

    @property
    def address(self) -> str:
        """The address that distributed shows and connects to."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"sluice://{host}:{self.port}/{self.name}"

    async def open(self) -> IOStream:
        """A TLS stream to the scheduler.

        raises  OSError where neither way leads there
        """
        await self.identity.refresh()
        trouble = ""
        if self.transport != "tunnel":
            try:
                stream = await self._directly()
            except (OSError, StreamClosedError, asyncio.TimeoutError) as error:
                if self.transport == "proxy" or _is_final(error):
                    raise
                trouble = f"{self.host}:{self.port} {_said(error)}"
                logger.debug("no way by %s, trying the tunnel", trouble)
            else:
                self.transport = "proxy"
                return stream
        try:
            stream = await self._secure(IOStream(await self._tunnel(), max_buffer_size=MAX_BUFFER_SIZE))
        except OSError as error:
            if not trouble:
                raise
            self.trouble = f"neither directly: {trouble}; nor in a WebSocket: {error}"
            raise OSError(self.trouble) from error
        self.transport, self.trouble = "tunnel", trouble
        return stream

    async def _directly(self) -> IOStream:
        """Where there is another way, not for longer than leaves time for that: some firewalls drop what they do not
        like, some proxies wait for a line of HTTP.
        """
        limit_s = _direct_s() if self.transport == "auto" else None
        stream = await self._client.connect(self.host, self.port, max_buffer_size=MAX_BUFFER_SIZE, timeout=limit_s)
        return await self._secure(stream, limit_s)

    async def _tunnel(self) -> socket.socket:
        return await open_tunnel(self.tunnel_url, self.tunnel_headers)

    async def _secure(self, stream: IOStream, limit_s: float | None = None) -> IOStream:
        stream.set_nodelay(True)
        with stream.socket.dup() as spare:
            try:
                securing = stream.start_tls(False, self.identity.context, server_hostname=server_name(self.name))
                return await _within(limit_s, securing, spare)
            except BaseException:
                if stream.socket is not None:  # else it was given to the TLS stream, which closes it
                    stream.close()
                raise


async def _within(limit_s: float | None, securing: asyncio.Future[IOStream], spare: socket.socket) -> IOStream:
    """The TLS stream. Where it takes too long, or nobody waits any more, its connection is ended by the spare socket:
    the stream itself is not to be had before it is ready.
    """
    try:
        await asyncio.wait({securing}, timeout=limit_s)
        if not securing.done():
            raise asyncio.TimeoutError
        return securing.result()
    finally:
        if not securing.done():
            with contextlib.suppress(OSError):
                spare.shutdown(socket.SHUT_RDWR)
            await asyncio.wait({securing}, timeout=1.0)  # it sees that at once, and closes
            with contextlib.suppress(OSError, StreamClosedError, asyncio.CancelledError, asyncio.InvalidStateError):
                securing.result()


def _direct_s() -> float:
    """2.5 s by default. distributed's first try takes at most a fifth of its timeout (`distributed.comm.core`)."""
    timeout_s: float = parse_timedelta(dask.config.get("distributed.comm.timeouts.connect"), default="seconds")
    return timeout_s / 12


def _said(error: BaseException) -> str:
    """Why it does not work directly, without OpenSSL's words where we know better."""
    cause = getattr(error, "real_error", None) or error
    if isinstance(cause, ConnectionRefusedError):
        return "refuses connections"
    if isinstance(cause, (asyncio.TimeoutError, TimeoutError)):
        return f"does not react within {_direct_s():g} s"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"shows a certificate that is not the cluster's ({cause.verify_message})"
    if isinstance(cause, ssl.SSLError):
        return "does not pass TLS on to the cluster"
    if isinstance(cause, socket.gaierror):
        return "is a name without an address"
    return f"fails: {cause or 'the connection was closed'}"


async def route_to(gateway: AsyncGateway, view: ClusterView, transport: Transport = "auto") -> Route:
    """How connections reach this cluster's scheduler."""
    info, credentials = await asyncio.gather(gateway.info(), gateway.credentials(view.name))
    parts = urlsplit(f"//{info.dask_address}" if info.dask_address else gateway.address)
    header = gateway.auth.header()
    return Route(
        name=view.name,
        host=parts.hostname or "",
        port=parts.port or (443 if parts.scheme == "https" else 80 if parts.scheme else 8786),
        tunnel_url="ws" + gateway.address.removeprefix("http") + view.tunnel_path,
        tunnel_headers={"Authorization": header} if header else {},
        identity=Identity(credentials, lambda: gateway.credentials(view.name)),
        transport=transport,
    )


def _is_final(error: BaseException) -> bool:
    """Whether the answer came from the proxy itself, so that another way to it would change nothing."""
    cause = getattr(error, "real_error", None) or error
    return isinstance(cause, ssl.SSLError) and "UNRECOGNIZED_NAME" in (cause.reason or "")


class _SluiceConnector(Connector):
    async def connect(self, address: str, deserialize: bool = True, **connection_args: Any) -> TLS:
        route = connection_args.get("route")
        if not isinstance(route, Route):
            raise TypeError(
                f"sluice://{address} needs the credentials of its cluster: use Client(cluster) or "
                "cluster.get_client(), with the cluster from Gateway().connect(name)"
            )
        try:
            stream = await route.open()
        except StreamClosedError as error:
            raise OSError(f"cannot reach {route.address}: {error.real_error or 'connection closed'}") from error
        except RuntimeError as error:  # the program ends: no thread is left to look up a name
            raise OSError(f"cannot reach {route.address}: {error}") from error
        if stream.closed():
            raise OSError(f"cannot reach {route.address}: {stream.error or 'connection closed'}")
        return TLS(stream, "sluice://" + "client", route.address, deserialize)


class SluiceBackend(Backend):
    """Connects; does not listen."""

    def get_connector(self) -> Connector:
        return _SluiceConnector()

    def get_listener(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("nothing listens on sluice://; it only leads to schedulers behind a server")

    def get_address_host(self, loc: str) -> str:
        return loc.partition("/")[0].rpartition(":")[0]

    def resolve_address(self, loc: str) -> str:
        return loc

    def get_local_address_for(self, loc: str) -> str:
        raise NotImplementedError("sluice:// has no local address")


backends.setdefault("sluice", SluiceBackend())
