"""What the HTTP application is given by the assembly (`app.py`): `http.create_app(parts)`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .clock import Clock
from .control import Control
from .identity.protocol import Authenticator
from .links import Links
from .routes import Routes
from .settings import Settings
from .store import Store


@dataclass(frozen=True)
class Parts:
    """One of each."""

    settings: Settings
    data_dir: Path
    control: Control
    authenticator: Authenticator
    """Started."""
    routes: Routes
    """The proxy's table, `routes.stream()`, and the key of its tickets, `routes.ticket_key`."""
    links: Links
    """`record = await links.admit(name, token)`, then `await links.serve(socket, record)`."""
    store: Store
    """For `key` only: the HTTP side's own keys."""
    clock: Clock
    proxy_token: str
    """By which the server knows its proxies."""
    backend_name: str
