"""`python -m dask_sluice.proxy`: one proxy process.

It lives on when the server that started it dies, and ends by SIGTERM only: connections to clusters must
not depend on the control plane. Where no server started it (`dask-sluice proxy`), it ends with who did.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl
import sys

from .http_front import HttpFront
from .listener import Listener
from .routes import RouteTable, follow_routes
from .selector import SpinningSelector
from .settings import Settings, SettingsInvalid, parse_settings
from .upstream import ServerConnections, server_address

log = logging.getLogger("dask_sluice.proxy")

_USAGE_ERROR = 2


def main() -> int:
    """Run until SIGTERM; the exit code."""
    try:
        settings = parse_settings(sys.stdin.buffer.readline())
        if not settings.ends_with_parent:
            sys.stdin.close()
        sock = socket.socket(fileno=settings.listen_fd)
        context = _tls_context(settings)
    except SettingsInvalid as error:
        print(f"dask-sluice proxy: {error}", file=sys.stderr)
        return _USAGE_ERROR
    except OSError as error:  # ssl.SSLError is one
        print(f"dask-sluice proxy: the listening socket or the certificate cannot be used: {error}", file=sys.stderr)
        return _USAGE_ERROR
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    selector = SpinningSelector(settings.spin_us / 1e6)
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(serve(sock, settings, context))
    return 0


def _tls_context(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    context.set_alpn_protocols(["http/1.1"])
    return context


async def serve(sock: socket.socket, settings: Settings, context: ssl.SSLContext | None) -> None:
    """Serve on the listening socket until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    asked_to_stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, asked_to_stop.set)
    routes = RouteTable()
    if settings.ends_with_parent:
        _stop_at_its_end(sys.stdin.fileno(), asked_to_stop)
    server = ServerConnections([server_address(each) for each in settings.servers], settings.token)
    front = HttpFront(settings, routes, server, context)
    listener = Listener(sock, settings, routes, front)
    listener.start()
    log.info("serving on %s", sock.getsockname())
    async with asyncio.TaskGroup() as group:
        following = group.create_task(follow_routes(routes, server))
        await asked_to_stop.wait()
        following.cancel()
        listener.stop()
        await _wait_for_connections(front, listener, settings.grace_s)
    log.info("stopped")


def _stop_at_its_end(descriptor: int, asked_to_stop: asyncio.Event) -> None:
    """Nothing more is ever written to it: that it can be read means that its other end is closed."""
    loop = asyncio.get_running_loop()

    def ended() -> None:
        loop.remove_reader(descriptor)
        asked_to_stop.set()

    loop.add_reader(descriptor, ended)


async def _wait_for_connections(front: HttpFront, listener: Listener, grace_s: float) -> None:
    try:
        async with asyncio.timeout(grace_s):
            await front.stop()
            await listener.all_carried.wait()
    except TimeoutError:
        log.info("cutting %d connections to schedulers", len(listener.pumps))
    listener.cut()


if __name__ == "__main__":
    sys.exit(main())
