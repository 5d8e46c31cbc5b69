"""What a server stands on: its data directory, its public port, its inner socket.

Taken in this order, so that a second server learns that there is a first one before it touches anything.
Light: the proxies start on it while the rest of the server is still being imported.
"""

from __future__ import annotations

import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from .directories import Directories, Lock, directories, prepare
from .identity.files import keep_secret
from .settings_schema import Settings
from .startup import CannotStart
from .supervisor import Supervisor

INNER_BACKLOG = 1024


@dataclass(frozen=True)
class Foundation:
    """All of it, open."""

    places: Directories
    lock: Lock
    supervisor: Supervisor
    inner: socket.socket
    """Where the HTTP application is reached, by proxies of this machine only."""
    proxy_token: str
    """By which the server knows its proxies; kept in a file, so that the next server knows them too."""


def lay_foundation(settings: Settings, stack: AsyncExitStack) -> Foundation:
    """Take everything; `stack` gives it back.

    raises  CannotStart, having left all as it was
    """
    places = directories(settings.data_dir)
    prepare(places)
    lock = Lock(places.lock)
    lock.take()
    stack.callback(lock.release)
    try:
        proxy_token = keep_secret(places.data / "proxy-token")
    except OSError as error:
        raise CannotStart(str(error)) from error
    supervisor = _supervisor(settings, places, proxy_token)
    supervisor.bind()
    stack.callback(supervisor.close)
    inner = _inner_socket(places)
    stack.callback(inner.close)
    return Foundation(places, lock, supervisor, inner, proxy_token)


def _supervisor(settings: Settings, places: Directories, token: str) -> Supervisor:
    listen = settings.listen
    options: dict[str, Any] = {
        "prefix": listen.prefix,
        "tls_certificate": str(listen.tls_certificate) if listen.tls_certificate else None,
        "tls_key": str(listen.tls_key) if listen.tls_key else None,
        "server": f"unix:{places.server_socket}",
        "token": token,
        "max_connections_per_address": listen.max_connections_per_address,
        "hello_timeout_s": listen.hello_timeout_s,
        "log_level": settings.log.level,
    }
    return Supervisor(
        address=listen.address,
        port=listen.port,
        count=listen.proxy_processes,
        options=options,
        log_path=places.proxy_log,
        file=places.proxy_file,
    )


def _inner_socket(places: Directories) -> socket.socket:
    """Listening from now on: proxies that dial before the application is up wait instead of failing."""
    path = places.server_socket
    path.unlink(missing_ok=True)  # a killed server's; the lock says that none lives
    inner = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    inner.bind(str(path))
    path.chmod(0o600)
    inner.listen(INNER_BACKLOG)
    return inner
