"""`sluice://host:port/cluster`: distributed's connections to a scheduler behind a dask-sluice server.

Two ways lead there, TLS with the scheduler from end to end on both. `proxy`: a TCP connection to the
server's port whose TLS hello names the cluster. `tunnel`: the same bytes inside a WebSocket, for networks that
let only HTTP pass. `auto` takes the first unless it fails in a way that the second may cure.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

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
        if self.transport != "tunnel":
            try:
                stream = await self._secure(
                    await self._client.connect(self.host, self.port, max_buffer_size=MAX_BUFFER_SIZE)
                )
            except (OSError, StreamClosedError) as error:
                if self.transport == "proxy" or _is_final(error):
                    raise
                logger.debug("no way by %s:%s (%s), trying the tunnel", self.host, self.port, error)
            else:
                self.transport = "proxy"
                return stream
        stream = await self._secure(IOStream(await self._tunnel(), max_buffer_size=MAX_BUFFER_SIZE))
        self.transport = "tunnel"
        return stream

    async def _tunnel(self) -> socket.socket:
        return await open_tunnel(self.tunnel_url, self.tunnel_headers)

    async def _secure(self, stream: IOStream) -> IOStream:
        stream.set_nodelay(True)
        try:
            return await stream.start_tls(False, self.identity.context, server_hostname=server_name(self.name))
        except BaseException:
            if stream.socket is not None:  # else it was given to the TLS stream, which closes it
                stream.close()
            raise


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
