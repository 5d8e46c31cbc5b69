"""Where a request goes, by its path alone. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class ToServer:
    """The API, pages and everything else. `target` is path and query without the prefix."""

    target: str


@dataclass(frozen=True)
class ToDashboard:
    """A scheduler's own web pages. `rest` begins with `/` or is empty; `query` with `?` or is empty."""

    cluster: str
    ticket: str | None
    rest: str
    query: str


@dataclass(frozen=True)
class ToTunnel:
    """A cluster's scheduler, inside a WebSocket."""

    cluster: str


@dataclass(frozen=True)
class ToProxy:
    """How this proxy is: `/health/proxy` whether it is ready, `/health/proxy/live` whether it answers at all."""

    ready: bool


@dataclass(frozen=True)
class Elsewhere:
    """Redirect to this path."""

    location: str


@dataclass(frozen=True)
class Nowhere:
    """Outside the prefix, or not a path."""


Destination = ToServer | ToDashboard | ToTunnel | ToProxy | Elsewhere | Nowhere

_NAME = r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)"
_DASHBOARD = re.compile(rf"/clusters/{_NAME}(?:/~(?P<ticket>[^/]*))?(?P<rest>/.*)?", re.DOTALL)
_TUNNEL = re.compile(rf"/tunnel/{_NAME}/?")


def destination(target: str, prefix: str) -> Destination:
    """Where the request target (RFC 9112, section 3.2) leads."""
    if target.startswith(("http://", "https://")):  # absolute form, as sent to proxies
        parts = urlsplit(target)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not target.startswith("/"):
        return Nowhere()
    path, question_mark, query = target.partition("?")
    query = question_mark + query
    if prefix:
        if path in ("/", prefix):
            return Elsewhere(f"{prefix}/{query}")
        if not path.startswith(prefix + "/"):
            return Nowhere()
        path = path[len(prefix) :]
    if path in ("/health/proxy", "/health/proxy/live"):
        return ToProxy(ready=path == "/health/proxy")
    if found := _TUNNEL.fullmatch(path):
        return ToTunnel(found["name"])
    if found := _DASHBOARD.fullmatch(path):
        return ToDashboard(found["name"], found["ticket"], found["rest"] or "", query)
    return ToServer(path + query)
