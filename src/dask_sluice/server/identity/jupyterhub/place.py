"""Where the hub is, and who we are to it: from the settings, else from what hubs and Kubernetes put into the
environment. Pure; the environment is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ...startup import CannotStart
from .settings import JupyterHubSettings

SERVICE = "dask-gateway"
"""As everybody's hub calls it."""


@dataclass(frozen=True)
class Place:
    """The hub as we know it."""

    service: str
    api_url: str
    authorize_url: str
    """Its page for logins, as browsers reach it: a path where that is our own host."""
    callback_url: str
    """Empty: `oauth_callback` beneath our prefix."""
    token: str | Path
    """Our service's token, or the file that holds it; empty where there is none."""

    @property
    def scope(self) -> str:
        """What a token needs to come in."""
        return f"access:services!service={self.service}"

    @property
    def client_id(self) -> str:
        return f"service-{self.service}"

    def service_token(self) -> str:
        """Our service's token; empty where there is none.

        raises  OSError where its file cannot be read
        """
        return self.token.read_text().strip() if isinstance(self.token, Path) else self.token


def place(settings: JupyterHubSettings, environ: Mapping[str, str]) -> Place:
    """All that the settings and the environment tell.

    raises  CannotStart where nothing says where the hub is
    """
    base = settings.base_url or _base_url(settings.api_url or "", environ)
    # Set only where users have domains of their own; else the hub's host is ours.
    public = settings.public_url or environ.get("JUPYTERHUB_HOST", "")
    given = settings.service_token
    token: str | Path = environ.get("JUPYTERHUB_API_TOKEN", "")
    if given is not None:
        token = given if isinstance(given, Path) else given.get_secret_value()
    return Place(
        service=settings.service_name or environ.get("JUPYTERHUB_SERVICE_NAME") or SERVICE,
        api_url=settings.api_url or _api_url(base, environ),
        authorize_url=f"{public}{base}hub/api/oauth2/authorize",
        callback_url=settings.oauth_callback_url or environ.get("JUPYTERHUB_OAUTH_CALLBACK_URL", ""),
        token=token,
    )


def _base_url(api_url: str, environ: Mapping[str, str]) -> str:
    """As the environment says, else as the address of the API shows it."""
    path = urlsplit(api_url).path.rstrip("/")
    told = path.removesuffix("/hub/api") if path.endswith("/hub/api") else environ.get("JUPYTERHUB_BASE_URL", "/")
    return told.rstrip("/") + "/"


def _api_url(base: str, environ: Mapping[str, str]) -> str:
    if told := environ.get("JUPYTERHUB_API_URL"):
        return told.rstrip("/")
    host, port = environ.get("HUB_SERVICE_HOST"), environ.get("HUB_SERVICE_PORT", "8081")
    if host:
        return f"http://{f'[{host}]' if ':' in host else host}:{port}{base}hub/api"
    raise CannotStart(
        "nothing says where the JupyterHub is: neither the setting authenticator.jupyterhub.api_url, nor "
        "JUPYTERHUB_API_URL, nor HUB_SERVICE_HOST in the environment",
        hint="Set authenticator.jupyterhub.api_url to the hub's API, such as http://hub:8081/hub/api.",
    )
