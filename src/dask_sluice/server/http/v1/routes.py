"""dask-gateway's nine routes that clients use. Facts: its wire protocol as observed, 2022.4 to 2026.3."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from ....wire.errors import ClusterNotFound, ClusterNotRunning, RequestInvalid, SluiceError
from ....wire.states import ClusterState
from ...model import Caller, ClusterRecord
from ..errors import answer
from ..gate import caller_of, named_by_session, remember
from ..services import Services, services
from ..v2.clusters import first_of
from . import shapes

router = APIRouter(include_in_schema=False)

WAIT_S = 10.0
"""Half of dask-gateway's own figure, since some proxies on the way cut what has not begun after 15 s; its clients just
ask again."""

Work = Callable[[Request, Caller], Awaitable[Response]]


def _for_users(work: Work) -> Callable[[Request], Awaitable[Response]]:
    """`work` for a caller who has logged in. They get a cookie even where it fails: without one, these clients
    send each request twice, the first time without credentials.
    """

    async def endpoint(request: Request) -> Response:
        caller = await caller_of(request)
        try:
            response = await work(request, caller)
        except SluiceError as error:
            response = answer(request, error)
        if named_by_session(request) is None:
            remember(request, response, caller, request.state.proof)
        return response

    return endpoint


async def health(request: Request) -> Response:
    """The server answers."""
    return JSONResponse({"status": "pass"})


async def version(request: Request) -> Response:
    """Its version."""
    return JSONResponse({"version": services(request).version})


async def options(request: Request, caller: Caller) -> Response:
    """What may be chosen."""
    known = await services(request).control.options(caller)
    return JSONResponse({"cluster_options": [shapes.option_json(option) for option in known if not option.hidden]})


async def clusters(request: Request, caller: Caller) -> Response:
    """The caller's own, by name; `?status=A,B`. Without keys: who connects asks for the one cluster."""
    use = services(request)
    wanted = shapes.states(request.query_params.get("status") or shapes.ACTIVE)
    records = await use.control.clusters(caller, wanted)
    return JSONResponse({record.name: shapes.cluster_json(record, None) for record in records})


async def create(request: Request, caller: Caller) -> Response:
    """Start one."""
    given = (await _body(request)).get("cluster_options") or {}
    if not isinstance(given, dict):
        raise RequestInvalid(f"cluster_options must be an object, got {given!r}")
    record, _ = await services(request).control.create(caller, given, None)
    return JSONResponse({"name": record.name}, 201)


async def cluster(request: Request, caller: Caller) -> Response:
    """One; with `?wait` as soon as it has started or ended, or as it is after `WAIT_S`."""
    use, name = services(request), request.path_params["name"]
    if not _waits(request.query_params.get("wait")):
        return JSONResponse(await _cluster_json(use, caller, await use.control.cluster(caller, name)))
    record = await _settled(use, caller, name)
    _refuse_ended(record)
    return JSONResponse(await _cluster_json(use, caller, record))


async def stop(request: Request, caller: Caller) -> Response:
    """Stop one, if there is one."""
    with suppress(ClusterNotFound):  # as dask-gateway does: what is to be gone is gone
        await services(request).control.stop(caller, request.path_params["name"])
    return Response(status_code=204)


async def scale(request: Request, caller: Caller) -> Response:
    """Set the number of workers."""
    control, name = services(request).control, request.path_params["name"]
    record = await control.cluster(caller, name)
    count = (await _body(request)).get("count")
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise RequestInvalid(f"Scale expects a non-negative integer, got {count!r}")
    _refuse_pending(record)
    record, _ = await control.scale(caller, name, count)
    return JSONResponse(shapes.scale_json(count, record))


async def adapt(request: Request, caller: Caller) -> Response:
    """Let it follow the load."""
    control, name = services(request).control, request.path_params["name"]
    _refuse_pending(await control.cluster(caller, name))
    body = await _body(request)
    minimum, maximum, active = body.get("minimum"), body.get("maximum"), body.get("active", True)
    record, _ = await control.adapt(caller, name, minimum, maximum, bool(active))
    return JSONResponse(shapes.adapt_json(minimum, maximum, record) if active else {"ok": True, "msg": None})


for path, method, endpoint in (
    ("/api/health", "GET", health),
    ("/api/version", "GET", version),
    ("/api/v1/options", "GET", _for_users(options)),
    ("/api/v1/clusters/", "GET", _for_users(clusters)),
    ("/api/v1/clusters/", "POST", _for_users(create)),
    ("/api/v1/clusters/{name}", "GET", _for_users(cluster)),
    ("/api/v1/clusters/{name}", "DELETE", _for_users(stop)),
    ("/api/v1/clusters/{name}/scale", "POST", _for_users(scale)),
    ("/api/v1/clusters/{name}/adapt", "POST", _for_users(adapt)),
):
    router.add_route(path, endpoint, methods=[method])


async def _settled(use: Services, caller: Caller, name: str) -> ClusterRecord:
    """The cluster once it runs or is about to end, or as it is after `WAIT_S`."""
    record = await use.control.cluster(caller, name)
    until = use.clock.now() + WAIT_S
    while record.state in (ClusterState.PENDING, ClusterState.STARTING) and (left := until - use.clock.now()) > 0:
        changed = use.control.wait(caller, name, after_version=record.version, timeout_s=left)
        if (news := await first_of(changed, use.stopping)) is None:
            break
        record = news
    return record


def _refuse_ended(record: ClusterRecord) -> None:
    """Who waits for a cluster that failed is told why. Told only its status, these clients could not say."""
    if record.state is ClusterState.FAILED or (record.state is ClusterState.STOPPING and record.wanted.failed):
        reason = record.wanted.stop or record.reason
        raise ClusterNotRunning(f"Cluster {record.name!r} failed: {reason.sentence}", hint=reason.hint)
    if record.state is ClusterState.STOPPED:
        raise ClusterNotRunning(f"Cluster {record.name!r} has ended: {record.reason.sentence}", hint=record.reason.hint)


def _refuse_pending(record: ClusterRecord) -> None:
    if record.state in (ClusterState.PENDING, ClusterState.STARTING):
        raise ClusterNotRunning(f"cluster {record.name} is not running")


async def _cluster_json(use: Services, caller: Caller, record: ClusterRecord) -> dict[str, Any]:
    if record.state is not ClusterState.RUNNING:
        return shapes.cluster_json(record, None)
    try:
        return shapes.cluster_json(record, await use.control.credentials(caller, record.name))
    except ClusterNotRunning:  # it ended meanwhile
        return shapes.cluster_json(await use.control.cluster(caller, record.name), None)


async def _body(request: Request) -> dict[str, Any]:
    raw = await request.body()
    try:
        body = json.loads(raw) if raw.strip() else {}
    except (ValueError, RecursionError) as error:
        raise RequestInvalid(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise RequestInvalid("the body must be a JSON object")
    return body


def _waits(flag: str | None) -> bool:
    """`?wait` and `?wait=1` do, `?wait=0` and other text do not."""
    return flag is not None and (not flag or (flag.isdecimal() and int(flag) > 0))
