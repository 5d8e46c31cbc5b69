"""Rules of the move for who comes in, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .symbols import Opaque

if TYPE_CHECKING:
    from .gateway import Migration, Old


def write(migration: Migration) -> None:
    """Which authenticator, with what belongs to it."""
    kind = migration.take("gateway.auth.type", "DaskGateway.authenticator_class")
    named = str(kind.value if kind and not isinstance(kind.value, Opaque) else kind.value.source if kind else "simple")
    where = kind.where if kind else None
    if "upyter" in named:
        _jupyterhub(migration, kind)
    elif named == "simple" or "SimpleAuthenticator" in named:
        password = migration.take("gateway.auth.simple.password", "SimpleAuthenticator.password")
        if password is not None and isinstance(password.value, str):
            migration.settings.set("authenticator.kind", "basic", str(password.where))
            migration.carry(password, "authenticator.basic.password")
            migration.report.add(
                "decide",
                "one password for everybody: people can pass for one another. authenticator.basic.users gives each "
                "their own",
                password.key,
                password.where,
            )
        else:
            migration.report.add(
                "wrong",
                "without a password every name was accepted, and only the network stood before it. Here a token is "
                "needed until you choose an authenticator: jupyterhub, or basic with authenticator.basic.users",
                "gateway.auth",
                where,
            )
    elif named != "custom" and "erberos" not in named:
        migration.report.add(
            "decide",
            f"a login of your own, {named}, is written for the old server: see authenticator.kind",
            kind.key if kind else "",
            where,
        )


def _jupyterhub(migration: Migration, kind: Old | None) -> None:
    migration.settings.set("authenticator.kind", "jupyterhub", str(kind.where) if kind else "")
    where = kind.where if kind else None
    service = migration.take(
        "gateway.auth.jupyterhub.jupyterhubServiceName", "JupyterHubAuthenticator.jupyterhub_service_name"
    )
    if service is None or not service.value:
        migration.report.add(
            "wrong",
            "without jupyterhubServiceName any token of the hub could start clusters, whatever it was made for. Here a "
            "token needs the scope access:services!service=dask-gateway: give it to the hub's roles 'user' and "
            "'server'; require_scope: false is as before",
            "gateway.auth.jupyterhub",
            where,
        )
    migration.report.add(
        "changes",
        "dask-gateway read who is an administrator and never used it; here the hub's administrators see and stop "
        "everybody's clusters: authenticator.jupyterhub.hub_admins",
        "gateway.auth.jupyterhub",
        where,
    )
    _token(migration)


def _token(migration: Migration) -> None:
    """The token of our service at the hub: from the Secret that it stood in, never in clear."""
    old = migration.take("gateway.auth.jupyterhub.apiToken", "JupyterHubAuthenticator.jupyterhub_api_token")
    if old and old.value:
        migration.report.add(
            "decide",
            "the hub's token stands there in clear, and is not carried over: put it into a Secret, and that into the "
            "server's environment (server.env of the chart) as JUPYTERHUB_API_TOKEN",
            old.key,
            old.where,
        )
    elif migration.charted:
        name, key = (migration.take(f"gateway.auth.jupyterhub.apiTokenFromSecret{what}") for what in ("Name", "Key"))
        reference = {
            "name": name.value if name else "hub",
            "key": key.value if key else "hub.services.dask-gateway.apiToken",
        }
        token = {"name": "JUPYTERHUB_API_TOKEN", "valueFrom": {"secretKeyRef": reference}}
        before = migration.take("gateway.env")
        env = [*(before.value if before and isinstance(before.value, list) else []), token]
        migration.chart.set("server.env", env, str(name.where) if name else "as dask-gateway's chart did")
