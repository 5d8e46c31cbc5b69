"""Why a job ended, as exactly as what was seen of it allows. Pure: reconcile's words for the end of a process."""

from __future__ import annotations

from ..wire.reasons import Reason, ReasonCode, last_lines
from ..wire.states import ClusterState, WorkerState
from .backends.protocol import Seen
from .decision import Draft, ReadLog, plain
from .model import JobRecord, WorkerLoad

GIB = 2**30


def how_it_ended(look: Seen) -> str:
    """The end of a process in a few words."""
    if look.signal:
        return f"killed by {look.signal}"
    if look.exit_code is not None:
        return f"exit code {look.exit_code}"
    return "it is gone, and nothing tells how"


def lines_of_living(draft: Draft, job: JobRecord, given_up_at: float) -> str | None:
    """The last lines of a job that is given up although it lives; None: they are being read, come again."""
    look, tail = draft.seen.jobs.get(job.job_id), draft.seen.log_tails.get(job.job_id)
    if tail is None and look is not None and look.log_tail:
        tail = look.log_tail
    if tail is None and job.is_out_there and not draft.passed(given_up_at + draft.rules.read_log_s):
        draft.act(ReadLog(job.job_id))
        return None
    return last_lines(tail or "")


def _with_lines(reason: Reason, look: Seen) -> Reason:
    """What a process or its backend said of its end, with the last lines of its log where they said nothing of them."""
    return Reason(reason.code, {"last_lines": last_lines(look.log_tail), **reason.details})


def closed_by_client(state: ClusterState, look: Seen) -> bool:
    """A scheduler that ran and ended well by itself: somebody called `Client.shutdown`."""
    return state is ClusterState.RUNNING and look.exit_code == 0 and look.reason is None


def why_scheduler_ended(state: ClusterState, look: Seen) -> Reason:
    """The reason for the end of a cluster whose scheduler has ended by itself."""
    if look.reason is not None:
        return _with_lines(look.reason, look)
    if closed_by_client(state, look):
        return Reason(ReasonCode.SCHEDULER_CLOSED)
    running = state is ClusterState.RUNNING
    code = ReasonCode.SCHEDULER_ENDED if running else ReasonCode.SCHEDULER_START_FAILED
    return plain(code, how=how_it_ended(look), last_lines=last_lines(look.log_tail))


def why_worker_ended(state: WorkerState, look: Seen, load: WorkerLoad | None = None) -> Reason:
    """The reason for the end of a worker that was not asked to end.

    load   what its scheduler last said of it
    """
    lines = last_lines(look.log_tail)
    if look.reason is not None:
        return _with_last_use(_with_lines(look.reason, look), load)
    if state is WorkerState.STARTING:
        return plain(ReasonCode.WORKER_START_FAILED, how=how_it_ended(look), last_lines=lines)
    if look.signal:
        return plain(ReasonCode.WORKER_KILLED, signal=look.signal, last_lines=lines)
    if look.exit_code:
        return plain(ReasonCode.WORKER_CRASHED, exit_code=look.exit_code, last_lines=lines)
    how = "it closed itself" if look.exit_code == 0 else how_it_ended(look)
    return plain(ReasonCode.WORKER_LOST, how=how, last_lines=lines)


def _with_last_use(reason: Reason, load: WorkerLoad | None) -> Reason:
    """A backend knows what a worker might use; what it did use, its scheduler."""
    if reason.code is not ReasonCode.OUT_OF_MEMORY or load is None or not load.memory_bytes:
        return reason
    used_gib = load.memory_bytes / GIB
    last_use = f"; it last used {used_gib:.2f} GiB"
    return Reason(reason.code, {**reason.details, "used_gib": used_gib, "last_use": last_use})
