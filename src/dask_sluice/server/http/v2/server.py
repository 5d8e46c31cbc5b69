"""What the server says of itself and offers to this caller."""

from __future__ import annotations

from fastapi import APIRouter, Request

from ....wire.api import DrainView, ServerInfo
from ....wire.options import Option
from ..gate import Authenticated
from ..services import services
from .bodies import DrainBody

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
        draining=await use.control.drain_sentence(),
    )


@router.get("/options")
async def options(request: Request, caller: Authenticated) -> list[Option]:
    """What you may choose for a cluster."""
    return list(await services(request).control.options(caller))


@router.get("/drain")
async def drain_state(request: Request, caller: Authenticated) -> DrainView:
    """Whether new clusters are taken, and how many there still are. For administrators."""
    return await services(request).control.drain(caller)


@router.put("/drain")
async def drain(request: Request, caller: Authenticated, body: DrainBody) -> DrainView:
    """Take no new clusters from now on; those accepted start and run on. For administrators."""
    return await services(request).control.drain(caller, on=True, message=body.message)


@router.delete("/drain")
async def end_drain(request: Request, caller: Authenticated) -> DrainView:
    """Take new clusters again. For administrators."""
    return await services(request).control.drain(caller, on=False)
