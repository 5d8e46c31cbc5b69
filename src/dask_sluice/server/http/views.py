"""Records as the API shows them: pure, one function for each view in `wire/api.py`."""

from __future__ import annotations

from ...wire.api import AdaptiveView, ClusterView, EventView, ReasonView, WorkerCounts, WorkerView
from ...wire.names import DASHBOARD_PATH, TUNNEL_PATH, server_name
from ...wire.reasons import Reason
from ...wire.states import ClusterState, WorkerState
from ..model import ClusterRecord, Event, WorkerRecord


def cluster_view(record: ClusterRecord) -> ClusterView:
    """One cluster."""
    adaptive = record.wanted.adaptive
    has_dashboard = record.state is ClusterState.RUNNING and record.scheduler.dashboard_port is not None
    return ClusterView(
        name=record.name,
        owner=record.spec.owner,
        state=record.state,
        phase=record.phase,
        reason=reason_view(record.reason),
        version=record.version,
        options=record.spec.options,
        workers=worker_counts(record),
        adaptive=AdaptiveView(adaptive.minimum, adaptive.maximum) if adaptive else None,
        created_at=record.created_at,
        started_at=record.started_at,
        ended_at=record.ended_at,
        dashboard_path=DASHBOARD_PATH.format(name=record.name) if has_dashboard else None,
        tunnel_path=TUNNEL_PATH.format(name=record.name),
        server_name=server_name(record.name),
    )


def worker_counts(record: ClusterRecord) -> WorkerCounts:
    """How many workers are wanted and where they are; an ending cluster wants none."""
    states = [worker.state for worker in record.workers]
    return WorkerCounts(
        wanted=record.wanted.workers if record.state.is_active else 0,
        starting=states.count(WorkerState.PENDING) + states.count(WorkerState.STARTING),
        running=states.count(WorkerState.RUNNING),
        retiring=states.count(WorkerState.RETIRING) + states.count(WorkerState.STOPPING),
    )


def worker_view(record: WorkerRecord) -> WorkerView:
    """One worker."""
    return WorkerView(
        name=record.name,
        state=record.state,
        reason=reason_view(record.reason),
        host=record.host,
        created_at=record.created_at,
        ended_at=record.ended_at,
        restarts=record.restarts,
    )


def event_view(event: Event) -> EventView:
    """One event."""
    return EventView(
        id=event.id,
        time=event.time,
        cluster=event.cluster,
        subject=event.subject,
        kind=event.kind,
        code=str(event.reason.code),
        sentence=event.reason.sentence,
        details=dict(event.reason.details),
    )


def reason_view(reason: Reason) -> ReasonView:
    """Why something is as it is."""
    return ReasonView(str(reason.code), reason.sentence, reason.hint)
