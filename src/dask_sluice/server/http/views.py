"""Records as the API shows them: pure, one function for each view in `wire/api.py`."""

from __future__ import annotations

from ...wire.api import AdaptiveView, ClusterView, EventView, LeaseView, ReasonView, WorkerCounts, WorkerView
from ...wire.names import DASHBOARD_PATH, TUNNEL_PATH, server_name
from ...wire.reasons import Reason
from ...wire.states import ClusterState, WorkerState
from ..model import ClusterRecord, Event, WorkerRecord
from ..policy.variables import left_out
from ..reconcile_budget import budget_notice


def cluster_view(record: ClusterRecord) -> ClusterView:
    """One cluster."""
    adaptive, budget = record.wanted.adaptive, budget_notice(record.budget)
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
        lease=lease_view(record),
        budget=reason_view(budget) if budget and record.state.is_active else None,
        notes=(left_out(record.spec.left_out).sentence,) if record.spec.left_out else (),
        image=record.spec.image,
        environment=record.spec.environment,
        versions=record.scheduler.versions,
    )


def lease_view(record: ClusterRecord) -> LeaseView:
    """When it will end. That of an idle or lonely cluster is told once it is near, by `notice`."""
    terms, lease = record.spec.lease, record.lease
    born, notice = record.started_at, lease.notice
    age_ends = born + terms.age_s + lease.extended_s if terms.age_s and born is not None else None
    known = [at for at in (age_ends, notice.details.get("at") if notice else None) if at is not None]
    return LeaseView(
        idle_s=terms.idle_s,
        absent_s=terms.absent_s,
        ends_at=min(known, default=None) if record.state.is_active else None,
        kept_until=lease.kept_until or None,
        presence_every_s=max(1.0, min(terms.absent_s / 3, 60.0)) if terms.absent_s else 0.0,
        notice=reason_view(notice) if notice and record.state.is_active else None,
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
        group=record.group,
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
        hint=event.reason.hint,
    )


def reason_view(reason: Reason) -> ReasonView:
    """Why something is as it is."""
    return ReasonView(str(reason.code), reason.sentence, reason.hint)
