"""The gateway as coroutines: every call is one request to the v2 API. The sync `Gateway` stands on it.

Does not import distributed, so that the command line, which stands on it too, is quick.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
import warnings
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import asdict
from datetime import date
from typing import Any

from ..wire.api import (
    AdaptRequest,
    ClusterView,
    CreateRequest,
    Credentials,
    DrainRequest,
    DrainView,
    EventView,
    LeaseChange,
    LeaseRequest,
    ScaleAnswer,
    ScaleRequest,
    ServerInfo,
    UsageReport,
    WorkerView,
    read,
)
from ..wire.durations import span
from ..wire.errors import ClusterNotFound, SluiceError
from ..wire.names import API_ROOT, IDEMPOTENCY_HEADER
from ..wire.options import Option, OptionType, check_options
from ..wire.states import ClusterState
from . import config, logs
from .auth import make_auth
from .connection import Connection, split_address
from .errors import GatewayClusterError, GatewayServerError, GatewayWarning, StartTimedOut
from .options import Options
from .plan import Plan
from .progress import Progress
from .reports import ClusterReport

WAIT_S = 10.0
"""How long one waiting request is held; shorter than the patience of proxies on the way, which for some is 15 s."""
_ENDS = {ClusterState.STOPPING: "is ending", ClusterState.STOPPED: "has ended", ClusterState.FAILED: "has failed"}
UNDO_S = 2.0
"""How long a create that was given up waits for the server, to undo it."""
When = str | date
"""A point in time; a `datetime` is a `date` too."""


class AsyncGateway:
    """A dask-sluice server.

    address   `http(s)://host[:port][/prefix]`, with `?token=...` as the server prints it or without; default:
              `sluice.address`, then `gateway.address` of Dask's configuration
    auth      a `TokenAuth`, `BasicAuth`, ...; its name; or a class. Default: the token of the address, then
              what is configured
    """

    def __init__(self, address: str | None = None, *, auth: Any = None) -> None:
        address = config.fill(address) or config.setting("address")
        if not address:
            raise ValueError(
                "no address: pass Gateway('http://...'), or set sluice.address in Dask's configuration "
                "(DASK_SLUICE__ADDRESS in the environment). `dask-sluice serve` prints it."
            )
        self.address, token = split_address(address)
        self.auth = make_auth(auth, token)
        self._connection = Connection(self.address, self.auth)
        self._info: ServerInfo | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}<{self.address}>"

    async def __aenter__(self) -> AsyncGateway:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of the connection. Clusters are not touched."""
        await self._connection.close()

    async def info(self) -> ServerInfo:
        """Who the server says it is, and who we are to it; asked once."""
        if self._info is None:
            self._info = read(ServerInfo, await self._connection.get(f"{API_ROOT}/"))
        return self._info

    @property
    def http_proxy(self) -> str | None:
        """The HTTP proxy on the way, as Dask's configuration or the environment names it."""
        return self._connection.via

    @property
    def trouble(self) -> SluiceError | None:
        """Why the newest request is being repeated, if it is."""
        return self._connection.trouble

    async def health(self) -> dict[str, Any]:
        """How the server is, whether it is ready or not: what it needs as `checks`, and which of that is there.

        raises  ServerUnreachable, GatewayServerError
        """
        found = await self._connection.document("/health")
        if "checks" not in found:
            raise GatewayServerError(
                f"the program at {self.address} answers in JSON, and is no dask-sluice server",
                hint="Is the path right, or missing? Is the host another one?",
            )
        return found

    async def get_versions(self) -> dict[str, dict[str, str]]:
        """Versions of server and client."""
        from .. import __version__

        return {"server": {"version": (await self.info()).version}, "client": {"version": __version__}}

    async def drain(self, *, on: bool | None = None, message: str = "") -> DrainView:
        """Administrators: take no new clusters (True), take them again (False), or just look (None)."""
        body = asdict(DrainRequest(message)) if on else None
        method = {None: "GET", True: "PUT", False: "DELETE"}[on]
        return read(DrainView, await self._connection.send(method, f"{API_ROOT}/drain", body=body))

    # -- options

    async def options(self) -> list[Option]:
        """What a user may choose here."""
        answer = await self._connection.get(f"{API_ROOT}/options")
        return [
            read(Option, {**each, "type": OptionType(each["type"]), "choices": tuple(each.get("choices", ()))})
            for each in answer
        ]

    async def cluster_options(self, use_local_defaults: bool = True) -> Options:
        """The options with their defaults; those of `cluster.options` in Dask's configuration come first."""
        return Options(await self.options(), config.setting("cluster.options", {}) if use_local_defaults else {})

    async def checked(self, options: Options | Mapping[str, Any] | None, given: Mapping[str, Any]) -> dict[str, Any]:
        """What a create sends: checked here, so that a mistake does not travel.

        Of an `Options` object everything counts; else local defaults and what is given.
        """
        if options is not None and not isinstance(options, Mapping):
            raise TypeError(f"cluster_options must come from gateway.cluster_options(), got {type(options).__name__}")
        base = config.setting("cluster.options", {}) if options is None else options
        chosen = {**base, **given}
        if chosen:
            known = options.specification if isinstance(options, Options) else await self.options()
            check_options(known, chosen)
        return chosen

    # -- clusters

    async def submit(self, cluster_options: Options | Mapping[str, Any] | None = None, **kwargs: Any) -> str:
        """Ask for a cluster without waiting for it: its name."""
        return (await self.create(await self.checked(cluster_options, kwargs))).name

    async def create(
        self, options: Mapping[str, Any], key: str | None = None, lease: LeaseRequest | None = None
    ) -> ClusterView:
        """The cluster asked for under this key: new, or the one that an earlier call with the key made.

        Without a lease it outlives whoever asked: no object here would close it.

        Cancelled, it stops what it has begun: a request on its way must come to a name to be undone.
        """
        creating = asyncio.ensure_future(
            self._create(CreateRequest(options, lease or LeaseRequest(presence=False)), key or uuid.uuid4().hex)
        )
        try:
            return await asyncio.shield(creating)
        except asyncio.CancelledError:
            with contextlib.suppress(SluiceError, asyncio.TimeoutError):
                view = await asyncio.wait_for(creating, UNDO_S)
                await asyncio.wait_for(self.stop_cluster(view.name), UNDO_S)
            raise

    async def plan(
        self,
        cluster_options: Options | Mapping[str, Any] | None = None,
        lease: LeaseRequest | None = None,
        **kwargs: Any,
    ) -> Plan:
        """What a cluster with these options would get, and where each value comes from; nothing is started."""
        body = asdict(CreateRequest(await self.checked(cluster_options, kwargs), lease or LeaseRequest()))
        return read(Plan, await self._connection.send("POST", f"{API_ROOT}/clusters?dry_run=true", body=body))

    async def _create(self, request: CreateRequest, key: str) -> ClusterView:
        body, headers = asdict(request), {IDEMPOTENCY_HEADER: key}
        answer = await self._connection.send("POST", f"{API_ROOT}/clusters", body=body, headers=headers)
        view = read(ClusterView, answer)
        for note in view.notes:
            warnings.warn(f"cluster {view.name}: {note}", GatewayWarning, stacklevel=2)
        return view

    async def view(self, name: str) -> ClusterView:
        """One cluster as it is now."""
        return read(ClusterView, await self._connection.get(_path(name)))

    async def newest(self) -> ClusterView:
        """The newest of my clusters that are not ending.

        raises  ClusterNotFound
        """
        active = (view for view in await self.views() if view.state.is_active)
        if (view := next(active, None)) is None:
            raise ClusterNotFound("you have no cluster to connect to", hint="gateway.new_cluster() makes one.")
        return view

    async def wait(self, name: str, after_version: int) -> ClusterView:
        """One cluster as soon as it is newer than that version, or as it is after a while."""
        answer = await self._connection.get(_path(name, "wait"), after_version=after_version, timeout_s=WAIT_S)
        return read(ClusterView, answer)

    async def wait_until_running(
        self, view: ClusterView, *, timeout: float | None = None, progress: Progress | None = None
    ) -> ClusterView:
        """The cluster once clients can connect.

        raises  GatewayClusterError with the server's reason if it ends instead; StartTimedOut
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while view.state in (ClusterState.PENDING, ClusterState.STARTING):
            if progress is not None:
                progress.show(view)
            left = None if deadline is None else deadline - time.monotonic()
            try:
                view = await asyncio.wait_for(self.wait(view.name, view.version), left)
            except asyncio.TimeoutError:
                raise StartTimedOut(
                    f"cluster {view.name} was not running after {span(timeout or 0)}: {view.reason.sentence}",
                    hint=view.reason.hint,
                ) from None
        if view.state is not ClusterState.RUNNING:
            how = "failed to start" if view.started_at is None else _ENDS[view.state]
            raise GatewayClusterError(f"cluster {view.name} {how}: {view.reason.sentence}", hint=view.reason.hint)
        return view

    async def list_clusters(self, status: str | ClusterState | Iterable[str] | None = None) -> list[ClusterReport]:
        """My clusters, newest first; by default those that have not ended."""
        states = None
        if status is not None:
            wanted = [status] if isinstance(status, str) else list(status)
            states = ",".join(str(each).lower() for each in wanted)
        base = await self.public_url()
        return [ClusterReport.of(view, base) for view in await self.views(states)]

    async def views(self, states: str | None = None, *, everyone: bool = False) -> list[ClusterView]:
        """Clusters as the server sends them; `states` joined by commas."""
        answer = await self._connection.get(f"{API_ROOT}/clusters", state=states, all=1 if everyone else None)
        return [read(ClusterView, each) for each in answer]

    async def get_cluster(self, cluster_name: str) -> ClusterReport:
        """One cluster."""
        return ClusterReport.of(await self.view(cluster_name), await self.public_url())

    async def scale_cluster(self, cluster_name: str, n: int) -> None:
        """Want `n` workers from now on; adaptive scaling ends. A limit that changes `n` gives a GatewayWarning."""
        await self._change(cluster_name, "scale", asdict(ScaleRequest(n)))

    async def adapt_cluster(
        self, cluster_name: str, minimum: int | None = None, maximum: int | None = None, active: bool = True
    ) -> None:
        """Let the number of workers follow the work, between these bounds; `active=False` ends that."""
        await self._change(cluster_name, "adapt", asdict(AdaptRequest(minimum, maximum, active)))

    async def change_lease(self, cluster_name: str, change: LeaseChange) -> ClusterView:
        """Keep a cluster although it is idle or alone, make its life longer, or say that we are there."""
        path, body = _path(cluster_name, "lease"), asdict(change)
        # An extension counts from the end that there is: twice is not the same as once.
        once = change.extend_s is not None
        return read(ClusterView, await self._connection.send("POST", path, body=body, repeatable=not once))

    async def stop_cluster(self, cluster_name: str) -> None:
        """Ask a cluster to end; does not wait for it. Ended already is success."""
        await self._connection.send("DELETE", _path(cluster_name))

    async def workers(self, cluster_name: str) -> list[WorkerView]:
        """Every worker with its state and reason, the last few that ended included."""
        answer = await self._connection.get(_path(cluster_name, "workers"))
        return [read(WorkerView, each) for each in answer]

    async def events(self, cluster_name: str, after: int = 0) -> list[EventView]:
        """What happened to a cluster, oldest first."""
        answer = await self._connection.get(_path(cluster_name, "events"), after=after)
        return [read(EventView, each) for each in answer]

    async def follow_events(self, cluster_name: str, after: int = 0) -> AsyncIterator[EventView]:
        """What happens to a cluster, as it happens."""
        async for line in self._connection.lines(_path(cluster_name, "events"), {"after": after}):
            if line.startswith("data:"):
                yield read(EventView, json.loads(line[5:]))

    async def logs(self, cluster_name: str, worker: str | None = None, *, lines: int | None = None) -> str:
        """What the scheduler, or one worker, wrote, or the last `lines` of it; also after its end."""
        return str(await self._connection.get(_path(cluster_name, "logs"), worker=worker, lines=lines))

    async def get_logs(
        self,
        cluster_name: str,
        cluster: bool = True,
        scheduler: bool = True,
        workers: bool | Iterable[str] = True,
        *,
        lines: int | None = None,
    ) -> dict[str, str]:
        """What everybody wrote: events as `Cluster`, then `Scheduler`, then workers by name, living and dead.

        workers   all (True), none (False), or those of these names
        lines     the last so many of each
        """
        return await logs.collect(self, cluster_name, cluster, scheduler, workers, lines)

    async def follow_logs(
        self, cluster_name: str, worker: str | None = None, *, lines: int | None = None
    ) -> AsyncIterator[str]:
        """What the scheduler, or one worker, wrote and writes, until it has ended; over a server's restart too."""
        async for text in logs.follow(self._connection, _path(cluster_name, "logs"), worker, lines):
            yield text

    # -- what was used

    async def usage(self, by: str = "user", since: When | None = None, until: When | None = None) -> UsageReport:
        """What I used; for administrators, what everybody used.

        by      user, group, profile, cluster or day, or several, separated by commas
        since   a date, a time, text such as "2026-11-01" (both UTC unless they say otherwise), or how long ago:
                "7d"; default: the first of this month
        until   the same; default: now
        """
        answer = await self._connection.get(f"{API_ROOT}/usage", by=by, since=_when(since), until=_when(until))
        return read(UsageReport, answer)

    async def usage_csv(
        self, by: str = "user", since: When | None = None, until: When | None = None, *, focus: bool = False
    ) -> str:
        """The same as comma-separated values; `focus`: with the columns of FOCUS 1.0, for each cluster and day."""
        given = {"by": by, "since": _when(since), "until": _when(until), "format": "focus" if focus else "csv"}
        return str(await self._connection.get(f"{API_ROOT}/usage", **given))

    # -- the way to a scheduler

    async def credentials(self, cluster_name: str) -> Credentials:
        """A fresh TLS identity for a running cluster."""
        return read(Credentials, await self._connection.get(_path(cluster_name, "credentials")))

    async def public_url(self) -> str:
        """Base of the links shown to people."""
        told = (await self.info()).public_url or config.setting("public-address") or self.address
        return str(told).rstrip("/")

    async def _change(self, name: str, what: str, body: Mapping[str, Any]) -> None:
        answer = read(ScaleAnswer, await self._connection.send("POST", _path(name, what), body=body))
        if answer.message:
            warnings.warn(answer.message, GatewayWarning, stacklevel=3)


def _when(when: When | None) -> str | None:
    return when.isoformat() if isinstance(when, date) else when


def _path(name: str, *more: str) -> str:
    return "/".join((f"{API_ROOT}/clusters", name, *more))
