"""How a client proves who it is: each kind gives the `Authorization` header of a request."""

from __future__ import annotations

import base64
import difflib
import getpass
import importlib
import os
from typing import Any, Protocol

from . import config


class Auth(Protocol):
    """Anything with a header."""

    def header(self) -> str | None:
        """Value of `Authorization`, None for none."""


class TokenAuth:
    """A token as `dask-sluice serve` prints it in its URL."""

    def __init__(self, token: str) -> None:
        self.token = token

    def header(self) -> str | None:
        return f"Bearer {self.token}"


class BasicAuth:
    """A user name and a password; the name defaults to the account of this process."""

    def __init__(self, username: str | None = None, password: str | None = None) -> None:
        self.username = getpass.getuser() if username is None else username
        self.password = "" if password is None else password

    def header(self) -> str | None:
        pair = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


class JupyterHubAuth:
    """A JupyterHub token, by default the one that the hub gave to this notebook."""

    def __init__(self, api_token: str | None = None) -> None:
        token = api_token or os.environ.get("JUPYTERHUB_API_TOKEN")
        if not token:
            raise ValueError(
                "JupyterHubAuth needs a token, and JUPYTERHUB_API_TOKEN is not set: this process was not started by a "
                "hub\nPass api_token=..., or use TokenAuth or BasicAuth (sluice.auth.type in Dask's configuration)."
            )
        self.api_token = token

    def header(self) -> str | None:
        return f"jupyterhub {self.api_token}"


class KerberosAuth:
    """Kerberos is not in this version."""

    def __init__(self) -> None:
        raise NotImplementedError("this version of dask-sluice does not speak Kerberos; use TokenAuth or BasicAuth")


class NoAuth:
    """Nothing to show: for a server that asks for nothing, or an address that holds no token."""

    def header(self) -> str | None:
        return None


_KINDS = {"token": TokenAuth, "basic": BasicAuth, "jupyterhub": JupyterHubAuth, "kerberos": KerberosAuth}


def make_auth(auth: Any = None, token: str | None = None) -> Auth:
    """What `auth=` means: an object with `header`, a class, a name, an import path; None: what is configured.

    token   found in the address, used when nothing else is said
    raises  TypeError if it is none of these, ValueError if nothing has that name
    """
    if auth is None and token is not None:
        return TokenAuth(token)
    if auth is None:
        auth = config.setting("auth.type")
        if auth is None:
            return JupyterHubAuth() if os.environ.get("JUPYTERHUB_API_TOKEN") else BasicAuth()
    if isinstance(auth, str):
        auth = _KINDS[auth] if auth in _KINDS else _imported(auth)
    if isinstance(auth, type) or not hasattr(auth, "header"):
        if not callable(auth):
            raise TypeError(f"auth must have a method `header`, be a class or a name; got {auth!r}")
        auth = auth(**config.setting("auth.kwargs", {}))
    if not hasattr(auth, "header"):
        raise TypeError(f"auth must have a method `header`, got {auth!r}")
    return auth


def _imported(path: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        near = difflib.get_close_matches(path, _KINDS, n=1)
        why = f": {error}" if module else f"; did you mean {near[0]!r}?" if near else ""
        known = f"Known are {', '.join(_KINDS)}, or an import path; sluice.auth.type in Dask's configuration sets it."
        raise ValueError(f"auth={path!r} is not known{why}\n{known}") from error
