"""What a step of reconcile comes to, and the draft in which it is put together.

A `Draft` is the one place where a record changes its state, so that no change escapes the tables in
`wire/states.py` and none goes without its event.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from ..wire.reasons import Reason, ReasonCode
from ..wire.states import CLUSTER_CHANGES, WORKER_CHANGES, ClusterState, WorkerState
from .model import ClusterRecord, Event, JobRecord, Observation, SchedulerRecord, WorkerRecord


@dataclass(frozen=True)
class Rules:
    """The times and numbers that reconcile goes by; the same for every cluster and backend."""

    retire_s: float = 300.0
    """How long moving data off a worker may take before it is ended all the same."""
    retire_unlinked_s: float = 30.0
    """How long a worker waits to be retired while the scheduler is not linked."""
    retire_last_s: float = 10.0
    """The same where no worker is to remain: there is nowhere to move data to."""
    queue_limit_s: float = math.inf
    """How long the backend may have no place for a scheduler."""
    prepare_limit_s: float = 1800.0
    """How long making a place ready may take while nothing is wrong there: a large image is pulled slowly."""
    worker_missing_s: float = 60.0
    """How long a running worker may be unknown to its scheduler (its nanny restarts it meanwhile)."""
    settled_after_s: float = 30.0
    """A worker that stayed this long did not fail at starting."""
    worker_failure_limit: int = 5
    """Failures in a row after which no more workers are started."""
    read_log_s: float = 2.0
    """How long the end of a job that is given up may wait for the last lines of its log."""
    silent_s: float = 2.0
    """Whoever waits longer is told for what."""
    link_grace_s: float = 2.0
    """A link that is back sooner was never lost."""
    link_limit_s: float = 900.0
    """How long a running scheduler may stay away before it is given up."""
    lease_grace_s: float = 300.0
    """So long after a start of the server, or a sleep of its machine, no cluster is ended for being idle or alone."""
    ended_workers_kept: int = 20
    """How many ended workers stay in a record, to be shown."""


@dataclass(frozen=True)
class Submit:
    """Start this job, unless its submit is already under way."""

    job_id: str


@dataclass(frozen=True)
class Remove:
    """Remove every handle of this job, unless that is already under way."""

    job_id: str


@dataclass(frozen=True)
class ReadLog:
    """Read the end of what this living job wrote: it is about to be given up, and its last lines tell why."""

    job_id: str


Action = Submit | Remove | ReadLog


@dataclass(frozen=True)
class Change:
    """A new record and the events that tell of it: written together or not at all."""

    record: ClusterRecord
    events: tuple[Event, ...] = ()


@dataclass(frozen=True)
class Decision(Change):
    """A change, what to do once it is written, and when to look again at the latest."""

    actions: tuple[Action, ...] = ()
    wake_at: float | None = None


@dataclass
class Draft:
    """A decision in the making. Lives for one step."""

    record: ClusterRecord
    seen: Observation
    now: float
    rules: Rules = field(default_factory=Rules)
    _events: list[Event] = field(default_factory=list)
    _actions: list[Action] = field(default_factory=list)
    _wakes: list[float] = field(default_factory=list)

    def decision(self) -> Decision:
        wake_at = min(self._wakes, default=None)
        return Decision(self.record, tuple(self._events), tuple(self._actions), wake_at)

    def act(self, action: Action) -> None:
        self._actions.append(action)

    def wake(self, at: float) -> None:
        """Look again at that time, whatever happens."""
        self._wakes.append(at)

    def passed(self, at: float) -> bool:
        """Whether that time has come; if not, look again when it has."""
        if self.now >= at:
            return True
        self.wake(at)
        return False

    def tell(self, subject: str, kind: str, reason: Reason, **details: Any) -> None:
        """Write an event."""
        reason = Reason(reason.code, {**reason.details, **details})
        self._events.append(Event(self.now, self.record.name, subject, kind, reason))

    def set(self, **fields: Any) -> ClusterRecord:
        self.record = replace(self.record, **fields)
        return self.record

    def set_scheduler(self, **fields: Any) -> SchedulerRecord:
        scheduler = replace(self.record.scheduler, **fields)
        self.set(scheduler=scheduler)
        return scheduler

    def set_worker(self, worker: WorkerRecord) -> WorkerRecord:
        """Put this in the place of the worker of the same name."""
        self.set(workers=tuple(worker if old.name == worker.name else old for old in self.record.workers))
        return worker

    def set_job(self, job: JobRecord) -> None:
        """Put this in the place of the job of the same id."""
        if job.job_id == self.record.scheduler.job.job_id:
            self.set_scheduler(job=job)
            return
        for worker in self.record.workers:
            if worker.job.job_id == job.job_id:
                self.set_worker(replace(worker, job=job))

    def change_cluster(self, to: ClusterState, reason: Reason) -> None:
        """Take one edge of the table, with its event."""
        if to not in CLUSTER_CHANGES[self.record.state]:
            raise AssertionError(f"no way from {self.record.state} to {to}")
        self.set(state=to, reason=reason)
        self.tell("cluster", "cluster", reason, state=str(to))

    def change_worker(self, worker: WorkerRecord, to: WorkerState, reason: Reason) -> WorkerRecord:
        """Take one edge of the table, with its event."""
        if to not in WORKER_CHANGES[worker.state]:
            raise AssertionError(f"no way from {worker.state} to {to}")
        ended_at = self.now if to.is_final else worker.ended_at
        self.tell(worker.name, "worker", reason, state=str(to))
        return self.set_worker(replace(worker, state=to, reason=reason, ended_at=ended_at))

    def end(self, reason: Reason, *, failed: bool) -> None:
        """The cluster is to end, for this reason; the first one stands."""
        if self.record.wanted.stop is None:
            self.set(wanted=replace(self.record.wanted, stop=reason, failed=failed))


Fact = Callable[[Draft], None]
"""Something that happened and is not to be seen again by looking: put into the draft before deciding."""


def plain(code: ReasonCode, **details: Any) -> Reason:
    """A reason, with its details as keywords."""
    return Reason(code, details)
