"""Finding an authenticator: by its short name among the entry points, or by import path."""

from __future__ import annotations

import difflib
import importlib
from importlib.metadata import entry_points
from typing import Any, cast

from ..settings_schema import Authenticator as AuthenticatorSettings
from .protocol import Authenticator

GROUP = "dask_sluice.authenticators"


class UnknownAuthenticator(Exception):
    """There is nothing of this name."""


def make_authenticator(settings: AuthenticatorSettings) -> Authenticator:
    """The authenticator that the settings name.

    raises  UnknownAuthenticator with the nearest name there is
    """
    made = _find(settings.kind)(**_arguments(settings))
    return cast(Authenticator, made)


def _arguments(settings: AuthenticatorSettings) -> dict[str, Any]:
    if settings.kind == "token":
        return {"token": settings.token.get_secret_value() if settings.token else ""}
    if settings.kind != "basic" or settings.basic is None:
        return dict(settings.settings)
    password = settings.basic.password
    users = {name: stored.get_secret_value() for name, stored in settings.basic.users.items()}
    return {"users": users, "password": password.get_secret_value() if password else None}


def _find(kind: str) -> Any:
    if ":" in kind:
        module, _, name = kind.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise UnknownAuthenticator(f"authenticator.kind: cannot import {kind!r}: {error}") from error
    known = {point.name: point for point in entry_points(group=GROUP)}
    if kind not in known:
        near = difflib.get_close_matches(kind, known, n=1)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        raise UnknownAuthenticator(
            f"authenticator.kind: there is no authenticator {kind!r}.{meant} Known: {', '.join(sorted(known))}."
        )
    return known[kind].load()
