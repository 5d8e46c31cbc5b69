"""Which workers a cluster should have: the part of reconcile that starts, retires and replaces them.

Pure, like all of reconcile. The order of giving up: first what costs nothing to lose (not submitted,
newest first), then what has not connected, then running workers with the least to lose.
"""

from __future__ import annotations

from dataclasses import replace

from ..wire.durations import span
from ..wire.reasons import TAKEN, Reason, ReasonCode
from ..wire.states import ClusterState, WorkerState
from .backends.protocol import JobState, Seen
from .decision import Draft, Submit, plain
from .endings import lines_of_living, why_worker_ended
from .facts import count_failure
from .model import JobRecord, WorkerLoad, WorkerRecord
from .reconcile_budget import within_budget

LIVING = (WorkerState.PENDING, WorkerState.STARTING, WorkerState.RUNNING)
ENDS_AS_FAILURE = (
    ReasonCode.BACKEND_REFUSED,
    ReasonCode.WORKER_START_TIMEOUT,
    ReasonCode.WORKER_LOST,
    ReasonCode.WORKER_CRASH_LOOP,
    ReasonCode.IMAGE_NOT_FOUND,
    ReasonCode.IMAGE_DENIED,
    ReasonCode.IMAGE_INVALID,
    ReasonCode.IMAGE_PULL_FAILED,
    ReasonCode.IMAGE_WITHOUT_DASK,
    ReasonCode.CONTAINER_CONFIG_INVALID,
    ReasonCode.CONTAINER_START_FAILED,
    ReasonCode.POD_SECURITY_REFUSED,
    ReasonCode.NODE_LOST,
)
BACKOFF_S = 0.5
BACKOFF_LIMIT_S = 30.0


def see_workers(draft: Draft) -> None:
    """Note what became of every worker."""
    for worker in draft.record.workers:
        if not worker.state.is_final:
            _see_worker(draft, worker)


def _see_worker(draft: Draft, worker: WorkerRecord) -> None:
    look = draft.seen.jobs.get(worker.job.job_id)
    if worker.state is WorkerState.STOPPING and worker.job.ended_at is not None:
        _end_stopping(draft, worker)
        return
    if look is not None and worker.job.is_out_there:
        worker = _note_place(draft, worker, look)
        if look.state is JobState.ENDED:
            _see_ended(draft, worker, look)
            return
    if worker.state is WorkerState.STARTING:
        _see_starting(draft, worker)
    elif worker.state is WorkerState.RUNNING:
        _see_running(draft, worker)
    elif worker.state is WorkerState.RETIRING:
        _see_retiring(draft, worker)


def _note_place(draft: Draft, worker: WorkerRecord, look: Seen) -> WorkerRecord:
    if look.state is JobState.STARTING and worker.job.placed_at is None:
        worker = draft.set_worker(replace(worker, job=replace(worker.job, placed_at=draft.now)))
    if look.state is JobState.RUNNING and worker.job.running_at is None:
        worker = draft.set_worker(replace(worker, job=worker.job.running(draft.now)))
        if worker.state is WorkerState.STARTING:  # what it waited for is over
            worker = draft.set_worker(replace(worker, reason=Reason(ReasonCode.WORKER_STARTING)))
    if look.host and look.host != worker.host:
        worker = draft.set_worker(replace(worker, host=look.host))
    return worker


def _see_ended(draft: Draft, worker: WorkerRecord, look: Seen) -> None:
    """Its job is over: as wanted, or by itself."""
    if worker.state is WorkerState.STOPPING:
        _end_stopping(draft, worker)
        return
    report = draft.seen.report
    closed = look.exit_code == 0 and worker.state is not WorkerState.STARTING
    retired = report is not None and worker.name in report.retired
    retiring = worker.state is WorkerState.RETIRING and (closed or look.exit_code is None)
    if retiring or (closed and retired):
        _stop(draft, worker, Reason(ReasonCode.WORKER_RETIRED))
    else:
        if not _was_taken(worker, look):
            count_failure(draft, worker)
        draft.change_worker(worker, WorkerState.FAILED, why_worker_ended(worker.state, look, _last_load(draft, worker)))


