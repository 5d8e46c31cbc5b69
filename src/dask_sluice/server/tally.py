"""How many clusters and workers are in which state, kept up from changes alone, and how long starts took. Pure.

Looking is then free of charge, however many there are: nobody reads ten thousand records to draw a curve.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ..wire.states import ClusterState, WorkerState
from .model import ClusterRecord


@dataclass(frozen=True)
class Counts:
    """What one cluster adds to the sums."""

    state: ClusterState
    workers: tuple[tuple[WorkerState, int], ...]
    waits: bool
    """Whether limits keep its scheduler from starting."""
    workers_waiting: int


def counts_of(record: ClusterRecord) -> Counts:
    """The cluster as numbers."""
    workers = Counter(worker.state for worker in record.workers if not worker.state.is_final)
    active = record.state.is_active and record.wanted.stop is None
    waiting = max(0, record.wanted.workers - record.grant.workers) if active else 0
    return Counts(record.state, tuple(workers.items()), active and not record.grant.scheduler, waiting)


@dataclass(frozen=True)
class Took:
    """How long one phase of a start took."""

    phase: str
    seconds: float


def durations(before: ClusterRecord, after: ClusterRecord) -> list[Took]:
    """Of the starts that came to their end between the two."""
    took: list[Took] = []
    if after.started_at is not None and before.started_at is None:
        job, created, started = after.scheduler.job, after.created_at, after.started_at
        granted = min(after.granted_at or created, started)
        # The agent may have called home before anybody saw the job run.
        running = max(granted, min(job.running_at or started, started))
        took += [
            Took("queued", granted - created),
            Took("scheduler_starting", running - granted),
            Took("connecting", started - running),
        ]
    connected = {worker.name for worker in before.workers if worker.connected_at is not None}
    for worker in after.workers:
        if worker.connected_at is not None and worker.name not in connected:
            took.append(Took("worker", worker.connected_at - worker.created_at))
    return [Took(each.phase, max(0.0, each.seconds)) for each in took]


class Tally:
    """The sums over all clusters that have not ended."""

    def __init__(self) -> None:
        self.clusters: Counter[ClusterState] = Counter()
        self.workers: Counter[WorkerState] = Counter()
        self.clusters_waiting = 0
        self.workers_waiting = 0
        self._known: dict[str, tuple[ClusterRecord, Counts]] = {}

    def load(self, records: Iterable[ClusterRecord]) -> None:
        """Count these too, of which nothing is news."""
        for record in records:
            if record.name not in self._known:
                self.changed(record)

    def changed(self, record: ClusterRecord) -> ClusterRecord | None:
        """Count it as it is now; as it was, None where it was not counted."""
        before, counts = self._known.pop(record.name, (None, None))
        if counts is not None:
            self._add(counts, -1)
        if not record.state.is_final:
            counts = counts_of(record)
            self._known[record.name] = (record, counts)
            self._add(counts, 1)
        return before

    def _add(self, counts: Counts, sign: int) -> None:
        self.clusters[counts.state] += sign
        for state, count in counts.workers:
            self.workers[state] += sign * count
        self.clusters_waiting += sign * counts.waits
        self.workers_waiting += sign * counts.workers_waiting
