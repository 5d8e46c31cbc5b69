"""Records as dask-gateway's clients read them. They break on a key too many or too few: pure, and tested to the key."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ....wire.api import Credentials
from ....wire.errors import RequestInvalid
from ....wire.names import DASHBOARD_PATH
from ....wire.options import Option, OptionType
from ....wire.states import ClusterState
from ...model import ClusterRecord

STATUS: Mapping[ClusterState, str] = {
    ClusterState.PENDING: "PENDING",
    ClusterState.STARTING: "PENDING",
    ClusterState.RUNNING: "RUNNING",
    ClusterState.STOPPING: "STOPPING",
    ClusterState.STOPPED: "STOPPED",
    ClusterState.FAILED: "FAILED",
}
ACTIVE = "PENDING,RUNNING"


def states(statuses: str) -> list[ClusterState]:
    """Our states for a list such as `PENDING,RUNNING`.

    raises  RequestInvalid with dask-gateway's words
    """
    wanted = [part.strip().upper() for part in statuses.split(",")]
    for given, status in zip(statuses.split(","), wanted, strict=True):
        if status not in STATUS.values():
            raise RequestInvalid(f"{given.strip()!r} is not a valid ClusterStatus")
    return [state for state, status in STATUS.items() if status in wanted]


def option_json(option: Option) -> dict[str, Any]:
    """One option. Within `spec` no key may be added: the clients pass it on as keywords."""
    spec: dict[str, Any] = {"type": str(option.type)}
    if option.type is OptionType.INT:
        # The clients break on a bound of a whole number that is none itself, such as 1.0.
        spec |= {
            "min": None if option.minimum is None else math.ceil(option.minimum),
            "max": None if option.maximum is None else math.floor(option.maximum),
        }
    elif option.type is OptionType.FLOAT:
        spec |= {"min": option.minimum, "max": option.maximum}
    elif option.type is OptionType.SELECT:
        spec |= {"options": list(option.choices)}
    return {"field": option.name, "label": option.title, "default": option.default, "spec": spec}


def cluster_json(record: ClusterRecord, credentials: Credentials | None) -> dict[str, Any]:
    """One cluster; `credentials` where it is running, and the caller is to connect to it.

    The clients use `tls_cert` as their own certificate and as the authority's at once: their own comes first.
    """
    has_dashboard = record.state is ClusterState.RUNNING and record.scheduler.dashboard_port is not None
    return {
        "name": record.name,
        "dashboard_route": DASHBOARD_PATH.format(name=record.name) if has_dashboard else None,
        "status": STATUS[record.state],
        "start_time": int(record.created_at * 1000),
        "stop_time": None if record.ended_at is None else int(record.ended_at * 1000),
        "options": dict(record.spec.options),
        "tls_cert": credentials and credentials.certificate + credentials.ca_certificate,
        "tls_key": credentials and credentials.key,
    }


def scale_json(asked: int, record: ClusterRecord) -> dict[str, Any]:
    """The answer to a scale, with dask-gateway's sentence where the limit cut it."""
    limit = record.spec.max_workers
    if asked <= limit:
        return {"ok": True, "msg": None}
    return {
        "ok": False,
        "msg": f"Scale request of {asked} workers would exceed resource limit of {limit} workers. "
        f"Scaling to {limit} instead.",
    }


def adapt_json(minimum: int | None, maximum: int | None, record: ClusterRecord) -> dict[str, Any]:
    """The same for adaptive scaling."""
    limit = record.spec.max_workers
    least, most = minimum or 0, limit if maximum is None else maximum
    if max(least, most) <= limit:
        return {"ok": True, "msg": None}
    return {
        "ok": False,
        "msg": f"Adapt with `maximum={most}, minimum={least}` workers would exceed resource limit of {limit} workers. "
        f"Using `maximum={min(most, limit)}, minimum={min(least, limit)}` instead.",
    }