def _was_taken(worker: WorkerRecord, look: Seen) -> bool:
    """Whether it had connected and was then taken away: that says nothing about whether another would start."""
    return worker.connected_at is not None and look.reason is not None and look.reason.code in TAKEN


def _last_load(draft: Draft, worker: WorkerRecord) -> WorkerLoad | None:
    report = draft.seen.report
    return None if report is None else report.workers.get(worker.name) or report.left.get(worker.name)


def _end_stopping(draft: Draft, worker: WorkerRecord) -> None:
    failed = worker.reason.code in ENDS_AS_FAILURE
    draft.change_worker(worker, WorkerState.FAILED if failed else WorkerState.STOPPED, worker.reason)


def _see_starting(draft: Draft, worker: WorkerRecord) -> None:
    report = draft.seen.report
    if report is not None and worker.name in report.workers:
        # What has connected runs, and is charged, though the backend may not have been looked at since.
        worker = replace(worker, connected_at=draft.now, job=worker.job.running(draft.now))
        draft.change_worker(worker, WorkerState.RUNNING, Reason(ReasonCode.WORKER_CONNECTED))
        return
    look = draft.seen.jobs.get(worker.job.job_id)
    if look is not None and look.state in (JobState.PENDING, JobState.STARTING):
        worker = _see_waiting(draft, worker, look)
    queued = look is not None and look.state is JobState.PENDING
    since = worker.job.running_at or worker.job.placed_at or worker.job.submitted_at
    # Without the scheduler's report nobody can tell whether the worker has connected.
    if queued or since is None or report is None or not draft.seen.linked:
        return
    limit_s = start_limit_s(draft, look, draft.record.spec.worker_start_timeout_s)
    due = _known_since(draft, since) + limit_s
    if not draft.passed(due):
        return
    if look is not None and look.state is JobState.STARTING and look.reason is not None:
        count_failure(draft, worker)
        draft.change_worker(worker, WorkerState.STOPPING, look.reason)
    elif (lines := lines_of_living(draft, worker.job, due)) is not None:
        count_failure(draft, worker)
        phase = "starting" if worker.job.running_at is None else "connecting"
        reason = plain(ReasonCode.WORKER_START_TIMEOUT, limit_s=limit_s, phase=phase, last_lines=lines)
        draft.change_worker(worker, WorkerState.STOPPING, reason)


def start_limit_s(draft: Draft, look: Seen | None, connect_s: float) -> float:
    """How long the phase may take in which a starting job is: the backend's queue, its preparation, its own start."""
    if look is not None and look.state is JobState.PENDING:
        return draft.rules.queue_limit_s
    if look is not None and look.state is JobState.STARTING and not look.is_stuck:
        return max(connect_s, draft.rules.prepare_limit_s)
    return connect_s


def _see_waiting(draft: Draft, worker: WorkerRecord, look: Seen) -> WorkerRecord:
    """The backend says why it does not start this worker yet; told once for each cause."""
    reason = look.reason or Reason(ReasonCode.WORKER_STARTING)
    if look.reason is not None and reason.code is not worker.reason.code:
        draft.tell(worker.name, "worker", reason)
    return draft.set_worker(replace(worker, reason=reason)) if reason != worker.reason else worker


def tell_who_waits(draft: Draft) -> None:
    """A running cluster whose workers the backend does not start yet says so, and what the first of them waits for."""
    record = draft.record
    if record.state is not ClusterState.RUNNING or record.wanted.stop is not None:
        return
    waiting = [worker for worker in record.workers if _waits_for_backend(worker)]
    before = record.reason.code
    if waiting and before in (ReasonCode.RUNNING, ReasonCode.WORKERS_PENDING):
        first = waiting[0]
        count, why = len(waiting), first.reason.sentence
        reason = plain(ReasonCode.WORKERS_PENDING, count=count, name=first.name, why=why, cause=str(first.reason.code))
        if reason.details["cause"] != record.reason.details.get("cause"):
            draft.tell("cluster", "cluster", reason)
        draft.set(reason=reason)
    elif not waiting and before is ReasonCode.WORKERS_PENDING:
        draft.set(reason=Reason(ReasonCode.RUNNING))


