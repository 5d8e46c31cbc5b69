"""What a hub tells: that a user's notebook servers have changed."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request

from ..gate import require_herald
from ..services import services
from .bodies import NotebooksBody

router = APIRouter(prefix="/notebooks", tags=["notebooks"], dependencies=[Depends(require_herald)])


@router.post("", status_code=202)
async def look(request: Request, body: NotebooksBody) -> None:
    """Ask the hub now which notebook servers the user has, and end the clusters of those that are gone."""
    services(request).notebooks.look_at(body.user)
