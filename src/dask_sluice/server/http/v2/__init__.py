"""The API of dask-sluice: bodies in `wire/api.py`, errors in `wire/errors.py`, described in `openapi.json`."""

from typing import Any

from fastapi import APIRouter

from ....wire.names import API_ROOT, PROBLEM_TYPE
from . import clusters, events, logs, notebooks, server, usage

_TEXT = {"type": "string"}
_OBJECT = {"type": "object"}
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "hint", "details", "request_id"],
    "properties": {
        "type": _TEXT,
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT | {"description": "What was wrong, a sentence for people."},
        "code": _TEXT | {"description": "Stable: programs may compare it."},
        "hint": _TEXT | {"description": "What to do about it; may be empty."},
        "details": _OBJECT | {"description": "For programs; which keys depends on the code."},
        "request_id": _TEXT | {"description": "Finds the request in the server's log."},
        "retry_after_s": {"type": "number"},
    },
}
_FAILURE: dict[int | str, dict[str, Any]] = {
    "default": {"description": "Any failure (RFC 9457).", "content": {PROBLEM_TYPE: {"schema": _PROBLEM}}}
}

router = APIRouter(prefix=API_ROOT, responses=_FAILURE)
router.include_router(server.router)
router.include_router(events.router)
router.include_router(logs.router)
router.include_router(clusters.router)
router.include_router(usage.router)
router.include_router(notebooks.router)
