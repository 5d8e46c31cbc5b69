"""What schedulers and workers wrote: as text, or as a stream of server-sent events that goes on as they write."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

from ...backends.protocol import LogPart
from ...job_logs import MOST_BYTES
from ..gate import Authenticated
from ..services import services
from ..streams import server_sent
from .events import EVENT_STREAM

router = APIRouter(prefix="/clusters", tags=["clusters"])

USUAL_BYTES = 1_000_000
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": 'Text; with `follow` server-sent events `{"text": ...}` as it is written, and the event `end` '
        "once the process has ended. A `Last-Event-ID` resumes.",
        "content": {EVENT_STREAM: {"schema": {"type": "string"}}},
    }
}


@router.get("/{name}/logs", response_class=PlainTextResponse, responses=_RESPONSES)
async def logs(
    request: Request,
    caller: Authenticated,
    name: str,
    worker: Annotated[str | None, Query(max_length=200, description="Default: the scheduler.")] = None,
    lines: Annotated[int | None, Query(ge=0, le=1_000_000, description="Only so many, the last ones.")] = None,
    follow: Annotated[bool, Query(description="Go on until the process has ended.")] = False,
    max_bytes: Annotated[int, Query(ge=1, le=MOST_BYTES)] = USUAL_BYTES,
    last_event_id: Annotated[str, Header(max_length=100)] = "",
) -> Response:
    """The end of what the scheduler wrote, or a worker; living or dead."""
    use = services(request)
    if not follow:
        return PlainTextResponse(await use.control.logs(caller, name, worker, max_bytes=max_bytes, lines=lines))
    parts = await use.control.follow_logs(caller, name, worker, position=last_event_id, lines=lines)
    frames = server_sent(parts, _frame, use.stopping, tell_end=True)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(frames, media_type=EVENT_STREAM, headers=headers)


def _frame(part: LogPart) -> tuple[str, dict[str, Any]]:
    return part.position, {"text": part.text}
