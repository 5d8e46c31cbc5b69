"""What a server stands on: its data directory, its public port, its inner socket.

Taken in this order, so that a second server learns that there is a first one before it touches anything.
Light: the proxies start on it while the rest of the server is still being imported.
"""

from __future__ import annotations

import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass

from . import listening
from .directories import Directories, Lock, directories, prepare
from .identity.files import keep_secret
from .settings_schema import Settings
from .startup import CannotStart
from .supervisor import Supervisor, proxy_options

GRACE_S = 5.0
"""How long what our own proxies carry may go on when they are to stop. Somebody sits at the terminal."""


@dataclass(frozen=True)
class Foundation:
    """All of it, open."""

    places: Directories
    lock: Lock
    supervisor: Supervisor | None
    """Of our own proxies; None where proxies run elsewhere."""
    inner: socket.socket
    """Where the HTTP application is reached, by proxies only."""
    proxy_token: str
    """By which the server knows its proxies; kept in a file, so that the next server knows them too."""

    @property
    def port(self) -> int:
        """The TCP port by which we are reached: the public one, or the inner one where proxies run elsewhere."""
        return self.supervisor.port if self.supervisor is not None else int(self.inner.getsockname()[1])


def lay_foundation(settings: Settings, stack: AsyncExitStack) -> Foundation:
    """Take everything; `stack` gives it back.

    raises  CannotStart, having left all as it was
    """
    places = directories(settings.data_dir)
    prepare(places)
    lock = Lock(places.lock)
    lock.take()
    stack.callback(lock.release)
    token = _proxy_token(settings, places)
    if settings.listen.for_proxies is not None:
        inner = listening.bind(*listening.host_and_port(settings.listen.for_proxies))
        stack.callback(inner.close)
        inner.listen(listening.BACKLOG)
        return Foundation(places, lock, None, inner, token)
    supervisor = _supervisor(settings, places, token)
    supervisor.bind()
    stack.callback(supervisor.close)
    inner = _inner_socket(places)
    stack.callback(inner.close)
    return Foundation(places, lock, supervisor, inner, token)


def _proxy_token(settings: Settings, places: Directories) -> str:
    given = settings.listen.proxy_token
    try:
        return given.get_secret_value() if given is not None else keep_secret(places.data / "proxy-token")
    except OSError as error:
        raise CannotStart(str(error)) from error


def _supervisor(settings: Settings, places: Directories, token: str) -> Supervisor:
    listen = settings.listen
    servers = [f"unix:{places.server_socket}"]
    return Supervisor(
        address=listen.address,
        port=listen.port,
        count=listen.proxy_processes,
        options=proxy_options(listen, settings.log, servers, token, grace_s=GRACE_S),
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
    inner.listen(listening.BACKLOG)
    return inner
