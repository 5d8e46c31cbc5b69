"""What routes may use, handed to them by `create_app`; there are no globals."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import cast

from starlette.requests import HTTPConnection

from ..clock import Clock
from ..control import Control
from ..health import HealthChecks
from ..identity.protocol import Authenticator
from ..identity.sessions import Sessions
from ..links import Links
from ..metrics import Metrics
from ..notebooks import NotebookWatch
from ..routes import Routes
from ..settings_schema import Settings


@dataclass(frozen=True)
class Services:
    """One of each. `backend` is its name; `stopping` is set first when the server stops, so that streams end."""

    control: Control
    links: Links
    routes: Routes
    authenticator: Authenticator
    sessions: Sessions
    settings: Settings
    clock: Clock
    proxy_token: str
    backend: str
    version: str
    stopping: asyncio.Event
    health: HealthChecks
    metrics: Metrics
    notebooks: NotebookWatch


def services(connection: HTTPConnection) -> Services:
    """What this request may use."""
    return cast(Services, connection.app.state.services)


def is_https(connection: HTTPConnection) -> bool:
    """Whether the browser's side of this is encrypted. Only our proxy reaches us, and it overwrites the header."""
    public = services(connection).settings.listen.public_url or ""
    return public.startswith("https:") or connection.headers.get("x-forwarded-proto", connection.url.scheme) == "https"


def base_url(connection: HTTPConnection) -> str:
    """The address that the caller used, prefix included, no slash at its end."""
    listen = services(connection).settings.listen
    host = connection.headers.get("x-forwarded-host") or connection.headers.get("host", "")
    return listen.public_url or f"{'https' if is_https(connection) else 'http'}://{host}{listen.prefix}"


def caller_address(connection: HTTPConnection) -> str:
    """Where the call comes from, as our proxy saw it."""
    direct = connection.client.host if connection.client else ""
    return connection.headers.get("x-forwarded-for", direct)
