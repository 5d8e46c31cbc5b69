"""`/metrics`, for Prometheus: with the token that the settings name, or as an administrator.

Not for everybody on loopback: behind a web server on the same machine everybody would come from there.
"""

from __future__ import annotations

import hmac

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from ..identity.shown import from_header
from ..policy import check_admin
from .gate import caller_of
from .services import services

router = APIRouter(include_in_schema=False)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """All numbers."""
    if not _has_token(request):
        check_admin(await caller_of(request), "read the metrics")
    return Response(services(request).metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _has_token(request: Request) -> bool:
    token = services(request).settings.metrics.token
    shown = from_header(request.headers.get("authorization", ""))
    if token is None or shown is None:
        return False
    return hmac.compare_digest(shown.secret.encode(), token.get_secret_value().encode())
