"""The server's life: it starts, says `ready: URL`, and ends when it is asked to.

The proxies are started first, because they take the longest. A server that is killed leaves clusters, proxies
and nurseries running, and the next one finds them; one that is asked to stop ends them, unless `on_stop` says
otherwise.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from ..wire.reasons import Reason, ReasonCode
from . import logs
from .backends.protocol import KeepsWarm, Unavailable
from .clock import SystemClock
from .foundation import Foundation, lay_foundation
from .identity.protocol import Authenticator, Closes
from .identity.token import TokenAuthenticator
from .listening import host_and_port, local_address
from .settings_schema import Settings
from .settings_warnings import warnings
from .startup import CannotStart, first

if TYPE_CHECKING:
    from .assembly import Core
    from .backends.protocol import Backend
    from .control import Control
    from .supervisor import Supervisor
    from .web import WebServer

log = logging.getLogger(__name__)

READY_S = 30.0
STOP_CLUSTERS_S = 20.0
COOL_DOWN_S = 5.0


def _print(line: str) -> None:
    print(line, flush=True)


async def serve(settings: Settings, *, announce: Callable[[str], None] = _print) -> None:
    """Run a server until it is asked to stop (SIGTERM, SIGINT); `announce` gets the line `ready: URL`.

    raises  CannotStart, and nothing is left running
    """
    logs.configure(settings.log)
    gc.disable()  # what is imported now stays: looking for garbage in it takes a tenth of the start
    try:
        async with AsyncExitStack() as stack:
            await Server(settings, lay_foundation(settings, stack), stack).run(announce)
    except BaseExceptionGroup as group:
        raise first(group) from None


class Server:
    """One server process, on its foundation."""

    def __init__(self, settings: Settings, foundation: Foundation, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._foundation = foundation
        self._stack = stack
        self._asked_to_stop = asyncio.Event()
        self._in_a_hurry = asyncio.Event()
        self._stopping = asyncio.Event()
        self._ready = False

    async def run(self, announce: Callable[[str], None]) -> None:
        """From start to end."""
        self._heed_signals()
        supervisor = self._foundation.supervisor
        if supervisor is not None:
            supervisor.start()
        async with asyncio.TaskGroup() as group:
            proxies = group.create_task(supervisor.run()) if supervisor is not None else None
            try:
                core, web = await self._build()
                await self._start(core, web, group)
                announce(f"ready: {self._address(core.services.authenticator)}")
                await self._asked_to_stop.wait()
                await self._stop(core, web)
            finally:
                if supervisor is not None and proxies is not None:
                    proxies.cancel()
                    await self._leave_proxies(supervisor)

    async def _build(self) -> tuple[Core, WebServer]:
        # Imported here, while the proxies are starting: it takes as long as they do.
        from .assembly import build_core
        from .http.app import create_app
        from .web import WebServer

        core = await build_core(self._settings, self._foundation, SystemClock(), self._stopping)
        self._stack.push_async_callback(core.store.close)
        if isinstance(core.services.authenticator, Closes):
            self._stack.push_async_callback(core.services.authenticator.close)
        return core, WebServer(create_app(core.services))

    async def _leave_proxies(self, supervisor: Supervisor) -> None:
        """End them with the clusters, or where we never became ready; else they go on, and so do connections."""
        if not self._ready:
            await supervisor.stop(adopted=False)
        elif self._asked_to_stop.is_set() and self._settings.stops_clusters:
            await supervisor.stop()

    async def _start(self, core: Core, web: WebServer, group: asyncio.TaskGroup) -> None:
        """Return when everything works: the clusters on the books are looked after, and our proxy is there."""
        await core.backend.start()
        self._stack.push_async_callback(core.backend.close)
        for warning in warnings(self._settings):
            log.warning("%s", warning)
        for note in core.backend.describe().notes:
            log.info("%s", note)
        from .metrics import watch_lag
        from .own_address import watch_own_address

        core.start_links()
        await core.services.routes.load()
        started = asyncio.Event()
        self._working = group.create_task(core.replica.run(started))
        self._serving = group.create_task(web.serve(sockets=[self._foundation.inner]))
        try:
            async with asyncio.timeout(READY_S):
                await started.wait()
                core.services.metrics.load()
                self._letting_in = group.create_task(core.turnstile.run())
                self._watching = group.create_task(watch_lag(core.services.metrics))
                core.loop.start_task(core.keeper.run())
                core.loop.start_task(core.messenger.run())
                core.loop.start_task(core.services.notebooks.run())
                if self._foundation.supervisor is not None:  # proxies elsewhere may come later, or ask another server
                    await core.services.routes.followed.wait()
        except TimeoutError:
            raise CannotStart(
                f"the server was not ready after {READY_S:g} s",
                hint=f"Look into {self._foundation.places.proxy_log}.",
            ) from None
        if (public_url := self._settings.listen.public_url) is not None:
            core.loop.start_task(watch_own_address(public_url, SystemClock()))
        self._ready = True
        gc.freeze()
        gc.enable()
        self._foundation.lock.say(f"at {base_url(self._settings, self._foundation.port)}")

    async def _stop(self, core: Core, web: WebServer) -> None:
        if self._settings.stops_clusters:
            await self._stop_clusters(core.services.control)
            await self._cool_down(core.backend)
        self._stopping.set()
        web.should_exit = True
        await self._serving
        self._watching.cancel()
        self._letting_in.cancel()
        self._working.cancel()
        await asyncio.wait({self._working})
        await core.replica.leave()

    async def _cool_down(self, backend: Backend) -> None:
        if isinstance(backend, KeepsWarm):
            try:
                async with asyncio.timeout(COOL_DOWN_S):
                    await backend.cool_down()
            except (Unavailable, TimeoutError) as error:
                log.warning("some schedulers that wait are left, and end by themselves: %s", error or "no answer")

    async def _stop_clusters(self, control: Control) -> None:
        """End all clusters, unless that takes too long or someone asks a second time."""
        control.close()
        ending = asyncio.create_task(control.stop_all(Reason(ReasonCode.SERVER_STOPPING)))
        hurry = asyncio.create_task(self._in_a_hurry.wait())
        await asyncio.wait({ending, hurry}, timeout=STOP_CLUSTERS_S, return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            log.error("some clusters have not ended yet; the next start on this data directory sees to them")
        for task in (ending, hurry):
            task.cancel()
        results = await asyncio.gather(ending, hurry, return_exceptions=True)
        if isinstance(results[0], Exception):
            log.error("stopping the clusters failed: %s", results[0])

    def _heed_signals(self) -> None:
        def asked() -> None:
            (self._in_a_hurry if self._asked_to_stop.is_set() else self._asked_to_stop).set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, asked)
            self._stack.callback(loop.remove_signal_handler, number)

    def _address(self, authenticator: Authenticator) -> str:
        """The address to open, with the token in it as Jupyter does: but for one that somebody else gave us."""
        url = base_url(self._settings, self._foundation.port)
        if isinstance(authenticator, TokenAuthenticator) and self._settings.authenticator.token is None:
            return f"{url}/?token={authenticator.token}"
        return url


def base_url(settings: Settings, port: int) -> str:
    """The address that people use, no slash at its end."""
    listen = settings.listen
    if listen.public_url is None and listen.for_proxies is not None:
        return f"http://{local_address(host_and_port(listen.for_proxies)[0])}:{port}"
    scheme = "https" if listen.tls_certificate else "http"
    return listen.public_url or f"{scheme}://{local_address(listen.address)}:{port}{listen.prefix}"
