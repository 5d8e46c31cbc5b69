"""What happens to a cluster and cannot be seen again by looking: facts, written once.

Each changes a draft; `reconcile` then decides what follows. Whatever can be looked up at any time is not
here but in the `Observation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..wire.reasons import Reason, ReasonCode
from ..wire.states import ClusterState, WorkerState
from .backends.protocol import Handle
from .decision import Draft, plain
from .model import Adaptive, Grant, JobRecord, WorkerRecord

QUEUED = (ReasonCode.QUEUED, ReasonCode.WORKERS_QUEUED, ReasonCode.QUEUED_FOR_TURN)
NOTHING_SAID = (ReasonCode.CREATED, ReasonCode.RUNNING)
"""Reasons in place of which people are better told for what their cluster waits."""


def granted(draft: Draft, grant: Grant) -> None:
    """The limits have room for this much; never more than is still wanted."""
    record = draft.record
    if record.wanted.stop is not None:
        return
    workers = min(max(grant.workers, record.grant.workers), record.wanted.workers)
    draft.set(
        grant=Grant(grant.scheduler or record.grant.scheduler, workers), granted_at=record.granted_at or draft.now
    )
    if record.reason.code in QUEUED:
        code = ReasonCode.RUNNING if record.state is ClusterState.RUNNING else ReasonCode.CREATED
        draft.set(reason=Reason(code))


def queued(draft: Draft, reason: Reason) -> None:
    """It waits for room; told when the limit is another one, shown anew when only its place has changed."""
    record = draft.record
    wants_workers = record.state is ClusterState.RUNNING and record.grant.workers < record.wanted.workers
    if record.wanted.stop is not None or not (wants_workers or record.state is ClusterState.PENDING):
        return
    if record.reason.code not in (*QUEUED, *NOTHING_SAID):
        return  # it waits for something worse
    before = record.reason
    if (before.code, before.details.get("limit")) != (reason.code, reason.details.get("limit")):
        draft.tell("cluster", "cluster", reason)
    draft.set(reason=reason)


def handle_saved(draft: Draft, handle: Handle) -> None:
    """The backend created something for a job; from now on it is known, and will be removed."""
    job = _job(draft, handle.job_id)
    if job is None or handle in job.handles:
        return
    # A job that was removed and now has a handle again is out there again.
    job = replace(job, handles=(*job.handles, handle), submitted_at=job.submitted_at or draft.now, ended_at=None)
    draft.set_job(job)
    if draft.record.reason.code in (ReasonCode.BACKEND_UNAVAILABLE, ReasonCode.QUOTA_EXCEEDED):
        settle_reason(draft)
    if job.job_id == draft.record.scheduler.job.job_id:
        if draft.record.state is ClusterState.PENDING:
            draft.change_cluster(ClusterState.STARTING, Reason(ReasonCode.SCHEDULER_STARTING))
    elif (worker := _worker(draft, job.job_id)) and worker.state is WorkerState.PENDING:
        draft.change_worker(worker, WorkerState.STARTING, Reason(ReasonCode.WORKER_STARTING))


def submit_refused(draft: Draft, job_id: str, backend: str, message: str, reason: Reason | None = None) -> None:
    """The backend will not start this job, whatever we do."""
    worker = _worker(draft, job_id)
    what = worker.name if worker else "the scheduler"
    reason = reason or plain(ReasonCode.BACKEND_REFUSED, backend=backend, what=what, message=message)
    if worker is None:
        draft.end(reason, failed=True)
    elif worker.state is WorkerState.PENDING:
        count_failure(draft, worker)
        draft.change_worker(worker, WorkerState.FAILED, reason)
    elif worker.state is WorkerState.STARTING:  # refused half-way: what was made of it is removed first
        count_failure(draft, worker)
        draft.change_worker(worker, WorkerState.STOPPING, reason)


def backend_silent(draft: Draft, backend: str, message: str, reason: Reason | None = None) -> None:
    """The backend does not answer, or has no room just now; told once, until it does again."""
    reason = reason or plain(ReasonCode.BACKEND_UNAVAILABLE, backend=backend, message=message)
    if draft.record.reason.code is not reason.code and not draft.record.state.is_final:
        draft.set(reason=reason)
        draft.tell("cluster", "cluster", reason)


def settle_reason(draft: Draft) -> None:
    """Take back what a running cluster was waiting for."""
    if draft.record.state is ClusterState.RUNNING and draft.record.reason.code is not ReasonCode.RUNNING:
        draft.set(reason=Reason(ReasonCode.RUNNING))


def job_removed(draft: Draft, job_id: str) -> None:
    """Every handle of the job is gone."""
    job = _job(draft, job_id)
    if job is None or job.ended_at is not None:
        return
    draft.set_job(replace(job, ended_at=draft.now))


def wished(draft: Draft, count: int, why: str) -> None:
    """Adaptive scaling asks for this many workers; its bounds are the user's, cut by the limit."""
    wanted = draft.record.wanted
    if wanted.adaptive is None or wanted.stop is not None or draft.record.state is not ClusterState.RUNNING:
        return
    count = within(count, wanted.adaptive, draft.record.spec.max_workers)
    if count == wanted.workers:
        return
    code = ReasonCode.ADAPTIVE_UP if count > wanted.workers else ReasonCode.ADAPTIVE_DOWN
    draft.set(wanted=replace(wanted, workers=count))
    draft.tell("cluster", "scaling", plain(code, count=count, before=wanted.workers, why=why))


