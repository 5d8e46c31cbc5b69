"""The sums are those that counting everything anew would give."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from dask_sluice.server.model import ClusterRecord, Grant, JobRecord, SchedulerRecord, Wanted, WorkerRecord
from dask_sluice.server.tally import Tally, Took, counts_of, durations
from dask_sluice.wire.reasons import Reason, ReasonCode
from dask_sluice.wire.states import ClusterState, WorkerState

from .records import record_of


def worker(number: int, state: WorkerState = WorkerState.RUNNING, connected_at: float | None = None) -> WorkerRecord:
    name = f"worker-{number}"
    return WorkerRecord(
        name, JobRecord(name), state, Reason(ReasonCode.WORKER_STARTING), 10.0, connected_at=connected_at
    )


records = st.builds(
    lambda name, state, workers, wanted, granted: replace(
        record_of(name, state=state),
        workers=tuple(worker(number, each) for number, each in enumerate(workers)),
        wanted=Wanted(workers=wanted),
        grant=Grant(granted > 0, granted),
    ),
    st.sampled_from(["a-1", "b-2", "c-3"]),
    st.sampled_from(ClusterState),
    st.lists(st.sampled_from(WorkerState), max_size=4),
    st.integers(0, 4),
    st.integers(0, 4),
)


@given(st.lists(records, max_size=30))
def test_sums_kept_up_from_changes_are_those_of_counting_anew(changes: list[ClusterRecord]) -> None:
    tally, latest = Tally(), {}
    for record in changes:
        tally.changed(record)
        latest[record.name] = record
    living = [record for record in latest.values() if not record.state.is_final]
    anew = Tally()
    anew.load(living)
    assert (+tally.clusters, +tally.workers) == (+anew.clusters, +anew.workers)
    assert (tally.clusters_waiting, tally.workers_waiting) == (anew.clusters_waiting, anew.workers_waiting)
    assert sum(tally.clusters.values()) == len(living)
    assert min([*tally.clusters.values(), *tally.workers.values(), tally.workers_waiting], default=0) >= 0


def test_what_was_counted_already_is_not_counted_again_by_loading() -> None:
    tally = Tally()
    tally.changed(record_of("a-1", state=ClusterState.RUNNING))
    tally.load([record_of("a-1")])
    assert dict(tally.clusters) == {ClusterState.RUNNING: 1}


def test_phases_of_a_start_add_up_to_its_time() -> None:
    before = record_of("a-1")
    job = JobRecord("a-1-scheduler", submitted_at=4.0, running_at=5.0)
    after = replace(before, granted_at=3.0, scheduler=SchedulerRecord(job), started_at=9.0, state=ClusterState.RUNNING)
    assert durations(before, after) == [Took("queued", 3.0), Took("scheduler_starting", 2.0), Took("connecting", 4.0)]
    assert durations(after, after) == []
    unseen = replace(after, scheduler=SchedulerRecord(replace(job, running_at=None)))
    assert sum(took.seconds for took in durations(before, unseen)) == 9.0


def test_a_worker_counts_once_it_is_connected_and_only_once() -> None:
    before = replace(record_of("a-1"), workers=(worker(1),))
    after = replace(before, workers=(worker(1, connected_at=12.5), worker(2)))
    assert durations(before, after) == [Took("worker", 2.5)]
    assert durations(after, after) == []


def test_an_ending_cluster_waits_for_nothing() -> None:
    record = replace(record_of("a-1"), wanted=Wanted(workers=3))
    assert (counts_of(record).waits, counts_of(record).workers_waiting) == (True, 3)
    ending = replace(record, wanted=Wanted(workers=3, stop=Reason(ReasonCode.CLUSTER_ENDED)))
    assert (counts_of(ending).waits, counts_of(ending).workers_waiting) == (False, 0)
