"""What a cluster should do next: a pure function of what is wanted, what is kept and what is seen.

No await, no clock, no logging, no randomness: the loop brings the facts, writes the record and acts.
Here is decided when a cluster is started, given up and ended; workers are next door in `reconcile_workers`, the
ends of its lease in `reconcile_lease`. A step taken twice decides nothing new the second time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ..wire.durations import span
from ..wire.reasons import Reason, ReasonCode
from ..wire.states import ClusterState, WorkerState
from .backends.protocol import JobState, Seen
from .decision import Decision, Draft, Fact, Remove, Rules, Submit, plain
from .endings import closed_by_client, lines_of_living, why_scheduler_ended
from .model import ClusterRecord, Observation, WorkerRecord
from .reconcile_budget import end_if_overspent
from .reconcile_lease import end_if_lease_is_over, see_clients
from .reconcile_workers import scale_workers, see_workers, start_limit_s, stop_workers, tell_who_waits


def reconcile(
    record: ClusterRecord,
    observation: Observation,
    now: float,
    rules: Rules | None = None,
    facts: Sequence[Fact] = (),
) -> Decision:
    """The next record, the events that tell of it, what to do, and when to look again."""
    draft = Draft(record, observation, now, rules or Rules())
    for fact in facts:
        fact(draft)
    if not draft.record.state.is_final:
        _see_scheduler(draft)
        _see_link(draft)
        _see_arrival(draft)
        see_workers(draft)
        see_clients(draft)
        _end_if_due(draft)
        _take_step(draft)
        tell_who_waits(draft)
        _remove_jobs(draft)
        _finish(draft)
    _forget_ended_workers(draft)
    return draft.decision()


def _see_scheduler(draft: Draft) -> None:
    """Note when the scheduler's job runs and where, or that it is over."""
    scheduler = draft.record.scheduler
    look = draft.seen.jobs.get(scheduler.job.job_id)
    if draft.seen.silence is not None and draft.record.state is ClusterState.STARTING:
        _tell_what_it_waits_for(draft, draft.seen.silence)
        return
    if look is None or not scheduler.job.is_out_there:
        return
    if look.state is JobState.ENDED:
        state = draft.record.state
        draft.end(why_scheduler_ended(state, look), failed=not closed_by_client(state, look))
        return
    if look.host and look.host != scheduler.host:
        scheduler = draft.set_scheduler(host=look.host)
    if look.state is JobState.STARTING and scheduler.job.placed_at is None:
        scheduler = draft.set_scheduler(job=replace(scheduler.job, placed_at=draft.now))
    if look.state in (JobState.PENDING, JobState.STARTING) and draft.record.state is ClusterState.STARTING:
        _see_waiting(draft, look)
    if look.state is JobState.RUNNING and scheduler.job.running_at is None:
        draft.set_scheduler(job=scheduler.job.running(draft.now))
        if draft.record.state is ClusterState.STARTING:
            reason = Reason(ReasonCode.SCHEDULER_CONNECTING)
            draft.set(reason=reason)
            draft.tell("scheduler", "scheduler", reason)


def _see_waiting(draft: Draft, look: Seen) -> None:
    """The backend says why it does not start the scheduler yet; told once for each cause."""
    before, reason = draft.record.reason, look.reason or Reason(ReasonCode.SCHEDULER_STARTING)
    if look.reason is None and before.code is ReasonCode.BACKEND_UNAVAILABLE:
        return
    if look.reason is not None:
        _tell_what_it_waits_for(draft, look.reason)
    elif reason != before:
        draft.set(reason=reason)


def _tell_what_it_waits_for(draft: Draft, reason: Reason) -> None:
    """Each cause is told once, though its words change."""
    before = draft.record.reason
    if reason != before:
        draft.set(reason=reason)
    if reason.code is not before.code:
        draft.tell("scheduler", "scheduler", reason)


def _see_link(draft: Draft) -> None:
    """Note where the scheduler listens; tell when its link is lost, and when it is back."""
    hello, scheduler = draft.seen.hello, draft.record.scheduler
    if hello is not None:
        ports = (hello.scheduler_port, hello.dashboard_port)
        if scheduler.linked_at is None or ports != (scheduler.port, scheduler.dashboard_port):
            draft.set_scheduler(
                linked_at=scheduler.linked_at or draft.now,
                port=hello.scheduler_port,
                dashboard_port=hello.dashboard_port,
                versions=hello.versions,
            )
            if scheduler.linked_at is None and draft.record.state is ClusterState.RUNNING:
                draft.tell("scheduler", "scheduler", Reason(ReasonCode.SCHEDULER_LINK_BACK))
    elif scheduler.linked_at is not None and draft.record.state is ClusterState.RUNNING:
        since = draft.seen.unlinked_since
        if since is not None and draft.passed(since + draft.rules.link_grace_s):
            draft.set_scheduler(linked_at=None)
            draft.tell("scheduler", "scheduler", Reason(ReasonCode.SCHEDULER_LINK_LOST))


def _see_arrival(draft: Draft) -> None:
    """The scheduler called home, and the backend says where it is: clients can connect."""
    record = draft.record
    arrived = draft.seen.hello is not None and bool(record.scheduler.host)
    if arrived and record.state is ClusterState.STARTING and record.wanted.stop is None:
        draft.set_scheduler(job=record.scheduler.job.running(draft.now))
        draft.set(started_at=draft.now)
        draft.change_cluster(ClusterState.RUNNING, Reason(ReasonCode.RUNNING))


