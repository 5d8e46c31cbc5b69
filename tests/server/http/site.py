"""The real app over the real core and the fake backend, as the tests of HTTP want it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from dask_sluice.server.backends.fake import Dials, World
from dask_sluice.server.clock import SystemClock
from dask_sluice.server.health import HealthChecks
from dask_sluice.server.http.app import create_app
from dask_sluice.server.http.services import Services
from dask_sluice.server.identity.basic import BasicAuthenticator
from dask_sluice.server.identity.passwords import hash_password
from dask_sluice.server.identity.protocol import Authenticator
from dask_sluice.server.identity.sessions import Sessions
from dask_sluice.server.identity.token import TokenAuthenticator
from dask_sluice.server.metrics import Metrics
from dask_sluice.server.model import Caller
from dask_sluice.server.notebooks import NotebookWatch
from dask_sluice.server.settings import Settings
from dask_sluice.server.web import WebServer

from ..core import Core, end_world, running_core

PROXY_TOKEN = "the proxy's token"
PASSWORDS = {"ada": "lovelace", "grace": "hopper", "root": "toor"}
BROWSER = {"Accept": "text/html,application/xhtml+xml"}
ADDRESS = "http://sluice.test"


@dataclass
class Site:
    """An app at work, and who can call it."""

    core: Core
    services: Services
    app: Any

    def client(self, user: str | None = None, **options: Any) -> httpx.AsyncClient:
        """A caller; with a name, one who sends that name's password."""
        auth = httpx.BasicAuth(user, PASSWORDS[user]) if user else None
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False, client=("192.0.2.7", 1234))
        return httpx.AsyncClient(transport=transport, base_url=ADDRESS, auth=auth, **options)

    def core_caller(self, user: str) -> Caller:
        return Caller(user, is_admin=user == "root")

    @property
    def cookie(self) -> str:
        return self.services.sessions.cookie_name


@asynccontextmanager
async def running_site(
    directory: Path,
    *,
    authenticator: Authenticator | None = None,
    dials: Dials | None = None,
    settings: Settings | None = None,
    world: World | None = None,
) -> AsyncIterator[Site]:
    """Users `ada`, `grace` and the administrator `root`, unless another authenticator is given."""
    settings = settings or Settings.model_validate({"authenticator": {"admins": ["root"]}})
    authenticator = authenticator or basic()
    await authenticator.start(directory)
    world = world or World()
    stopping = asyncio.Event()
    async with running_core(directory, dials=dials, world=world, settings=settings) as core:
        services = Services(
            control=core.control,
            links=core.links,
            routes=core.routes,
            authenticator=authenticator,
            sessions=Sessions("session key", authenticator.fingerprint, session_s=3600),
            settings=settings,
            clock=SystemClock(),
            proxy_token=PROXY_TOKEN,
            backend="fake",
            version="1.2.3",
            stopping=stopping,
            health=HealthChecks(
                core.store,
                core.loop,
                core.routes,
                SystemClock(),
                stopping,
                data_dir=directory,
                least_free_bytes=settings.health.disk_free_bytes,
            ),
            metrics=Metrics(core.store, core.loop, core.links, core.routes),
            notebooks=NotebookWatch(core.store, core.loop, SystemClock(), authenticator),
        )
        try:
            yield Site(core, services, create_app(services))
        finally:
            services.stopping.set()
            end_world(world)


_HASHES: dict[str, str] = {}


def basic() -> BasicAuthenticator:
    """All the users; their hashes are made once, since making them is meant to take long."""
    for user, password in PASSWORDS.items():
        _HASHES.setdefault(user, hash_password(password))
    return BasicAuthenticator(users=_HASHES)


def token() -> TokenAuthenticator:
    return TokenAuthenticator(token="a-token", account="ada")


@asynccontextmanager
async def listening(site: Site) -> AsyncIterator[str]:
    """The site behind a real web server on loopback, for what goes on and on; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = WebServer(site.app)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            site.services.stopping.set()
            server.should_exit = True
            await serving
