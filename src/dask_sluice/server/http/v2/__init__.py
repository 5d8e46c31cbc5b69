"""The API of dask-sluice: bodies in `wire/api.py`, errors in `wire/errors.py`, described in `openapi.json`."""

from fastapi import APIRouter

from ....wire.names import API_ROOT
from . import clusters, events, server

router = APIRouter(prefix=API_ROOT)
router.include_router(server.router)
router.include_router(events.router)
router.include_router(clusters.router)
