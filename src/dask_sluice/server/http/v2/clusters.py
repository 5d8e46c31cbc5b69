"""Clusters: start, look, wait, scale, stop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from ....wire.api import ClusterView, Credentials, LeaseChange, LeaseRequest, PlanView, ScaleAnswer, WorkerView
from ....wire.errors import RequestInvalid
from ....wire.states import ClusterState
from ...model import ClusterRecord
from ..gate import Authenticated
from ..services import services
from ..views import cluster_view, worker_view
from .bodies import AdaptBody, CreateBody, IdempotencyKey, LeaseChangeBody, ScaleBody

router = APIRouter(prefix="/clusters", tags=["clusters"])


@router.post("", status_code=201)
async def create(
    request: Request,
    response: Response,
    caller: Authenticated,
    body: CreateBody,
    idempotency_key: IdempotencyKey = None,
    dry_run: Annotated[bool, Query(description="Only say what the cluster would get, and why: 200.")] = False,
) -> ClusterView | PlanView:
    """Ask for a cluster: 201. Repeating an `Idempotency-Key` with the same request gives the same cluster: 200."""
    lease = LeaseRequest(**body.lease.model_dump())
    if dry_run:
        response.status_code = 200
        return await services(request).control.plan(caller, body.options, lease)
    record, is_new = await services(request).control.create(caller, body.options, idempotency_key, lease)
    response.status_code = 201 if is_new else 200
    return cluster_view(record)


@router.get("")
async def clusters(
    request: Request,
    caller: Authenticated,
    state: Annotated[
        str | None, Query(description="States, separated by commas; default: all that have not ended.")
    ] = None,
    all: Annotated[bool, Query(description="Everybody's, for administrators.")] = False,
) -> list[ClusterView]:
    """Your clusters, newest first."""
    records = await services(request).control.clusters(caller, _states(state), everyone=all)
    return [cluster_view(record) for record in records]


@router.get("/{name}")
async def cluster(request: Request, caller: Authenticated, name: str) -> ClusterView:
    """One cluster."""
    return cluster_view(await services(request).control.cluster(caller, name))


@router.get("/{name}/wait")
async def wait(
    request: Request,
    caller: Authenticated,
    name: str,
    after_version: Annotated[int, Query(ge=0, le=2**62)],
    timeout_s: Annotated[float, Query(ge=0, le=30)] = 30,
) -> ClusterView:
    """The cluster as soon as its version is above `after_version`, or as it is after `timeout_s`."""
    use = services(request)
    changed = use.control.wait(caller, name, after_version=after_version, timeout_s=timeout_s)
    record = await first_of(changed, use.stopping)
    return cluster_view(record or await use.control.cluster(caller, name))


@router.post("/{name}/scale")
async def scale(request: Request, caller: Authenticated, name: str, body: ScaleBody) -> ScaleAnswer:
    """Set how many workers are wanted. A cluster that is still starting keeps the number."""
    record, message = await services(request).control.scale(caller, name, body.count)
    return ScaleAnswer(cluster_view(record), message)


@router.post("/{name}/adapt")
async def adapt(request: Request, caller: Authenticated, name: str, body: AdaptBody) -> ScaleAnswer:
    """Let the number of workers follow the load."""
    record, message = await services(request).control.adapt(caller, name, body.minimum, body.maximum, body.active)
    return ScaleAnswer(cluster_view(record), message)


@router.post("/{name}/lease")
async def lease(request: Request, caller: Authenticated, name: str, body: LeaseChangeBody) -> ClusterView:
    """Keep a cluster although it is idle or alone, make its life longer, or say that its client is there."""
    return cluster_view(await services(request).control.lease(caller, name, LeaseChange(**body.model_dump())))


@router.delete("/{name}", status_code=202)
async def stop(request: Request, caller: Authenticated, name: str) -> ClusterView:
    """Stop a cluster. It ends soon after; asking again does no harm."""
    return cluster_view(await services(request).control.stop(caller, name))


@router.get("/{name}/workers")
async def workers(request: Request, caller: Authenticated, name: str) -> list[WorkerView]:
    """Workers, living and ended, oldest first."""
    return [worker_view(worker) for worker in await services(request).control.workers(caller, name)]


@router.post("/{name}/credentials")
@router.get("/{name}/credentials")
async def credentials(request: Request, response: Response, caller: Authenticated, name: str) -> Credentials:
    """A fresh TLS identity for a client of this cluster."""
    response.headers["Cache-Control"] = "no-store"
    return await services(request).control.credentials(caller, name)


async def first_of(waiting: Coroutine[Any, Any, ClusterRecord], stopping: asyncio.Event) -> ClusterRecord | None:
    """What was waited for, or None where the server stops first."""
    wanted, stop = asyncio.create_task(waiting), asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({wanted, stop}, return_when=asyncio.FIRST_COMPLETED)
        return wanted.result() if wanted.done() else None
    finally:
        wanted.cancel()
        stop.cancel()
        await asyncio.gather(wanted, stop, return_exceptions=True)


def _states(text: str | None) -> list[ClusterState] | None:
    if text is None:
        return None
    try:
        return [ClusterState(part.strip().lower()) for part in text.split(",")]
    except ValueError:
        known = ", ".join(str(state) for state in ClusterState)
        raise RequestInvalid(
            f"query: state: must be states out of {known}, separated by commas; got {text!r}",
            details={"where": "query", "field": "state"},
        ) from None
