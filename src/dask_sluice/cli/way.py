"""The first hops on the way to a server, one by one: its name, a connection, TLS. `doctor` tries them in this order.

Where this machine is told to take an HTTP proxy, name and connection are the proxy's; TLS comes with the request.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from ..client.explain import port_of, unreachable

CONNECT_S = 4.0


@dataclass(frozen=True)
class Way:
    """From here to `address`, through the HTTP proxy `via` or not."""

    address: str
    via: str | None

    @property
    def has_tls(self) -> bool:
        """Whether a TLS session begins at the first connection."""
        return self.address.startswith("https:") and not self.via

    async def name(self) -> str:
        """raises  ServerUnreachable"""  # noqa: D403
        host, port = self._host_and_port()
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise unreachable(self.address, error, via=self.via) from error
        addresses = ", ".join(dict.fromkeys(str(each[4][0]) for each in found))
        return f"the HTTP proxy {host} is {addresses}" if self.via else f"{host} is {addresses}"

    async def network(self) -> str:
        """raises  ServerUnreachable"""  # noqa: D403
        await self._connect()
        return "port {1} of {0} takes connections".format(*self._host_and_port())

    async def tls(self) -> str:
        """raises  ServerUnreachable"""  # noqa: D403
        session = await self._connect(ssl=httpx.create_ssl_context())
        return f"{session.version()}, certificate valid until {session.getpeercert()['notAfter']}"

    async def _connect(self, **how: Any) -> Any:
        """The TLS session, if there was to be one. Nothing is left open."""
        host, port = self._host_and_port()
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(host, port, **how), CONNECT_S)
        except (OSError, UnicodeError, asyncio.TimeoutError) as error:
            raise unreachable(self.address, error, via=self.via) from error
        session = writer.get_extra_info("ssl_object")
        writer.transport.abort()  # a farewell would only be one more thing to wait for
        return session

    def _host_and_port(self) -> tuple[str, int]:
        where = urlsplit(self.via or self.address)
        return where.hostname or "", port_of(where)