def within(count: int, adaptive: Adaptive, limit: int) -> int:
    """The count, inside the bounds and under the limit."""
    return min(max(count, adaptive.minimum), adaptive.maximum, limit)


def agent_said(draft: Draft, subject: str, code: ReasonCode, details: Mapping[str, Any]) -> None:
    """The agent told of something that happened to the scheduler or a worker."""
    worker = next((w for w in draft.record.workers if w.name == subject), None)
    if worker is None and subject != "scheduler":
        return
    reason = Reason(code, details)
    draft.tell(subject, "worker" if worker else "scheduler", reason)
    if worker is not None and not worker.state.is_final:
        restarts = worker.restarts + (code is ReasonCode.WORKER_RESTARTED)
        draft.set_worker(replace(worker, restarts=restarts, reason=reason))


def server_restarted(draft: Draft) -> None:
    """The server has just started and found the cluster on its books."""
    if draft.record.state is ClusterState.RUNNING:
        draft.set_scheduler(linked_at=None)
        draft.tell("cluster", "cluster", Reason(ReasonCode.SERVER_RESTARTED))


def server_changed(draft: Draft) -> None:
    """Another server worked on the cluster until now."""
    if draft.record.state is ClusterState.RUNNING:
        draft.tell("cluster", "cluster", Reason(ReasonCode.SERVER_CHANGED))


def count_failure(draft: Draft, worker: WorkerRecord) -> None:
    """A worker failed. Only one that never stayed counts: a machine lost after a day is no loop."""
    if stayed(draft, worker):
        return
    last = draft.record.last_failure_at or 0.0
    others = (w for w in draft.record.workers if w.connected_at is not None and w.connected_at > last)
    failures = 1 if any(stayed(draft, w) for w in others) else draft.record.worker_failures + 1
    draft.set(worker_failures=failures, last_failure_at=draft.now)


def stayed(draft: Draft, worker: WorkerRecord) -> bool:
    """Whether the worker was connected long enough to say that starting it worked."""
    end = worker.ended_at or draft.now
    return worker.connected_at is not None and end - worker.connected_at >= draft.rules.settled_after_s


def _job(draft: Draft, job_id: str) -> JobRecord | None:
    return next((job for job in draft.record.jobs if job.job_id == job_id), None)


def _worker(draft: Draft, job_id: str) -> WorkerRecord | None:
    return next((worker for worker in draft.record.workers if worker.job.job_id == job_id), None)
