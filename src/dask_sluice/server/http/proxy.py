"""What the proxy asks: where clusters are, and whether a caller may look at one."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from ...wire.names import API_ROOT
from .gate import Proxy, caller_of
from .services import services
from .streams import json_lines

router = APIRouter(prefix=API_ROOT, dependencies=[Proxy], include_in_schema=False)

TICKET_S = 12 * 3600
"""A dashboard page that is left open over a working day goes on; the proxy checks tickets by itself."""


@dataclass(frozen=True)
class AccessAnswer:
    """Allowed: for whom, and the ticket that stands for it in the paths of dashboards."""

    user: str
    ticket: str


@router.get("/routes")
async def routes(request: Request) -> StreamingResponse:
    """A snapshot of all routes, then each change, one JSON object a line, for as long as the proxy listens."""
    use = services(request)
    return StreamingResponse(json_lines(use.routes.stream(), use.stopping), media_type="application/x-ndjson")


@router.get("/access/{name}")
async def access(request: Request, name: str) -> AccessAnswer:
    """Whether the caller whose Cookie and Authorization are passed on may see this cluster."""
    use = services(request)
    caller = await caller_of(request)
    await use.control.cluster(caller, name)
    expiry = int(use.clock.now()) + TICKET_S
    return AccessAnswer(user=caller.name, ticket=ticket(use.routes.ticket_key, name, caller.name, expiry))


def ticket(key: bytes, cluster: str, user: str, expiry: int) -> str:
    """A ticket for one cluster's dashboard. The proxy verifies it alone (docs/develop/seams.md)."""
    encoded = base64.urlsafe_b64encode(user.encode()).rstrip(b"=").decode()
    signature = hmac.new(key, f"{cluster}|{user}|{expiry}".encode(), hashlib.sha256).hexdigest()[:32]
    return f"{expiry}.{encoded}.{signature}"
