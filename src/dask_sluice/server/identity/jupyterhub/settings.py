"""Settings of the authenticator `jupyterhub`. Each address and secret may be left out where the environment tells."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from ...settings_parts import AnchoredPath, GroupName, MountedSecret, SecondsOrNever, Section, Url


def _base(value: str) -> str:
    if not re.fullmatch(r"/|(/[^\s/?#]+)+/?", value):
        raise ValueError("must be a path such as '/' or '/jupyter/'")
    return value.rstrip("/") + "/"


def _service(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
        raise ValueError("must be the name of a service in the hub's configuration, such as 'dask-gateway'")
    return value


class JupyterHubSettings(Section):
    """Users of a JupyterHub. See docs/jupyterhub.md."""

    service_name: Annotated[str, AfterValidator(_service)] | None = None
    """What we are called among the hub's services. Null: `JUPYTERHUB_SERVICE_NAME`, else `dask-gateway`."""
    require_scope: bool = True
    """Let in only those whose token has the scope `access:services!service=NAME` (or a wider one), which the hub's
    administrator gives to roles. False: whoever has any token of the hub comes in; a hub older than 2.0 needs that."""
    api_url: Url | None = None
    """Address of the hub's API as we reach it, its base URL included: `http://hub:8081/hub/api`. Null:
    `JUPYTERHUB_API_URL`, else `http://HUB_SERVICE_HOST:HUB_SERVICE_PORT` with `base_url` and `hub/api`."""
    base_url: Annotated[str, AfterValidator(_base)] | None = None
    """The hub's base URL, a path. Null: as `api_url` shows it, else `JUPYTERHUB_BASE_URL`, else `/`."""
    public_url: Url | None = None
    """The hub's address in a browser, such as `https://hub.example.org`, where people reach us by another host than the
    hub: its login page is there. Null: the hub's own proxy leads to us, so it is the same host."""
    oauth_callback_url: Url | None = None
    """Where the hub sends a browser back to, as in the hub's `oauth_redirect_uri`. Null: `oauth_callback` beneath
    `listen.prefix` on the hub's host, which is what the hub takes by itself."""
    service_token: MountedSecret | None = None
    """The token of our service at the hub, for logins in a browser and to hear of notebook servers that end. A file is
    read anew when the token is used, so that a mounted Secret may be changed. Null: `JUPYTERHUB_API_TOKEN`, else there
    is none."""
    ca_file: AnchoredPath | None = None
    """File with the certificate authorities (PEM) of a hub with https. Null: those that this machine trusts."""
    certificate_file: AnchoredPath | None = None
    """File with our certificate (PEM) for a hub that asks for one, as JupyterHub's `internal_ssl` does."""
    key_file: AnchoredPath | None = None
    """File with its key (PEM)."""
    allowed_groups: tuple[GroupName, ...] | None = None
    """Only members of these groups of the hub come in; services and the hub's administrators do. Null: whoever has the
    scope."""
    admin_groups: tuple[GroupName, ...] = ()
    """Groups of the hub whose members are administrators here."""
    hub_admins: bool = True
    """Whether the hub's administrators are administrators here."""
    remember_s: SecondsOrNever = Field(10.0, le=600)
    """How long an answer of the hub counts, in seconds: a token that was revoked works so long. Ten seconds spare the
    hub most questions of a notebook at work."""
    remember_while_away_s: SecondsOrNever = Field(300.0, le=86400)
    """For how long the last answer about a token still counts while the hub is away: a hub that is restarted
    interrupts nobody's computation."""

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together: give both or neither")
        return self