def _waits_for_backend(worker: WorkerRecord) -> bool:
    starting = worker.state is WorkerState.STARTING and worker.job.running_at is None
    return starting and worker.reason.code is not ReasonCode.WORKER_STARTING


def _see_running(draft: Draft, worker: WorkerRecord) -> None:
    """A running worker that its scheduler no longer knows is restarting, retired by its user, or lost."""
    report = draft.seen.report
    if report is None or not draft.seen.linked:
        return
    if worker.name in report.workers:
        if worker.missing_since is not None:
            _tell_it_is_back(draft, draft.set_worker(replace(worker, missing_since=None)))
    elif worker.name in report.retired:
        draft.change_worker(worker, WorkerState.STOPPING, Reason(ReasonCode.WORKER_RETIRED))
    elif worker.missing_since is None:
        draft.set_worker(replace(worker, missing_since=draft.now))
        draft.wake(draft.now + draft.rules.silent_s)
    elif draft.passed(worker.missing_since + draft.rules.worker_missing_s):
        count_failure(draft, worker)
        how = f"the scheduler has not seen it for {span(draft.rules.worker_missing_s)}"
        look = draft.seen.jobs.get(worker.job.job_id)
        known = look.reason if look is not None else None
        draft.change_worker(worker, WorkerState.STOPPING, known or plain(ReasonCode.WORKER_LOST, how=how))
    elif draft.passed(worker.missing_since + draft.rules.silent_s):
        _tell_it_is_missing(draft, worker)


def _tell_it_is_missing(draft: Draft, worker: WorkerRecord) -> None:
    if worker.reason.code is ReasonCode.WORKER_CONNECTED:  # else its nanny has said what happened
        reason = plain(ReasonCode.WORKER_MISSING, limit_s=draft.rules.worker_missing_s)
        draft.set_worker(replace(worker, reason=reason))
        draft.tell(worker.name, "worker", reason)


def _tell_it_is_back(draft: Draft, worker: WorkerRecord) -> None:
    if worker.reason.code is ReasonCode.WORKER_MISSING:
        reason = Reason(ReasonCode.WORKER_CONNECTED)
        draft.set_worker(replace(worker, reason=reason))
        draft.tell(worker.name, "worker", reason)


def _see_retiring(draft: Draft, worker: WorkerRecord) -> None:
    """Retire before kill: end the process once its data is elsewhere, or once that takes too long."""
    report, rules = draft.seen.report, draft.rules
    if report is not None and draft.seen.linked and worker.name not in report.workers:
        draft.change_worker(worker, WorkerState.STOPPING, Reason(ReasonCode.WORKER_RETIRED))
        return
    since = worker.retiring_since or draft.now
    limit_s = rules.retire_s if draft.record.wanted.workers else rules.retire_last_s
    if draft.seen.unlinked_since is not None:
        since, limit_s = max(since, draft.seen.unlinked_since), rules.retire_unlinked_s
    if draft.passed(_known_since(draft, since) + limit_s):
        reason = plain(ReasonCode.WORKER_RETIRE_TIMEOUT, limit_s=limit_s)
        if not draft.record.wanted.workers:
            reason = Reason(ReasonCode.WORKER_SURPLUS)
        draft.change_worker(worker, WorkerState.STOPPING, reason)


def _known_since(draft: Draft, since: float) -> float:
    """That time, or when the scheduler's link was made: before, it could neither be told nor tell."""
    return max(since, draft.record.scheduler.linked_at or 0.0)


def scale_workers(draft: Draft) -> None:
    """Start or give up workers until as many live as are wanted."""
    living = [worker for worker in draft.record.workers if worker.state in LIVING]
    most = within_budget(draft, living)
    record = draft.record
    if record.grant.workers > most:
        record = draft.set(grant=replace(record.grant, workers=most))
    wanted = min(record.grant.workers, record.spec.max_workers)
    if len(living) > wanted:
        _give_up(draft, living, len(living) - wanted)
    elif len(living) < wanted:
        _start_workers(draft, wanted)
    for worker in draft.record.workers:
        if worker.state is WorkerState.PENDING:
            draft.act(Submit(worker.job.job_id))


