"""JupyterHub's half of a deployment, where it stands in the same values: what stays, what goes, what is amiss."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from .report import Report
from .sources import Place, Values

_ALIAS = re.compile(r"//(traefik-[a-z0-9-]+)")
_NOT_NEEDED = {
    "DASK_GATEWAY__PROXY_ADDRESS": "not needed: the server tells clients where Dask's traffic goes",
    "DASK_GATEWAY__PUBLIC_ADDRESS": "not needed: the server knows its links; listen.public_url where it cannot",
}


def hub_glue(values: Values, report: Report) -> list[str]:
    """Say what becomes of services, roles and variables that hubs carry for dask-gateway.

    Gives names of services by which notebooks reach the old proxy: `traefik-prod-dask-gateway`.
    """
    aliases: list[str] = []
    for place, hub in _hubs(values.data, ()):
        single = hub.get("singleuser")
        variables = single.get("extraEnv") if isinstance(single, Mapping) else None
        for name, value in variables.items() if isinstance(variables, Mapping) else ():
            aliases += _ALIAS.findall(value) if isinstance(value, str) else []
            _variable(name, (*place, "singleuser", "extraEnv", name), values, report)
        inner = hub.get("hub")
        if isinstance(inner, Mapping):
            _services(inner, (*place, "hub"), values, report)
    return aliases


def _hubs(data: Any, place: Place) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    if not isinstance(data, Mapping) or len(place) > 3:
        return
    if "singleuser" in data or isinstance(data.get("hub"), Mapping):
        yield place, data
        return
    for name, value in data.items():
        yield from _hubs(value, (*place, str(name)))


def _variable(name: str, place: Place, values: Values, report: Report) -> None:
    where, shown = values.places.get(place), ".".join(place)
    if name in _NOT_NEEDED:
        report.add("dropped", _NOT_NEEDED[name], shown, where)
    elif name == "DASK_GATEWAY__ADDRESS":
        report.add("maps", "stays: old clients and ours read it", shown, where)
    elif name.startswith("DASK_GATEWAY__CLUSTER__OPTIONS__"):
        report.add("maps", "stays: defaults of options, {VARIABLES} filled in, for old clients and ours", shown, where)
    elif (name.startswith(("DASK_GATEWAY_", "DASK_DISTRIBUTED_")) and "DASHBOARD_LINK" in name) or (
        name.startswith("DASK_GATEWAY_") and "__" not in name
    ):
        report.add(
            "wrong",
            "Dask takes two underscores for a dot, and one for part of a name: this variable says nothing to it",
            shown,
            where,
        )


def _services(hub: Mapping[str, Any], place: Place, values: Values, report: Report) -> None:
    services, roles = hub.get("services"), hub.get("loadRoles")
    if isinstance(services, Mapping) and "dask-gateway" in services:
        where = values.places.get((*place, "services", "dask-gateway"))
        report.add(
            "maps",
            "the service keeps its name and its path; only its url is another one",
            ".".join((*place, "services", "dask-gateway")),
            where,
        )
    granted = {
        str(role)
        for role, settings in (roles.items() if isinstance(roles, Mapping) else ())
        if isinstance(settings, Mapping) and _opens(settings.get("scopes"))
    }
    if granted and not {"user", "server"} <= granted:
        missing = " and ".join(sorted({"user", "server"} - granted))
        report.add(
            "wrong",
            f"the role {missing} lacks access:services!service=dask-gateway; without 'server' notebooks are refused, "
            "without 'user' people are",
            ".".join((*place, "loadRoles")),
            values.places.get((*place, "loadRoles")),
        )


def _opens(scopes: Any) -> bool:
    """Whether these scopes let somebody in at the gateway."""
    return isinstance(scopes, list) and any(
        "service=dask-gateway" in str(each) or each == "access:services" for each in scopes
    )
