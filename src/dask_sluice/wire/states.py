"""The states of clusters and workers, and the only allowed ways between them.

The tables below are the state machine: `reconcile` may not take an edge that is not here (a test
checks it) and the diagram in `docs/life-of-a-cluster.md` is generated from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class ClusterState(str, Enum):
    """Where a cluster is in its life; later states never lead back to earlier ones."""

    PENDING = "pending"
    """Accepted and recorded; nothing has been submitted to the backend yet."""
    STARTING = "starting"
    """The scheduler is submitted; it has not called home yet."""
    RUNNING = "running"
    """The scheduler called home; clients can connect."""
    STOPPING = "stopping"
    """Asked to end; its jobs are being removed."""
    STOPPED = "stopped"
    """Ended as asked, by its owner, an administrator, a time-out or the server."""
    FAILED = "failed"
    """Ended because something broke; the reason says what."""

    def __str__(self) -> str:
        return self.value

    @property
    def is_final(self) -> bool:
        return self in (ClusterState.STOPPED, ClusterState.FAILED)

    @property
    def is_active(self) -> bool:
        return self in (ClusterState.PENDING, ClusterState.STARTING, ClusterState.RUNNING)


class WorkerState(str, Enum):
    """Where one worker is in its life."""

    PENDING = "pending"
    """Wanted and recorded; not submitted yet."""
    STARTING = "starting"
    """Submitted; not connected to the scheduler yet."""
    RUNNING = "running"
    """Connected to the scheduler."""
    RETIRING = "retiring"
    """The scheduler is moving its data away before it ends."""
    STOPPING = "stopping"
    """Its job is being removed."""
    STOPPED = "stopped"
    """Ended as wanted."""
    FAILED = "failed"
    """Ended by itself; the reason says how."""

    def __str__(self) -> str:
        return self.value

    @property
    def is_final(self) -> bool:
        return self in (WorkerState.STOPPED, WorkerState.FAILED)


CLUSTER_CHANGES: Mapping[ClusterState, frozenset[ClusterState]] = {
    ClusterState.PENDING: frozenset({ClusterState.STARTING, ClusterState.STOPPING}),
    ClusterState.STARTING: frozenset({ClusterState.RUNNING, ClusterState.STOPPING}),
    ClusterState.RUNNING: frozenset({ClusterState.STOPPING}),
    ClusterState.STOPPING: frozenset({ClusterState.STOPPED, ClusterState.FAILED}),
    ClusterState.STOPPED: frozenset(),
    ClusterState.FAILED: frozenset(),
}
"""A failed cluster passes through `stopping` too: its jobs have to be removed either way."""

WORKER_CHANGES: Mapping[WorkerState, frozenset[WorkerState]] = {
    WorkerState.PENDING: frozenset({WorkerState.STARTING, WorkerState.STOPPED, WorkerState.FAILED}),
    WorkerState.STARTING: frozenset({WorkerState.RUNNING, WorkerState.STOPPING, WorkerState.FAILED}),
    WorkerState.RUNNING: frozenset({WorkerState.RETIRING, WorkerState.STOPPING, WorkerState.FAILED}),
    WorkerState.RETIRING: frozenset({WorkerState.STOPPING, WorkerState.FAILED}),
    WorkerState.STOPPING: frozenset({WorkerState.STOPPED, WorkerState.FAILED}),
    WorkerState.STOPPED: frozenset(),
    WorkerState.FAILED: frozenset(),
}