def _start_workers(draft: Draft, wanted: int) -> None:
    record = draft.record
    # Workers on their way out still take room: one that failed its own place, a surplus one another.
    there = [worker for worker in record.workers if not worker.state.is_final]
    in_place = sum(not is_surplus(worker) for worker in there)
    if _keep_failing(draft):
        draft.set(grant=replace(record.grant, workers=in_place))
        return
    if not _backoff_over(draft):
        return
    count = min(wanted - in_place, record.spec.max_workers - len(there))
    for number in range(record.next_worker, record.next_worker + count):
        name = f"worker-{number}"
        worker = WorkerRecord(
            name=name,
            job=JobRecord(f"{record.name}-{name}"),
            state=WorkerState.PENDING,
            reason=Reason(ReasonCode.WORKER_STARTING),
            created_at=draft.now,
        )
        draft.set(workers=(*draft.record.workers, worker), next_worker=number + 1)


def is_surplus(worker: WorkerRecord) -> bool:
    """Whether a worker that has not ended was given up because fewer are wanted."""
    stopping = worker.state is WorkerState.STOPPING and worker.reason.code is ReasonCode.WORKER_SURPLUS
    return stopping or worker.retiring_since is not None


def _keep_failing(draft: Draft) -> bool:
    """Whether so many failed in a row that another try is pointless; said once, until someone scales."""
    record = draft.record
    if record.worker_failures < draft.rules.worker_failure_limit:
        return False
    if record.reason.code is not ReasonCode.WORKERS_KEEP_FAILING:
        failed = [worker for worker in record.workers if worker.state is WorkerState.FAILED]
        how = failed[-1].reason.sentence if failed else "?"
        reason = plain(ReasonCode.WORKERS_KEEP_FAILING, failures=record.worker_failures, how=how)
        draft.set(reason=reason)
        draft.tell("cluster", "cluster", reason)
    return True


def _backoff_over(draft: Draft) -> bool:
    """The first replacement comes at once; each further one waits twice as long."""
    failures, last = draft.record.worker_failures, draft.record.last_failure_at
    if failures <= 1 or last is None:
        return True
    return draft.passed(last + min(BACKOFF_S * 2.0 ** (failures - 2), BACKOFF_LIMIT_S))


def _give_up(draft: Draft, living: list[WorkerRecord], surplus: int) -> None:
    reason = Reason(ReasonCode.WORKER_SURPLUS)
    for worker in sorted(living, key=lambda each: _cost_of_losing(draft, each))[:surplus]:
        if worker.state is WorkerState.STARTING:
            draft.change_worker(worker, WorkerState.STOPPING, reason)
        elif worker.state is WorkerState.RUNNING:
            worker = replace(worker, retiring_since=draft.now)
            _see_retiring(draft, draft.change_worker(worker, WorkerState.RETIRING, reason))
        elif worker.job.job_id not in draft.seen.submitting:
            draft.change_worker(worker, WorkerState.STOPPED, reason)
        # else: its submit is under way; it is given up once it is known what that gave.


def _cost_of_losing(draft: Draft, worker: WorkerRecord) -> tuple[int, bool, WorkerLoad, int]:
    number = int(worker.name.rpartition("-")[2])
    submitting = worker.job.job_id in draft.seen.submitting
    load = draft.seen.report.workers.get(worker.name) if draft.seen.report else None
    return LIVING.index(worker.state), submitting, load or WorkerLoad(), -number


def stop_workers(draft: Draft) -> None:
    """End every worker of a cluster that is ending."""
    reason = Reason(ReasonCode.CLUSTER_ENDED)
    for worker in draft.record.workers:
        if worker.state is WorkerState.PENDING:
            if worker.job.job_id not in draft.seen.submitting:
                draft.change_worker(worker, WorkerState.STOPPED, reason)
        elif worker.state in (WorkerState.STARTING, WorkerState.RUNNING, WorkerState.RETIRING):
            draft.change_worker(worker, WorkerState.STOPPING, reason)


def _stop(draft: Draft, worker: WorkerRecord, reason: Reason) -> None:
    """Ended as wanted, both edges at once: there is nothing left to wait for."""
    worker = draft.change_worker(worker, WorkerState.STOPPING, reason)
    draft.change_worker(worker, WorkerState.STOPPED, reason)
