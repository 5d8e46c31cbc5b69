"""Clusters in the words of the page: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ....wire.states import ClusterState
from ...model import ClusterRecord
from ..views import worker_counts

ENDED_SHOWN_S = 86400.0
ENDED_SHOWN = 8


@dataclass(frozen=True)
class Row:
    """One cluster as a line of the page."""

    name: str
    owner: str
    state: str
    reason: str
    hint: str
    workers: str
    workers_label: str
    time: str
    """ISO, for the script, which keeps the age fresh."""
    age: str
    dashboard: str | None
    can_stop: bool


def rows(records: Sequence[ClusterRecord], now: float) -> tuple[list[Row], list[Row]]:
    """Those that have not ended, and the latest of those that ended within a day."""
    living = [row(record, now) for record in records if not record.state.is_final]
    ended = [record for record in records if record.state.is_final and now - (record.ended_at or 0) < ENDED_SHOWN_S]
    ended.sort(key=lambda record: record.ended_at or 0, reverse=True)
    return living, [row(record, now) for record in ended[:ENDED_SHOWN]]


def row(record: ClusterRecord, now: float) -> Row:
    """One line."""
    counts = worker_counts(record)
    ended = record.state.is_final
    since = (record.ended_at if ended else None) or record.created_at
    has_dashboard = record.state is ClusterState.RUNNING and record.scheduler.dashboard_port is not None
    return Row(
        name=record.name,
        owner=record.spec.owner,
        state=str(record.state),
        reason=sentence(record),
        hint=record.reason.hint,
        workers="" if ended else f"{counts.running} / {counts.wanted}",
        workers_label=f"{counts.running} of {counts.wanted} workers running",
        time=datetime.fromtimestamp(since, UTC).isoformat(timespec="seconds"),
        age=age(now - since) + (" ago" if ended else ""),
        dashboard=f"/clusters/{record.name}/status" if has_dashboard else None,
        can_stop=record.state.is_active and record.wanted.stop is None,
    )


def sentence(record: ClusterRecord) -> str:
    """Why it is as it is; a running cluster with nothing to tell says how it is scaled."""
    if record.state is not ClusterState.RUNNING or str(record.reason.code) != "running":
        return record.reason.sentence
    if adaptive := record.wanted.adaptive:
        return f"adaptive, {adaptive.minimum} to {adaptive.maximum} workers"
    return ""


def age(seconds: float) -> str:
    """`40 s`, `5 min`, `3 h`, `2 d`: the greatest unit that fits."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"
