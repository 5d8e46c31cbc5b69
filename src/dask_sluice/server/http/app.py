"""All routes put together."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from . import errors, health, metrics, proxy, v2
from .behind_proxies import BehindProxies
from .edge import Edge
from .link import LinkDoor
from .pages import routes as pages
from .services import Services
from .v1 import routes as v1

HERE = Path(__file__).parent


def create_app(services: Services) -> ASGIApp:
    """The server's ASGI app. Starting and stopping what is behind it is its caller's matter."""
    app = bare_app()
    app.state.services = services
    app.add_middleware(Edge, answered=services.metrics.answered, public_url=services.settings.listen.public_url)
    door = LinkDoor(app, services.links)
    return door if services.settings.listen.for_proxies is None else BehindProxies(door, services.proxy_token)


def bare_app() -> FastAPI:
    """The routes alone, which is all that describing the API takes."""
    app = FastAPI(
        title="dask-sluice",
        version="2",
        description="Launch and use Dask clusters. Every failure is a problem document (RFC 9457).",
        openapi_url="/api/v2/openapi.json",
        # Both pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    errors.install(app)
    for router in (health.router, metrics.router, proxy.router, v2.router, v1.router, pages.router):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    return app
