"""`python -m dask_sluice.proxy`: one proxy process.

It lives on when the server that started it dies, and ends by SIGTERM only: connections to clusters must
not depend on the control plane.
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

GRACE_S = 5.0
"""How long running HTTP exchanges may go on after SIGTERM."""
_USAGE_ERROR = 2


def main() -> int:
    """Run until SIGTERM; the exit code."""
    try:
        settings = parse_settings(sys.stdin.buffer.read())
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
    server = ServerConnections(server_address(settings.server), settings.token)
    front = HttpFront(settings, routes, server, context)
    listener = Listener(sock, settings, routes, front)
    listener.start()
    log.info("serving on %s", sock.getsockname())
    async with asyncio.TaskGroup() as group:
        following = group.create_task(follow_routes(routes, server))
        await asked_to_stop.wait()
        following.cancel()
        listener.stop()
        await _wait_for_connections(front, listener)
    log.info("stopped")


async def _wait_for_connections(front: HttpFront, listener: Listener) -> None:
    try:
        async with asyncio.timeout(GRACE_S):
            await front.stop()
            await listener.all_carried.wait()
    except TimeoutError:
        log.info("cutting %d connections to schedulers", len(listener.pumps))
    listener.cut()


if __name__ == "__main__":
    sys.exit(main())
