"""`GatewayCluster`: a cluster behind a server, with the manners of distributed's own cluster objects.

It is a `distributed.deploy.Cluster`, so `Client(cluster)`, the widget, `wait_for_workers` and context managers
are distributed's. How many workers there are is kept and decided by the server; this object asks and shows.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import threading
import warnings
import weakref
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any

from distributed import Client
from distributed.comm import CommClosedError
from distributed.core import Status, rpc
from distributed.deploy import Cluster
from distributed.objects import SchedulerInfo
from distributed.utils import Log, Logs, NoOpAwaitable

from ..wire.api import ClusterView, EventView, LeaseChange, LeaseRequest, LeaseView, WorkerView
from ..wire.errors import ClusterNotFound, SluiceError
from ..wire.notices import notices
from . import versions
from .async_gateway import AsyncGateway
from .comm import Transport, route_to
from .durations import seconds
from .errors import GatewayClusterError, GatewayWarning
from .following import follow
from .identity import SluiceSecurity
from .options import Options
from .progress import Progress

if TYPE_CHECKING:
    from .gateway import Gateway

logger = logging.getLogger("dask_sluice.client")
CLOSE_S = 4.0
"""How long a close waits for a server that does not answer."""
NEWEST = "(newest)"
"""Stands for a name, which it can never be: the newest cluster, whichever that is."""
_open_clusters: weakref.WeakSet[GatewayCluster] = weakref.WeakSet()


class GatewayCluster(Cluster):
    """A new cluster on a server (or, by `from_name`, one that is there), closed like any other cluster.

    shutdown_on_close   whether `close`, leaving a `with` block and the end of the program stop the cluster; if so, the
                        server also stops it once this program has been gone for a while (killed, disconnected)
    timeout             seconds to wait until it runs; None: until the server gives up on it
    idle_timeout        stop it after so long without work: seconds or a text such as "2h"; 0: never; None: as the
                        administrator set it
    max_age             stop it after so long in any case, likewise
    other keywords      cluster options
    """

    def __init__(
        self,
        address: str | None = None,
        proxy_address: Any = None,
        public_address: str | None = None,
        auth: Any = None,
        cluster_options: Options | None = None,
        shutdown_on_close: bool = True,
        asynchronous: bool = False,
        loop: Any = None,
        *,
        gateway: Gateway | None = None,
        timeout: float | None = None,
        quiet: bool = False,
        transport: Transport = "auto",
        idle_timeout: float | str | None = None,
        max_age: float | str | None = None,
        _name: str | None = None,
        **options: Any,
    ) -> None:
        if gateway is not None:
            address, auth, transport = gateway.address, gateway.auth, gateway.transport
            asynchronous, loop = gateway.asynchronous, gateway.loop
        # Its own connection: gateway and cluster may be closed in any order.
        self._gateway = AsyncGateway(address, auth=auth)
        self._transport = transport
        self._wish = (cluster_options, options)
        self._lease = LeaseRequest(seconds(idle_timeout), seconds(max_age), presence=shutdown_on_close)
        self._timeout = timeout
        self._progress = Progress(quiet=quiet)
        self._view: ClusterView | None = None
        self._base_url = self._gateway.address
        self._watching: asyncio.Task[None] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._end_is_expected = False
        self.shutdown_on_close = shutdown_on_close
        self.security: SluiceSecurity | None = None
        super().__init__(asynchronous=asynchronous, loop=loop, quiet=quiet, name=_name or "")
        self._from_name = _name
        if not asynchronous:
            self._loop_runner.start()
            self._start_and_wait()

    @classmethod
    def from_name(cls, cluster_name: str, shutdown_on_close: bool = False, **kwargs: Any) -> GatewayCluster:
        """A cluster that is there already; keywords as for the class."""
        return cls(shutdown_on_close=shutdown_on_close, _name=cluster_name, **kwargs)

    def __repr__(self) -> str:
        return f"GatewayCluster<{self.name or 'not created yet'}, status={self.status.name}>"

    def __await__(self) -> Generator[Any, None, GatewayCluster]:
        return self._started().__await__()

    async def _started(self) -> GatewayCluster:
        if self.status == Status.created:
            await self._start()
        return self

    # -- starting

    def _start_and_wait(self) -> None:
        try:
            self.sync(self._start)
        except KeyboardInterrupt:
            self.sync(self._give_up)
            raise

    async def _start(self) -> None:
        """Cancelled, it undoes what it has begun. A task of its own, which is cancelled once and not by chance."""
        self.status = Status.starting
        _open_clusters.add(self)
        self._starting = asyncio.ensure_future(self._start_once())
        try:
            await asyncio.shield(self._starting)
        except BaseException:
            await self._give_up()
            raise

    async def _start_once(self) -> None:
        async with self._progress as progress:
            view = await self._obtain()
            self._view = await self._gateway.wait_until_running(view, timeout=self._timeout, progress=progress)
            await self._connect(self._view)
        changed = weakref.WeakMethod(self._changed)
        self._watching = asyncio.create_task(follow(self._gateway, self._view, changed))
        self.status = Status.running

    async def _give_up(self) -> None:
        """End what this object has begun, and nothing else."""
        await self._close(self._from_name is None)

    async def _obtain(self) -> ClusterView:
        """Create, or look up by name."""
        if self._from_name == NEWEST:
            view = await self._gateway.newest()
            self.name = view.name
            return view
        if self._from_name is not None:
            return await self._gateway.view(self._from_name)
        view = await self._gateway.create(await self._gateway.checked(*self._wish), lease=self._lease)
        self.name = view.name
        return view

    async def _connect(self, view: ClusterView) -> None:
        if sentence := versions.mismatch(view, versions.here()):
            warnings.warn(sentence, GatewayWarning, stacklevel=2)
        route = await route_to(self._gateway, view, self._transport)
        self._base_url = await self._gateway.public_url()
        self.security = SluiceSecurity(route, route.identity.context)
        self.scheduler_comm = rpc(route.address, connection_args=self.security.get_connection_args("client"))
        try:
            await self._refresh()
        except OSError as error:  # which says how long was tried
            why = route.trouble or error.__cause__ or error
            raise GatewayClusterError(
                f"cluster {view.name} runs, and Dask's traffic does not reach it: {why}",
                hint="`dask-sluice doctor` looks at every step of the way.",
            ) from error

    async def _refresh(self) -> None:
        self.scheduler_info = SchedulerInfo(await self.scheduler_comm.identity())

    # -- ending

    def close(self, timeout: float | None = None, shutdown: bool | None = None) -> Any:
        """Let go of the cluster, and stop it if `shutdown` (default: `shutdown_on_close`). Twice is fine."""
        if self.status == Status.closed:
            return NoOpAwaitable() if self.asynchronous else None
        try:
            return self.sync(self._close, shutdown, callback_timeout=timeout)
        except RuntimeError:  # the loop ended before us, as the program does
            return None

    def shutdown(self) -> Any:
        """Stop the cluster, whatever `shutdown_on_close` says."""
        return self.close(shutdown=True)

    async def _close(self, shutdown: bool | None = None) -> None:
        """Once, however often and by whomever it is asked for; who stops waiting for it does not stop it."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close_once(shutdown))
        await asyncio.shield(self._closing)

    async def _close_once(self, shutdown: bool | None) -> None:
        self.status = Status.closing
        for task in (self._starting, self._watching):
            if task is not None and not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=CLOSE_S)
        await self._close_clients()
        if self.name and (self.shutdown_on_close if shutdown is None else shutdown):
            await self._stop()
        with contextlib.suppress(OSError):
            await super()._close()
        await self._gateway.close()
        self.status = Status.closed
        _open_clusters.discard(self)

    async def _close_clients(self) -> None:
        """Else each of them dials for half a minute a scheduler that will not come back."""
        for client in _clients_of(self):
            with contextlib.suppress(Exception):  # whatever state it is in, it must not keep us from the rest
                await asyncio.wait_for(client._close(fast=True), CLOSE_S)

    async def _stop(self) -> None:
        try:
            await asyncio.wait_for(self._gateway.stop_cluster(self.name), CLOSE_S)
        except ClusterNotFound:
            pass
        except (SluiceError, asyncio.TimeoutError) as error:
            what = getattr(error, "message", "") or "the server does not answer"
            logger.warning("cluster %s could not be stopped: %s", self.name, what)

    async def __aexit__(self, *exc: object) -> None:
        await self._close()

    def __del__(self) -> None:
        if getattr(self, "status", Status.closed) not in (Status.closed, Status.closing) and not self.asynchronous:
            with contextlib.suppress(AttributeError, RuntimeError):  # the program is ending
                self.loop.add_callback(self._close)

    # -- using

    def scale(self, n: int) -> Any:
        """Want `n` workers from now on; adaptive scaling ends."""
        return self.sync(self._gateway.scale_cluster, self.name, n)

    def adapt(self, minimum: int | None = None, maximum: int | None = None, active: bool = True) -> Any:
        """Let the number of workers follow the work, between these bounds; `active=False` ends that."""
        return self.sync(self._gateway.adapt_cluster, self.name, minimum, maximum, active)

    def keep_alive(self, duration: float | str) -> Any:
        """Do not stop the cluster for being idle or alone for so long from now: seconds or a text such as "2h"."""
        return self.sync(self._gateway.change_lease, self.name, LeaseChange(keep_alive_s=seconds(duration)))

    def extend(self, duration: float | str) -> Any:
        """Put off the end of the cluster's longest life, where the administrator allows that."""
        return self.sync(self._gateway.change_lease, self.name, LeaseChange(extend_s=seconds(duration)))

    @property
    def lease(self) -> LeaseView | None:
        """When the cluster will be stopped if nothing changes; None before it runs."""
        return None if self._view is None else self._view.lease

    def get_client(self, set_as_default: bool = True) -> Any:
        """A `distributed.Client` of this cluster, closed with it."""
        return Client(self, set_as_default=set_as_default, asynchronous=self.asynchronous)

    def events(self, after: int = 0) -> list[EventView]:
        """What happened so far and why, oldest first."""
        return self.sync(self._gateway.events, self.name, after)

    def worker_reports(self) -> list[WorkerView]:
        """Every worker with its state and reason, those still starting and the last few that ended included."""
        return self.sync(self._gateway.workers, self.name)

    def get_logs(
        self,
        cluster: bool = True,
        scheduler: bool = True,
        workers: bool | Iterable[str] = True,
        *,
        lines: int | None = None,
    ) -> Any:
        """What everybody wrote: `{"Cluster": events, "Scheduler": text, "worker-1": text, ...}`, shown in notebooks.

        Read by the server where it was written, so the dead are there too and nobody has to answer.

        workers   all (True), none (False), or those of these names
        lines     the last so many of each
        """
        return self.sync(get_logs, self._gateway, self.name, cluster, scheduler, workers, lines)

    def logs(self, *args: Any, **kwargs: Any) -> Any:
        """The same as `get_logs`."""
        return self.get_logs(*args, **kwargs)

    @property
    def dashboard_link(self) -> str:
        if self._view is None or self._view.dashboard_path is None:
            return ""
        return self._base_url + self._view.dashboard_path

    def _scaling_status(self) -> str:
        counts = self._view.workers if self._view is not None else None
        mode = "Adaptive" if self._view is not None and self._view.adaptive else "Manual"
        number = f"{counts.running} / {counts.wanted}" if counts else "0"
        return (
            f'<table><tr><td style="text-align: left;">Scaling mode: {mode}</td></tr>'
            f'<tr><td style="text-align: left;">Workers: {number}</td></tr></table>'
        )

    async def _changed(self, view: ClusterView) -> None:
        """The server told something new."""
        before, self._view = self._view, view
        # A connected `distributed.Client` is warned by the scheduler.
        if not _clients_of(self):
            known = _notices(before) if before else {}
            for about, sentence in _notices(view).items():
                if about not in known:
                    warnings.warn(sentence, GatewayWarning, stacklevel=2)
        if view.state.is_active:
            with contextlib.suppress(OSError):
                await self._refresh()
        elif self.status == Status.running:
            if not self._end_is_expected:
                warnings.warn(f"cluster {view.name} ends: {view.reason.sentence}", GatewayWarning, stacklevel=2)
            await self._close_clients()


