"""Wanted, seen and recorded: three kinds of value, all immutable.

`ClusterSpec` is what a user asked for and policy allowed, `Observation` what was seen and when,
`ClusterRecord` what is kept. Only the store writes records; everyone else gets copies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..wire.reasons import Reason
from ..wire.states import ClusterState, WorkerState
from .backends.protocol import Handle, Seen, Size


@dataclass(frozen=True)
class Caller:
    """Who is asking, as the authenticator found out."""

    name: str
    is_admin: bool = False


@dataclass(frozen=True)
class ClusterSpec:
    """What was asked for, after policy. Never changes in a cluster's life. Times in seconds."""

    name: str
    owner: str
    options: Mapping[str, Any]
    environment: str
    scheduler: Size
    worker: Size
    max_workers: int
    start_timeout_s: float
    worker_start_timeout_s: float
    idle_timeout_s: float
    """0: never."""


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
class JobRecord:
    """A job as we keep it: its handle once the backend gave one, and what was last seen."""

    job_id: str
    handle: Handle | None = None
    submitted_at: float | None = None
    ended_at: float | None = None


@dataclass(frozen=True)
class WorkerRecord:
    """One worker as we keep it."""

    name: str
    job: JobRecord
    state: WorkerState
    reason: Reason
    created_at: float
    connected_at: float | None = None
    ended_at: float | None = None
    host: str = ""
    restarts: int = 0


@dataclass(frozen=True)
class SchedulerRecord:
    """The scheduler's job and where it listens: host by the backend, ports by the agent."""

    job: JobRecord
    host: str = ""
    port: int | None = None
    dashboard_port: int | None = None
    linked_at: float | None = None


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
    workers: tuple[WorkerRecord, ...] = ()
    """Living workers, and the last few that ended."""
    next_worker: int = 1
    worker_failures: int = 0
    """Failures in a row since a worker last connected."""
    started_at: float | None = None
    ended_at: float | None = None

    @property
    def name(self) -> str:
        return self.spec.name


@dataclass(frozen=True)
class AgentReport:
    """The latest that the scheduler's agent said."""

    workers: frozenset[str]
    retired: frozenset[str]
    clients: int
    active: bool
    idle_since: float | None


@dataclass(frozen=True)
class Observation:
    """What is known of the outside at `time`. `jobs` holds what the backend saw, by job id."""

    time: float
    jobs: Mapping[str, Seen] = field(default_factory=dict)
    report: AgentReport | None = None
    linked: bool = False


@dataclass(frozen=True)
class Event:
    """One thing that happened, never changed after it is written. `id` is given by the store."""

    time: float
    cluster: str
    subject: str
    kind: str
    """cluster, scheduler, worker or scaling."""
    reason: Reason
    id: int = 0
