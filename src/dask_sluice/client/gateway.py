"""`Gateway`: what notebooks use. Same names and arguments as dask-gateway's, over `AsyncGateway`.

The bodies are one line each: the coroutine is run on a private event loop, or, with `asynchronous=True`, given
back to be awaited, as dask-gateway's users expect (docs/decisions/0007).
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from typing import Any, Literal, overload

from distributed.utils import Logs, LoopRunner, sync

from ..wire.api import EventView, LeaseRequest, UsageReport, WorkerView
from .async_gateway import AsyncGateway, When
from .cluster import NEWEST, GatewayCluster, ending, get_logs
from .comm import Transport
from .durations import seconds
from .options import Options
from .plan import Plan
from .reports import ClusterReport


class Gateway:
    """A dask-sluice server; see `AsyncGateway` for address and auth.

    proxy_address and public_address are taken for dask-gateway's sake and not needed: the server tells.
    """

    def __init__(
        self,
        address: str | None = None,
        proxy_address: Any = None,
        public_address: str | None = None,
        auth: Any = None,
        asynchronous: bool = False,
        loop: Any = None,
        *,
        transport: Transport = "auto",
    ) -> None:
        self.asynchronous = asynchronous
        self.transport: Transport = transport
        self._gateway = AsyncGateway(address, auth=auth)
        self._loop_runner = LoopRunner(loop=loop, asynchronous=asynchronous)
        if not asynchronous:
            self._loop_runner.start()

    @property
    def address(self) -> str:
        return self._gateway.address

    @property
    def auth(self) -> Any:
        return self._gateway.auth

    @property
    def loop(self) -> Any:
        if not (self.asynchronous or self._loop_runner.is_started()):
            raise RuntimeError(f"this gateway of {self.address} was closed: make a new Gateway")
        return self._loop_runner.loop

    def __repr__(self) -> str:
        return f"Gateway<{self.address}>"

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        if self.asynchronous:
            return coroutine
        try:
            loop = self.loop
        except RuntimeError:
            coroutine.close()
            raise
        return sync(loop, lambda: coroutine)

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Gateway:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._gateway.close()

    def close(self) -> Any:
        """Let go of the connection; clusters go on. Twice is fine."""
        if self.asynchronous:
            return self._gateway.close()
        if self._loop_runner.is_started():
            self._run(self._gateway.close())
            self._loop_runner.stop()
        return None

    def get_versions(self) -> Any:
        """`{"server": {"version": ...}, "client": {"version": ...}}`."""
        return self._run(self._gateway.get_versions())

    def cluster_options(self, use_local_defaults: bool = True) -> Options:
        """What can be chosen for a cluster: attributes, completion, a form in a notebook."""
        return self._run(self._gateway.cluster_options(use_local_defaults))

    def list_clusters(self, status: str | Iterable[str] | None = None) -> list[ClusterReport]:
        """My clusters, newest first; by default those that have not ended."""
        return self._run(self._gateway.list_clusters(status))

    def get_cluster(self, cluster_name: str) -> ClusterReport:
        """One cluster's report."""
        return self._run(self._gateway.get_cluster(cluster_name))

    def submit(self, cluster_options: Options | None = None, **kwargs: Any) -> str:
        """Ask for a cluster without waiting for it: its name, for `connect`."""
        return self._run(self._gateway.submit(cluster_options, **kwargs))

    def scale_cluster(self, cluster_name: str, n: int) -> Any:
        """Want `n` workers from now on."""
        return self._run(self._gateway.scale_cluster(cluster_name, n))

    def adapt_cluster(
        self, cluster_name: str, minimum: int | None = None, maximum: int | None = None, active: bool = True
    ) -> Any:
        """Let the number of workers follow the work."""
        return self._run(self._gateway.adapt_cluster(cluster_name, minimum, maximum, active))

    def stop_cluster(self, cluster_name: str) -> Any:
        """Ask a cluster to end; does not wait for it."""
        return self._run(self._stop(cluster_name))

    async def _stop(self, name: str) -> None:
        with ending(name):
            await self._gateway.stop_cluster(name)

    def workers(self, cluster_name: str) -> list[WorkerView]:
        """Every worker with its state and reason."""
        return self._run(self._gateway.workers(cluster_name))

    def events(self, cluster_name: str, after: int = 0) -> list[EventView]:
        """What happened to a cluster, oldest first."""
        return self._run(self._gateway.events(cluster_name, after))

    def logs(self, cluster_name: str, worker: str | None = None, *, lines: int | None = None) -> str:
        """What the scheduler, or one worker, wrote, or the last `lines` of it; also after its end."""
        return self._run(self._gateway.logs(cluster_name, worker, lines=lines))

    def get_logs(
        self,
        cluster_name: str,
        cluster: bool = True,
        scheduler: bool = True,
        workers: bool | Iterable[str] = True,
        *,
        lines: int | None = None,
    ) -> Logs:
        """What everybody wrote, as `GatewayCluster.get_logs`; also of a cluster that has ended."""
        return self._run(get_logs(self._gateway, cluster_name, cluster, scheduler, workers, lines))

    def usage(self, by: str = "user", since: When | None = None, until: When | None = None) -> UsageReport:
        """What I used; for administrators, what everybody used. See `AsyncGateway.usage`."""
        return self._run(self._gateway.usage(by, since, until))

    def usage_csv(
        self, by: str = "user", since: When | None = None, until: When | None = None, *, focus: bool = False
    ) -> str:
        """The same as comma-separated values; `focus`: with the columns of FOCUS 1.0, for each cluster and day."""
        return self._run(self._gateway.usage_csv(by, since, until, focus=focus))

    @overload
    def new_cluster(
        self,
        cluster_options: Options | None = None,
        shutdown_on_close: bool = True,
        *,
        timeout: float | None = None,
        quiet: bool = False,
        dry_run: Literal[False] = False,
        **kwargs: Any,
    ) -> GatewayCluster: ...

    @overload
    def new_cluster(self, cluster_options: Options | None = None, *, dry_run: Literal[True], **kwargs: Any) -> Plan: ...

    def new_cluster(
        self,
        cluster_options: Options | None = None,
        shutdown_on_close: bool = True,
        *,
        timeout: float | None = None,
        quiet: bool = False,
        dry_run: bool = False,
        **kwargs: Any,
    ) -> Any:
        """A new cluster, running. Options as `cluster_options`, as keywords, or both.

        timeout   seconds to wait for it; the error then says what it was waiting for
        quiet     show no line while waiting
        dry_run   start nothing; give the `Plan`: what the cluster would get, and where each value comes from
        """
        if dry_run:
            idle, age = seconds(kwargs.pop("idle_timeout", None)), seconds(kwargs.pop("max_age", None))
            lease = LeaseRequest(idle, age, presence=shutdown_on_close)
            return self._run(self._gateway.plan(cluster_options, lease, **kwargs))
        return GatewayCluster(
            gateway=self,
            cluster_options=cluster_options,
            shutdown_on_close=shutdown_on_close,
            timeout=timeout,
            quiet=quiet,
            **kwargs,
        )

    def connect(self, cluster_name: str | None = None, shutdown_on_close: bool = False) -> GatewayCluster:
        """A cluster that is there already; without a name, the newest of mine."""
        name = NEWEST if cluster_name is None else cluster_name
        return GatewayCluster.from_name(name, shutdown_on_close=shutdown_on_close, gateway=self)
