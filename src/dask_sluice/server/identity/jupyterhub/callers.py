"""What the hub's answer about a token makes of a caller. Pure.

Facts, seen with 2.3.1, 3.1.1, 4.1.6, 5.4.5 and 6.1.1: `GET /hub/api/user` gives `scopes`, expanded. Since 4.0 a
notebook's own token has `access:servers!server=USER/NAME` for the one server that it belongs to; before, it names none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ....wire.errors import PermissionDenied
from ...model import Caller
from ..names import is_user_name
from .place import Place
from .settings import JupyterHubSettings

_SERVER = "access:servers!server="


def caller_of(model: Mapping[str, Any], place: Place, settings: JupyterHubSettings) -> Caller:
    """Who this is to us.

    raises  PermissionDenied, naming the scope or group that is missing and who can give it
    """
    name, scopes = _name(model), _texts(model.get("scopes"))
    groups, is_admin = _texts(model.get("groups")), settings.hub_admins and model.get("admin") is True
    if settings.require_scope and place.scope not in scopes and "access:services" not in scopes:
        raise _lacks_scope(name, place, knows_scopes="scopes" in model)
    if not is_user_name(name):
        raise PermissionDenied(
            f"the hub's user {name!r} has a name that cannot be used here",
            hint="Names of up to 128 letters, digits and . _ @ + - : | and blanks can, not starting with a sign.",
        )
    known = tuple(group for group in groups if is_user_name(group))
    wanted = None if is_admin or model.get("kind") == "service" else settings.allowed_groups
    if wanted is not None and not set(wanted) & set(groups):
        raise PermissionDenied(
            f"{name} is in none of the groups that may use Dask here: {', '.join(wanted)}",
            hint="An administrator of the hub puts users into groups.",
        )
    return Caller(
        name,
        is_admin=is_admin or bool(set(settings.admin_groups) & set(groups)),
        groups=known,
        notebook=_notebook(scopes),
    )


def running(servers: Mapping[str, Any], user: str) -> dict[str, str]:
    """The servers that a hub tells of, as in `Caller.notebook`, with what tells one run from the next.

    One that is being stopped does not run: nothing but its end can follow.
    """
    alive = {name: server for name, server in servers.items() if isinstance(server, Mapping)}
    return {
        f"{user}/{name}": str(server.get("started"))
        for name, server in alive.items()
        if not server.get("stopped") and server.get("pending") != "stop"
    }


def _name(model: Mapping[str, Any]) -> str:
    """A user's name, and `service:NAME` for a service, which is somebody else than a user of that name."""
    kind, name = str(model.get("kind", "user")), str(model["name"])
    return name if kind == "user" and ":" not in name else f"{kind}:{name}"


def _notebook(scopes: Sequence[str]) -> str:
    """The one server that the token opens; empty where it opens none, or several, as a token made by hand does."""
    servers = {scope.removeprefix(_SERVER) for scope in scopes if scope.startswith(_SERVER)}
    wider = any(scope.startswith("access:servers") and not scope.startswith(_SERVER) for scope in scopes)
    return servers.pop() if len(servers) == 1 and not wider else ""


def _lacks_scope(name: str, place: Place, *, knows_scopes: bool) -> PermissionDenied:
    if not knows_scopes:
        return PermissionDenied(
            "this JupyterHub says nothing of scopes, as hubs before 2.0 did",
            hint="An administrator can upgrade it, or set authenticator.jupyterhub.require_scope to false.",
        )
    return PermissionDenied(
        f"the token of {name} lacks the scope {place.scope}",
        hint="The hub's administrator gives it to the roles `user` and `server`; then start your notebook server anew.",
        details={"scope": place.scope},
    )


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()
