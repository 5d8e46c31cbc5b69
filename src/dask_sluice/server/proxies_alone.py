"""Proxies without a server on their machine: `dask-sluice proxy`.

They follow the routes of servers elsewhere. Whatever becomes of those, what is carried goes on; and when the proxies
are asked to stop, they take nothing new and let what they carry go on for a while.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence

from . import logs, startup
from .listening import local_address
from .settings_schema import Settings
from .supervisor import Supervisor, proxy_options


async def run_proxies(
    settings: Settings, servers: Sequence[str], token: str, *, grace_s: float, announce: Callable[[str], None]
) -> None:
    """Keep proxies running until asked to stop (SIGTERM, SIGINT); a second time: end at once.

    servers   `http://host:port` each
    grace_s   how long what is carried may go on, in seconds
    announce  gets `listening: URL` once connections are taken
    raises    CannotStart
    """
    logs.configure(settings.log)
    listen = settings.listen
    supervisor = Supervisor(
        address=listen.address,
        port=listen.port,
        count=listen.proxy_processes,
        options=proxy_options(listen, settings.log, servers, token, grace_s=grace_s),
    )
    asked_to_stop, in_a_hurry = asyncio.Event(), asyncio.Event()

    def asked() -> None:
        (in_a_hurry if asked_to_stop.is_set() else asked_to_stop).set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, asked)
    supervisor.bind()
    try:
        supervisor.start()
        scheme = "https" if listen.tls_certificate else "http"
        announce(f"listening: {scheme}://{local_address(listen.address)}:{supervisor.port}{listen.prefix}")
        async with asyncio.TaskGroup() as group:
            running = group.create_task(supervisor.run())
            await asked_to_stop.wait()
            running.cancel()
    except BaseExceptionGroup as group_of_errors:
        raise startup.first(group_of_errors) from None
    finally:
        await _stop(supervisor, in_a_hurry)
        supervisor.close()


async def _stop(supervisor: Supervisor, in_a_hurry: asyncio.Event) -> None:
    supervisor.take_no_more()
    stopping = asyncio.create_task(supervisor.stop())
    hurry = asyncio.create_task(in_a_hurry.wait())
    await asyncio.wait({stopping, hurry}, return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        supervisor.cut()
    hurry.cancel()
    await stopping
