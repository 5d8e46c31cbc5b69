"""Finding an authenticator: by its short name among the entry points, or by import path."""

from __future__ import annotations

from typing import Any, cast

from .. import plugins
from ..settings_schema import Authenticator as AuthenticatorSettings
from .protocol import Authenticator

GROUP = "dask_sluice.authenticators"


def find(kind: str) -> Any:
    """The class of this kind.

    raises  CannotStart with the nearest name there is
    """
    return plugins.find("authenticator.kind", kind, GROUP)


def make_authenticator(settings: AuthenticatorSettings) -> Authenticator:
    """The authenticator that the settings name.

    raises  CannotStart with the nearest name or setting there is
    """
    return cast(Authenticator, plugins.make("authenticator", find(settings.kind), _arguments(settings)))


def _arguments(settings: AuthenticatorSettings) -> dict[str, Any]:
    if settings.kind == "jupyterhub":
        return {"settings": settings.jupyterhub}
    if settings.kind != "basic" or settings.basic is None:
        return dict(settings.settings)
    password = settings.basic.password
    users = {name: stored.get_secret_value() for name, stored in settings.basic.users.items()}
    return {"users": users, "password": password.get_secret_value() if password else None}