async def get_logs(
    gateway: AsyncGateway,
    name: str,
    cluster: bool,
    scheduler: bool,
    workers: bool | Iterable[str],
    lines: int | None,
) -> Logs:
    """`AsyncGateway.get_logs` in distributed's own types, which notebooks show folded."""
    found = await gateway.get_logs(name, cluster, scheduler, workers, lines=lines)
    return Logs({key: Log(text) for key, text in found.items()})


def _notices(view: ClusterView) -> dict[str, str]:
    return notices(view.name, view.state, view.reason, lease=view.lease.notice, budget=view.budget)


def _clients_of(cluster: GatewayCluster) -> list[Any]:
    return [client for client in list(Client._instances) if client.cluster is cluster and client.status != "closed"]


@contextlib.contextmanager
def ending(name: str) -> Generator[None, None, None]:
    """While this program ends the cluster by its name, of which its own objects then do not warn."""
    concerned = [cluster for cluster in _open_clusters if cluster.name == name]
    for cluster in concerned:
        cluster._end_is_expected = True
    try:
        yield
    except BaseException:
        for cluster in concerned:
            cluster._end_is_expected = False
        raise


class _NothingIsWrong(logging.Filter):
    """distributed logs tracebacks where a client is closed that dials its scheduler again, or has something to send."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        about = record.args[0] if isinstance(record.args, tuple) and record.args else None
        ours = str(getattr(about, "peer_address", "")).startswith("sluice://")
        return not (isinstance(error, asyncio.CancelledError) or (ours and isinstance(error, CommClosedError)))


def _close_all() -> None:
    """At the end of the program: nobody is left to close these."""
    for cluster in list(_open_clusters):
        if not cluster.asynchronous:
            with contextlib.suppress(Exception):  # a traceback at exit helps nobody
                cluster.close(timeout=CLOSE_S)


for _name in ("distributed.client", "distributed.batched"):
    logging.getLogger(_name).addFilter(_NothingIsWrong())
# Once thread pools have ended no name can be looked up any more, so nothing can be stopped: before that, where there is
# a way to be called then (Python 3.9 and newer have one, for pools).
getattr(threading, "_register_atexit", atexit.register)(_close_all)
