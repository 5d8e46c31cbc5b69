"""The WebSocket that a scheduler's agent opens to us. What is said over it is `Links`' matter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, WebSocket
from fastapi.responses import JSONResponse
from starlette.websockets import WebSocketDisconnect, WebSocketState

from ...wire.errors import AuthenticationRequired
from ...wire.names import LINK_PATH, PROBLEM_TYPE
from ..identity.shown import from_header
from .services import services

router = APIRouter()


@router.websocket(LINK_PATH)
async def link(websocket: WebSocket, name: str) -> None:
    """Serve the agent of this cluster; only its link token opens the door."""
    links = services(websocket).links
    shown = from_header(websocket.headers.get("authorization", ""))
    try:
        record = await links.admit(name, shown.secret if shown else "")
    except AuthenticationRequired as error:
        await _refuse(websocket, error)
        return
    await websocket.accept()
    await links.serve(_JsonSocket(websocket), record)


class _JsonSocket:
    """A WebSocket of JSON objects; a cut line is silence, not an exception."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    async def send(self, message: Mapping[str, Any]) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):  # RuntimeError: it was closed by our own side
            await self._websocket.send_text(json.dumps(message))

    async def receive(self) -> Mapping[str, Any] | None:
        if self._websocket.application_state is not WebSocketState.CONNECTED:
            return None
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        try:
            value = json.loads(message.get("text") or message.get("bytes") or "")
        except ValueError:
            value = None
        # What no agent sends reaches `Links` as an op that it does not know, and is counted there.
        return value if isinstance(value, dict) else {"op": None}

    async def close(self) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._websocket.close()


async def _refuse(websocket: WebSocket, error: AuthenticationRequired) -> None:
    if "websocket.http.response" in websocket.scope.get("extensions", {}):
        await websocket.send_denial_response(JSONResponse(error.to_problem(), error.status, media_type=PROBLEM_TYPE))
    else:
        await websocket.close()
