"""What the client tells of clusters: a `ClusterReport` per cluster, made from the server's view of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ..wire.api import ClusterView
from ..wire.states import ClusterState


@dataclass(frozen=True)
class ClusterReport:
    """One cluster. Times are aware, in UTC; `reason` says why it is in its state."""

    name: str
    options: Mapping[str, Any]
    status: ClusterState
    reason: str
    workers: int
    wanted_workers: int
    start_time: datetime
    stop_time: datetime | None
    dashboard_link: str | None

    @classmethod
    def of(cls, view: ClusterView, base_url: str) -> ClusterReport:
        return cls(
            name=view.name,
            options=view.options,
            status=view.state,
            reason=view.reason.sentence,
            workers=view.workers.running,
            wanted_workers=view.workers.wanted,
            start_time=_utc(view.created_at),
            stop_time=None if view.ended_at is None else _utc(view.ended_at),
            dashboard_link=view.dashboard_path and base_url + view.dashboard_path,
        )


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
