"""Wanted, seen and recorded: three kinds of value, all immutable.

`ClusterSpec` is what a user asked for and policy allowed, `Observation` what was seen and when,
`ClusterRecord` what is kept. Only the store writes records; everyone else gets copies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..wire.reasons import Reason
from ..wire.states import ClusterState, WorkerState
from .backends.protocol import Handle, Seen, Size
from .budgets import BudgetMark


@dataclass(frozen=True)
class Caller:
    """Who is asking, as the authenticator found out."""

    name: str
    is_admin: bool = False
    groups: tuple[str, ...] = ()
    """In order: the first one is charged with what the caller uses."""
    notebook: str = ""
    """The notebook server that asks, where the authenticator can tell: on JupyterHub `ada/` or `ada/name`."""


@dataclass(frozen=True)
class LeaseTerms:
    """How long the cluster may live. In seconds; 0 stands for no such end."""

    idle_s: float = 0.0
    """Without work."""
    idle_without_clients: bool = False
    """Whether it is idle only while no client is connected."""
    absent_s: float = 0.0
    """Without a client; 0 for a cluster that outlives its client."""
    with_notebook: bool = False
    """Whether it ends with the notebook server that made it."""
    age_s: float = 0.0
    """At all."""
    keep_alive_max_s: float = 0.0
    """How long at a time it can be asked to be kept although idle or alone."""
    extend_max_s: float = 0.0
    """By how much in all its life can be made longer."""


@dataclass(frozen=True)
class Lease:
    """How the terms stand."""

    kept_until: float = 0.0
    """Not to be ended for being idle or alone before that time."""
    extended_s: float = 0.0
    """So much was added to its life."""
    present_at: float = 0.0
    """When its client last said that it is there."""
    absent_since: float | None = None
    """Since when no client is connected."""
    warned: frozenset[str] = frozenset()
    """Warnings of ends in sight that were given."""
    notice: Reason | None = None
    """The last of them, while it holds."""


@dataclass(frozen=True)
class Prices:
    """What a process costs for each hour that it runs, as they were when its cluster was made."""

    core_hour: float = 0.0
    memory_gib_hour: float = 0.0
    gpu_hour: float = 0.0
    currency: str = "EUR"


DEFAULT_GROUP = "default"
"""The group of workers that `scale` and `adapt` are about: the only one that clients know so far."""


@dataclass(frozen=True)
class WorkerGroup:
    """Workers of one kind within a cluster."""

    name: str
    size: Size
    options: Mapping[str, Any] = field(default_factory=dict)
    """What was chosen for this group otherwise than for the cluster."""


@dataclass(frozen=True)
class ClusterSpec:
    """What was asked for, after policy. Never changes in a cluster's life. Times in seconds."""

    name: str
    owner: str
    options: Mapping[str, Any]
    environment: str
    scheduler: Size
    worker_groups: tuple[WorkerGroup, ...]
    """The default group first."""
    max_workers: int
    """Workers that it may ever have."""
    start_timeout_s: float
    worker_start_timeout_s: float
    lease: LeaseTerms
    groups: tuple[str, ...] = ()
    """The owner's, when the cluster was made; the first one is charged."""
    notebook: str = ""
    """The notebook server that made it; empty where nothing tells."""
    max_workers_by: str = ""
    """The limit behind `max_workers`, for sentences: `12 cores (limits.user.cores)`."""
    profile: str = ""
    """Name of the administrator's profile that it was made from; empty without one."""
    image: str = ""
    """Container image of its processes; empty: the backend's default."""
    scheduler_image: str = ""
    """The scheduler's, where it is another one."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of its processes; secret ones are kept with the cluster's secrets."""
    backend: Mapping[str, Any] = field(default_factory=dict)
    """The administrator's free keys for the backend."""
    left_out: tuple[str, ...] = ()
    """Names among the variables asked for that none can have: its processes do without."""
    prices: Prices = Prices()

    @property
    def worker(self) -> Size:
        """The size of a worker of the default group."""
        return self.worker_groups[0].size

    def size_of(self, group: str) -> Size:
        """The size of a worker of that group.

        raises  LookupError where there is none of that name
        """
        for each in self.worker_groups:
            if each.name == group:
                return each.size
        raise LookupError(f"{self.name} has no group of workers {group!r}")


@dataclass(frozen=True)
class Adaptive:
    """Bounds of adaptive scaling, limits already applied."""

    minimum: int
    maximum: int


@dataclass(frozen=True)
class Wanted:
    """What the cluster should be now. `stop` set means: end it, for this reason."""

    workers: int = 0
    adaptive: Adaptive | None = None
    stop: Reason | None = None
    failed: bool = False
    """Whether the stop is a failure."""


@dataclass(frozen=True)
class Grant:
    """What the limits have room for: whether it may start at all, and with how many workers."""

    scheduler: bool = False
    workers: int = 0