def _end_if_due(draft: Draft) -> None:
    """Every limit in time on a whole cluster."""
    record = draft.record
    if record.wanted.stop is not None:
        return
    end_if_overspent(draft)
    if record.state in (ClusterState.PENDING, ClusterState.STARTING):
        _end_if_start_takes_too_long(draft)
    elif record.state is ClusterState.RUNNING:
        end_if_lease_is_over(draft)
        since = draft.seen.unlinked_since
        if since is not None and draft.passed(since + draft.rules.link_limit_s):
            how = f"it has not been in touch for {span(draft.rules.link_limit_s)}"
            draft.end(plain(ReasonCode.SCHEDULER_ENDED, how=how), failed=True)


def _end_if_start_takes_too_long(draft: Draft) -> None:
    record, job = draft.record, draft.record.scheduler.job
    look = draft.seen.jobs.get(job.job_id)
    if not record.grant.scheduler:
        return  # waiting for room under the limits
    since = job.running_at or job.placed_at or job.submitted_at or record.granted_at or record.created_at
    # A server that was away neither started it nor could hear it: that time does not count.
    since = max(since, draft.seen.unlinked_since or 0.0)
    limit_s = start_limit_s(draft, look, record.spec.start_timeout_s)
    if limit_s == math.inf or not draft.passed(since + limit_s):
        return
    if draft.seen.silence is not None:
        draft.end(draft.seen.silence, failed=True)
    elif look is not None and look.reason is not None and look.state is not JobState.RUNNING:
        draft.end(look.reason, failed=True)
    elif record.reason.code is ReasonCode.QUOTA_EXCEEDED:
        draft.end(record.reason, failed=True)
    elif (lines := lines_of_living(draft, job, since + limit_s)) is not None:
        silent = record.reason.code is ReasonCode.BACKEND_UNAVAILABLE
        phase = f"{record.phase}; {record.reason.sentence}" if silent else record.phase
        reason = plain(ReasonCode.SCHEDULER_START_TIMEOUT, limit_s=limit_s, phase=phase, last_lines=lines)
        draft.end(reason, failed=True)


def _take_step(draft: Draft) -> None:
    """Move towards what is wanted."""
    record = draft.record
    if record.wanted.stop is not None:
        if record.state is not ClusterState.STOPPING:
            draft.change_cluster(ClusterState.STOPPING, record.wanted.stop)
        stop_workers(draft)
    elif record.state is ClusterState.PENDING and record.grant.scheduler:
        draft.act(Submit(record.scheduler.job.job_id))
        _tell_of_a_long_submit(draft)
    elif record.state is ClusterState.RUNNING:
        scale_workers(draft)


def _tell_of_a_long_submit(draft: Draft) -> None:
    record = draft.record
    since = record.granted_at or record.created_at
    if record.reason.code is ReasonCode.CREATED and draft.passed(since + draft.rules.silent_s):
        reason = Reason(ReasonCode.SCHEDULER_SUBMITTING)
        draft.set(reason=reason)
        draft.tell("scheduler", "scheduler", reason)


def _remove_jobs(draft: Draft) -> None:
    """Ask for the removal of every job that is out there and should not be; the scheduler goes last."""
    record = draft.record
    for worker in record.workers:
        if worker.state is WorkerState.STOPPING or worker.state.is_final:
            _remove(draft, worker.job.job_id, out_there=worker.job.is_out_there)
    workers_gone = not any(worker.job.is_out_there for worker in record.workers)
    if record.state is ClusterState.STOPPING and workers_gone:
        _remove(draft, record.scheduler.job.job_id, out_there=record.scheduler.job.is_out_there)


def _remove(draft: Draft, job_id: str, *, out_there: bool) -> None:
    if out_there and job_id not in draft.seen.submitting:
        draft.act(Remove(job_id))


def _finish(draft: Draft) -> None:
    """A stopping cluster has ended once nothing of it is out there or on its way."""
    record = draft.record
    if record.state is not ClusterState.STOPPING or record.wanted.stop is None:
        return
    if any(job.is_out_there or job.job_id in draft.seen.submitting for job in record.jobs):
        return
    if not all(worker.state.is_final for worker in record.workers):
        return
    draft.set(ended_at=draft.now)
    draft.change_cluster(ClusterState.FAILED if record.wanted.failed else ClusterState.STOPPED, record.wanted.stop)


def _forget_ended_workers(draft: Draft) -> None:
    """Keep the last few ended workers only, so that a step's cost does not grow with history.

    One that ended in this very step stays for one more: the store writes what became of it off the record.
    """
    ended = [w for w in draft.record.workers if w.state.is_final and not w.job.is_out_there]
    surplus = len(ended) - draft.rules.ended_workers_kept
    if surplus > 0:
        oldest = sorted(ended, key=_over_since)[:surplus]
        gone = {worker.name for worker in oldest if _over_since(worker) < draft.now}
        draft.set(workers=tuple(w for w in draft.record.workers if w.name not in gone))


def _over_since(worker: WorkerRecord) -> float:
    return max(worker.ended_at or 0.0, worker.job.ended_at or 0.0)
