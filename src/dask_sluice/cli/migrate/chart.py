"""Rules of the move for the chart's own values: what runs where, and how it is reached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .gateway import Migration


def finish(migration: Migration) -> None:
    """What the table cannot say of one key alone."""
    chart, report = migration.chart, migration.report
    _dask_port(migration)
    _pull_secrets(migration)
    if chart.get("server.placement") and chart.get("server.placement") == chart.get("proxy.placement"):
        chart.move(("server", "placement"), ("placement",))
        chart.remove("proxy.placement")
    if migration.take("traefik.service.type") is None:
        report.add(
            "wrong",
            "was never set, and by default opened a LoadBalancer: a second public door beside the hub's. Here it is "
            "ClusterIP",
            "traefik.service.type",
        )
    if (replicas := chart.get("server.replicas")) and replicas != 1:
        report.add("decide", "several servers share a PostgreSQL: config.database.url", "server.replicas")
    if migration.aliases:
        chart.set("service.aliases", list(migration.aliases), "by which notebooks know the old proxy")
    report.add(
        "changes",
        "network policies come with the chart: schedulers and workers reach their own cluster and the internet, but no "
        "private networks (databases, object stores of the site) until networkPolicy.egress.privateNetworks says so",
        "networkPolicy",
    )


def _dask_port(migration: Migration) -> None:
    old = migration.take("traefik.service.ports.tcp.port")
    if old is None or old.value in ("web", None):
        return
    service: dict[str, Any] = {
        "enabled": True,
        "port": old.value,
        "type": migration.chart.get("service.type", "LoadBalancer"),
    }
    if annotations := migration.chart.get("service.annotations"):
        service["annotations"] = annotations
    migration.chart.set("service.dask", service, str(old.where))
    migration.report.add("maps", "-> service.dask: a Service of its own for Dask's traffic", old.key, old.where)


def _pull_secrets(migration: Migration) -> None:
    """`[{name: x}]` and `[x]` are both in use."""
    old = migration.take("gateway.imagePullSecrets")
    if old is None or not isinstance(old.value, list) or not old.value:
        return
    names = [each.get("name") if isinstance(each, dict) else each for each in old.value]
    migration.chart.set("imagePullSecrets", names, str(old.where))
    migration.report.add("maps", "-> imagePullSecrets, for our image", old.key, old.where)