@dataclass(frozen=True)
class JobRecord:
    """A job as we keep it: the handles that the backend gave, one for each thing that it created."""

    job_id: str
    handles: tuple[Handle, ...] = ()
    submitted_at: float | None = None
    placed_at: float | None = None
    """When the backend was first seen to have a place for it, where that comes before it runs."""
    running_at: float | None = None
    """When it was first seen to run, by the backend or by its call home; until then it waits in the backend's queue."""
    ended_at: float | None = None
    """When it was seen to be over, or its handles were removed: nothing of it is out there any more."""

    @property
    def is_out_there(self) -> bool:
        return bool(self.handles) and self.ended_at is None

    def running(self, now: float) -> JobRecord:
        """The same, known to run since now at the latest."""
        return self if self.running_at is not None else replace(self, running_at=now)


@dataclass(frozen=True)
class WorkerRecord:
    """One worker as we keep it."""

    name: str
    job: JobRecord
    state: WorkerState
    reason: Reason
    created_at: float
    group: str = DEFAULT_GROUP
    """The group of workers that it belongs to."""
    connected_at: float | None = None
    ended_at: float | None = None
    host: str = ""
    restarts: int = 0
    retiring_since: float | None = None
    missing_since: float | None = None
    """Since when the scheduler does not know it although it once did."""


@dataclass(frozen=True)
class SchedulerRecord:
    """The scheduler's job and where it listens: host by the backend, ports by the agent."""

    job: JobRecord
    host: str = ""
    port: int | None = None
    dashboard_port: int | None = None
    linked_at: float | None = None
    """Since when its agent is linked; None while it is not."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of python, dask and distributed, as its agent says."""


@dataclass(frozen=True)
class ClusterRecord:
    """All that is kept about a cluster. `version` grows with every write."""

    spec: ClusterSpec
    wanted: Wanted
    state: ClusterState
    reason: Reason
    version: int
    created_at: float
    scheduler: SchedulerRecord
    lease: Lease = Lease()
    grant: Grant = Grant()
    granted_at: float | None = None
    """When there was room for it to start."""
    workers: tuple[WorkerRecord, ...] = ()
    """Living workers, and the last few that ended."""
    next_worker: int = 1
    worker_failures: int = 0
    """Failures in a row, while no new worker stayed for a while."""
    last_failure_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    budget: BudgetMark | None = None
    """How the budgets stand that it draws on; None while that was never worth a word."""
    holder: str = ""
    """The replica that works on it; empty where there is only one server."""

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def phase(self) -> str:
        """Where a starting cluster is: queued, submitting, scheduler_starting, connecting; empty in other states."""
        if self.state is ClusterState.PENDING:
            return "submitting" if self.grant.scheduler else "queued"
        if self.state is not ClusterState.STARTING:
            return ""
        return "scheduler_starting" if self.scheduler.job.running_at is None else "connecting"

    @property
    def jobs(self) -> tuple[JobRecord, ...]:
        """Every job, the scheduler's first."""
        return (self.scheduler.job, *(worker.job for worker in self.workers))


@dataclass(frozen=True, order=True)
class WorkerLoad:
    """What would have to be run again or moved if this worker ended; less is cheaper."""

    processing: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True)
class AgentReport:
    """The latest that the scheduler's agent said. `workers` tells, per name, how dear each is to lose."""

    workers: Mapping[str, WorkerLoad]
    retired: frozenset[str]
    clients: int
    active: bool
    idle_since: float | None
    left: Mapping[str, WorkerLoad] = field(default_factory=dict)
    """How those workers were last that are not among `workers` any more; the newest of them. Of a report alone: those
    that have left since the one before."""


@dataclass(frozen=True)
class AgentHello:
    """Where a scheduler listens and what it runs, as its agent says. The host is what the backend observed."""

    scheduler_port: int
    dashboard_port: int | None
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Observation:
    """What is known of the outside at `time`. `jobs` holds what the backend saw, by job id."""

    time: float
    jobs: Mapping[str, Seen] = field(default_factory=dict)
    submitting: frozenset[str] = frozenset()
    """Jobs whose submit has begun and not ended: more handles may come."""
    log_tails: Mapping[str, str] = field(default_factory=dict)
    """The end of what a job wrote, by job id, where reconcile asked for it; empty where there is nothing to read."""
    hello: AgentHello | None = None
    """Set while the agent is linked."""
    report: AgentReport | None = None
    unlinked_since: float | None = None
    """Since when there is no link, as this server knows; None while there is one."""
    awake_since: float | None = None
    """Since when the server has been running without a pause."""
    silence: Reason | None = None
    """Why the backend does not say how its jobs are; None while it does."""

    @property
    def linked(self) -> bool:
        return self.hello is not None


@dataclass(frozen=True)
class Event:
    """One thing that happened, never changed after it is written. `id` is given by the store."""

    time: float
    cluster: str
    subject: str
    kind: str
    """cluster, scheduler, worker, scaling or lease."""
    reason: Reason
    id: int = 0
