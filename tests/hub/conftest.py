"""A hub and a dask-sluice server beside each other, joined by the hub's extension."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from scripts.environments import EnvironmentFailed, environment

from ..browser import browser_page, chromium
from ..conftest import not_here
from ..live import LiveServer, until
from .hub import ROOT, SERVICE, LiveHub

__all__ = ["browser_page", "chromium"]

CONFIG = f"""
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {{{{"root"}}}}
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.allow_named_servers = True
c.JupyterHub.load_groups = {{{{"lab": ["ada"], "class": ["grace", "ada"]}}}}
c.JupyterHub.services.append({{{{"name": "ada", "api_token": "token-of-the-service-ada"}}}})
c.JupyterHub.load_roles.append(
    {{{{"name": "jobs", "scopes": ["access:services!service=dask-gateway"], "services": ["ada"]}}}}
)
configure(
    c, url="{{server_url}}", api_token={SERVICE!r}, dask_address="127.0.0.1:{{server_port}}",
    variables=["SCRATCH_BUCKET", "PANGEO_SCRATCH"],
    environment={{{{
        "PYTHONPATH": {str(ROOT / "src")!r},
        "SCRATCH_BUCKET": "s3://scratch",
        "DASK_SLUICE__CLUSTER__OPTIONS__ENVIRONMENT": sys.prefix,
        "DASK_GATEWAY__CLUSTER__OPTIONS__ENVIRONMENT": sys.prefix,
    }}}},
)
"""


@dataclass
class Pair:
    """A hub, and a server that lets its users in."""

    hub: LiveHub
    server: LiveServer

    def ask(self, token: str, path: str = "/api/v2/", method: str = "GET", **options: Any) -> httpx.Response:
        """By way of the hub's proxy, as a client from anywhere would."""
        headers = {"Authorization": f"token {token}"}
        return httpx.request(method, self.hub.gateway + path, headers=headers, timeout=30, **options)

    def is_routed(self) -> bool:
        """Whether the hub's proxy leads to the server; before, the hub answers itself."""
        return httpx.get(f"{self.hub.gateway}/api/version", timeout=30).headers["content-type"] == "application/json"

    def ended(self, name: str, user: str = "ada") -> str:
        """The code of the reason, once this user's cluster has ended."""
        token = self.hub.token(user)

        def look() -> Any:
            return self.ask(token, f"/api/v2/clusters/{name}").json()

        until(lambda: look()["state"] in ("stopped", "failed"), f"{name} has ended: {look()}")
        return str(look()["reason"]["code"])


@pytest.fixture(scope="session")
def hub_python() -> Path:
    """The interpreter of an environment with the newest JupyterHub."""
    return hub_environment("hub-newest")


def hub_environment(name: str) -> Path:
    try:
        return environment(name)
    except EnvironmentFailed as error:
        not_here(str(error))


def server_for(
    hub: LiveHub, directory: Path, settings: dict[str, Any] | None = None, *, port: int | None = None, **of_hub: Any
) -> LiveServer:
    """A server that knows the hub, as an administrator would write it down."""
    given = {
        "listen": {"prefix": hub.prefix},
        "authenticator": {
            "kind": "jupyterhub",
            "admins": ["service:auditor"],
            "jupyterhub": {"api_url": hub.api_url, "service_token": SERVICE, "remember_s": 0.5, **of_hub},
        },
        **(settings or {}),
    }
    (directory / "sluice.yaml").write_text(yaml.safe_dump(given))
    return LiveServer(
        directory, "--config", str(directory / "sluice.yaml"), port=hub.server_port if port is None else port
    )


@contextmanager
def running_pair(
    python: Path,
    directory: Path,
    config: str,
    settings: dict[str, Any] | None = None,
    *,
    base_url: str = "",
    **of_hub: Any,
) -> Iterator[Pair]:
    for part in ("hub", "server"):
        (directory / part).mkdir(exist_ok=True)
    hub = LiveHub(python, directory / "hub", config, base_url=base_url)
    with hub, server_for(hub, directory / "server", settings, **of_hub) as server:
        pair = Pair(hub, server)
        until(pair.is_routed, "the hub's proxy has a route to the server")
        yield pair


@pytest.fixture(scope="session")
def pair(hub_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Shared by all tests that break neither; users ada (groups class and lab), grace and the administrator root."""
    with running_pair(hub_python, tmp_path_factory.mktemp("pair"), CONFIG) as pair:
        for user in ("ada", "grace"):
            pair.hub.api("GET", f"/users/{user}")
        yield pair
