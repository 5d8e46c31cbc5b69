"""`/health/live`, `/health/ready` and `/health`: for those who watch servers. No login; details for administrators."""

from __future__ import annotations

import dataclasses

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from ...wire.errors import SluiceError
from .gate import caller_of
from .services import services

router = APIRouter(prefix="/health", include_in_schema=False)


@router.get("/live")
async def live(request: Request) -> Response:
    """503 where only starting the process anew helps."""
    check = services(request).health.live
    return JSONResponse({"status": "live" if check.ok else "dead", "reason": check.sentence}, 200 if check.ok else 503)


@router.get("/ready")
async def ready(request: Request) -> Response:
    """503 with the reasons where requests had better go to another server."""
    health = await services(request).health.look()
    status = "ready" if health.ready else "not ready"
    return JSONResponse({"status": status, "reasons": health.reasons}, 200 if health.ready else 503)


@router.get("")
async def health(request: Request) -> Response:
    """Everything that is looked at, and whether the server is drained."""
    use = services(request)
    found = await use.health.look()
    shown = found if await _is_admin(request) else found.for_anybody()
    document = {
        "status": "ready" if found.ready else "not ready",
        "live": use.health.live.ok,
        "ready": found.ready,
        "draining": await _draining(request),
        "reasons": found.reasons,
        "checks": [dataclasses.asdict(check) for check in shown.checks],
        "version": use.version,
    }
    return JSONResponse(document, 200 if found.ready else 503)


async def _draining(request: Request) -> str:
    try:
        return await services(request).control.drain_sentence()
    except SluiceError:  # the database: said among the checks
        return ""


async def _is_admin(request: Request) -> bool:
    try:
        return (await caller_of(request)).is_admin
    except SluiceError:
        return False
