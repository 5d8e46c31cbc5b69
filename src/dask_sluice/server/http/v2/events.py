"""What happened, as a list or as a stream of server-sent events that goes on where it broke off."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response, StreamingResponse

from ....wire.api import EventView
from ...model import Caller, Event
from ..gate import Authenticated
from ..services import services
from ..streams import server_sent
from ..views import event_view
from .bodies import AfterEvent

router = APIRouter(tags=["events"])

EVENT_STREAM = "text/event-stream"
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events, oldest first. With `Accept: text/event-stream` they go on as they happen; a "
        "`Last-Event-ID` resumes.",
        "content": {EVENT_STREAM: {"schema": {"type": "string"}}},
    }
}
LastEventId = Annotated[str | None, Header(max_length=30)]
Limit = Annotated[int, Query(ge=1, le=1000)]


@router.get("/events", response_model=list[EventView], responses=_RESPONSES)
async def all_events(
    request: Request,
    caller: Authenticated,
    after: AfterEvent = 0,
    limit: Limit = 1000,
    last_event_id: LastEventId = None,
) -> list[EventView] | Response:
    """What happened to all your clusters."""
    return await _answer(request, caller, None, _resume(after, last_event_id), limit)


@router.get("/clusters/{name}/events", response_model=list[EventView], responses=_RESPONSES)
async def cluster_events(
    request: Request,
    caller: Authenticated,
    name: str,
    after: AfterEvent = 0,
    limit: Limit = 1000,
    last_event_id: LastEventId = None,
) -> list[EventView] | Response:
    """What happened to one cluster. As a stream it ends once the cluster has ended."""
    return await _answer(request, caller, name, _resume(after, last_event_id), limit)


async def _answer(
    request: Request, caller: Caller, name: str | None, after: int, limit: int
) -> list[EventView] | Response:
    use = services(request)
    if EVENT_STREAM not in request.headers.get("accept", ""):
        return [event_view(event) for event in await use.control.events(caller, name, after=after, limit=limit)]
    if name is not None:
        await use.control.cluster(caller, name)  # an error must come before the stream begins
    frames = server_sent(use.control.follow(caller, name, after=after), _frame, use.stopping)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(frames, media_type=EVENT_STREAM, headers=headers)


def _frame(event: Event) -> tuple[int, dict[str, Any]]:
    return event.id, dataclasses.asdict(event_view(event))


def _resume(after: int, last_event_id: str | None) -> int:
    return max(after, int(last_event_id)) if last_event_id and last_event_id.isdecimal() else after
