"""What the server says of itself and offers to this caller."""

from __future__ import annotations

from fastapi import APIRouter, Request

from ....wire.api import ServerInfo
from ....wire.options import Option
from ..gate import Authenticated
from ..services import services

router = APIRouter(tags=["server"])


@router.get("/")
async def server_info(request: Request, caller: Authenticated) -> ServerInfo:
    """Who the server takes you for, and where it is reached."""
    use = services(request)
    return ServerInfo(
        version=use.version,
        user=caller.name,
        is_admin=caller.is_admin,
        backend=use.backend,
        dask_address=use.settings.listen.dask_address,
        public_url=use.settings.listen.public_url,
    )


@router.get("/options")
async def options(request: Request, caller: Authenticated) -> list[Option]:
    """What you may choose for a cluster."""
    return list(await services(request).control.options(caller))
