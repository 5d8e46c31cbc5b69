"""The public socket: bound by the server, accepted from by its proxies.

The server keeps it open, so that connections made while a proxy is being restarted wait instead of
failing. `SO_REUSEPORT` lets a new server share the port with the proxies that a killed one left; that
nobody else has the port is checked by an exclusive bind first.
"""

from __future__ import annotations

import errno
import os
import socket

from .startup import CannotStart

BACKLOG = 1024


def bind(address: str, port: int, *, shared_with_our_proxies: bool = False) -> socket.socket:
    """A socket bound to the address, not listening yet. Port 0: any free one.

    raises  CannotStart, naming the port and what to do
    """
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise CannotStart(
            f"cannot listen on {address!r}: {error.strerror}", hint="Set listen.address to an address of this machine."
        ) from error
    if port and not shared_with_our_proxies:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _bind(probe, target, address, port)
    public = socket.socket(family, kind, protocol)
    public.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    public.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    _bind(public, target, address, port)
    return public


def _bind(public: socket.socket, target: tuple[object, ...], address: str, port: int) -> None:
    try:
        public.bind(target)
    except OSError as error:
        public.close()
        if error.errno == errno.EADDRINUSE:
            raise CannotStart(
                f"port {port} on {address} is taken by another program",
                hint="Is another dask-sluice server running? Stop it, or take any free port: --port 0",
            ) from error
        if error.errno == errno.EACCES:
            raise CannotStart(
                f"port {port} on {address} needs rights that this account does not have",
                hint="Take a port above 1023, for example --port 8000",
            ) from error
        raise CannotStart(
            f"cannot listen on {address}, port {port}: {os.strerror(error.errno or 0)}",
            hint="Set listen.address to an address of this machine.",
        ) from error


def host_and_port(text: str) -> tuple[str, int]:
    """The two parts of `host:port`; an IPv6 address comes without its brackets."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def is_free(address: str, port: int) -> bool:
    """Whether the port can be had just now."""
    try:
        bind(address, port).close()
    except CannotStart:
        return False
    return True


def local_address(address: str) -> str:
    """How this machine itself reaches a socket that listens on this address, as it stands in a URL."""
    address = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
    return f"[{address}]" if ":" in address else address
