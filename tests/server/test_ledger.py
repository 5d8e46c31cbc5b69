"""The ledger says of every process when it ran: exactly, once, and the same however often it is written."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from dask_sluice.server.backends.protocol import Handle, JobKind, Size
from dask_sluice.server.decision import Decision, Fact, Rules
from dask_sluice.server.ledger import GIB, Interval, entries, price_hour
from dask_sluice.server.model import (
    AgentHello,
    AgentReport,
    ClusterRecord,
    JobRecord,
    Observation,
    Prices,
    Wanted,
    WorkerGroup,
    WorkerLoad,
    WorkerRecord,
)
from dask_sluice.server.reconcile import reconcile
from dask_sluice.wire.reasons import Reason, ReasonCode
from dask_sluice.wire.states import ClusterState, WorkerState

from .records import record_of
from .test_reconcile_properties import Life


def written(book: dict[str, Interval], before: ClusterRecord | None, after: ClusterRecord) -> dict[str, Interval]:
    """The book after this change, as the store writes it: by job id."""
    return book | {entry.job_id: entry for entry in entries(before, after)}


class LifeWithLedger(Life):
    """Any life of a cluster, with a book that is kept as the store keeps it, and one that is kept by looking on."""

    rules_of_reconcile = Rules(ended_workers_kept=0)

    @initialize(workers=st.integers(0, 6))
    def create(self, workers: int) -> None:
        """Running already: most made-up lives would end before they get that far."""
        super().create()
        self.book: dict[str, Interval] = {}
        self.seen: dict[str, tuple[float, float | None]] = {}
        for _ in range(4):
            self.cooperate()
            if self.record.state is ClusterState.RUNNING:
                self.scale(workers)

    def step(self, *what: Fact) -> Decision:
        before = self.record
        decision = super().step(*what)
        if hasattr(self, "book"):
            self.book = written(self.book, before, decision.record)
            assert written(self.book, before, decision.record) == self.book, "written again, it is another"
            self.look_on(decision.record)
        return decision

    def look_on(self, record: ClusterRecord) -> None:
        """Note when each job is first running, and when it is first over."""
        over = {w.job.job_id for w in record.workers if w.state.is_final}
        there = {job.job_id: job for job in record.jobs}
        for job in record.jobs:
            if job.running_at is not None and job.job_id not in self.seen:
                self.seen[job.job_id] = (self.now, None)
        for job_id, (began, ended) in self.seen.items():
            is_over = job_id not in there or job_id in over or there[job_id].ended_at is not None
            if ended is None and is_over:
                self.seen[job_id] = (began, self.now)
            elif not is_over:  # a handle came late: it is out there again
                self.seen[job_id] = (began, None)

    @rule()
    def the_world_does_all_that_is_asked_for(self) -> None:
        self.cooperate()

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "book"):
            self.the_book_says_what_was_seen()

    @invariant()
    def what_is_connected_is_charged(self) -> None:
        if hasattr(self, "book"):
            connected = [w for w in self.record.workers if w.state is WorkerState.RUNNING]
            assert all(self.book[worker.job.job_id].ended_at is None for worker in connected)

    @invariant()
    def the_book_says_what_was_seen(self) -> None:
        assert {key: (each.started_at, each.ended_at) for key, each in self.book.items()} == self.seen

    @invariant()
    def an_ended_cluster_has_no_open_interval(self) -> None:
        if self.record.state.is_final:
            assert all(each.ended_at is not None for each in self.book.values())

    @invariant()
    def no_interval_ends_before_it_begins(self) -> None:
        assert all(each.ended_at is None or each.ended_at >= each.started_at for each in self.book.values())


LifeWithLedger.TestCase.settings = settings(max_examples=max(100, settings().max_examples), stateful_step_count=40)
TestLifeWithLedger = LifeWithLedger.TestCase


def worker(number: int, *, running_at: float | None = 10.0, ended_at: float | None = None) -> WorkerRecord:
    job = JobRecord(f"ada-1-worker-{number}", running_at=running_at)
    state = WorkerState.RUNNING if ended_at is None else WorkerState.FAILED
    return WorkerRecord(f"worker-{number}", job, state, Reason(ReasonCode.WORKER_STARTING), 1.0, ended_at=ended_at)


def test_an_entry_names_who_pays_for_what_at_which_price() -> None:
    prices = Prices(core_hour=0.1, memory_gib_hour=0.01, gpu_hour=2.0, currency="USD")
    record = record_of("ada-1")
    spec = replace(
        record.spec,
        groups=("physics", "all"),
        profile="big",
        prices=prices,
        worker_groups=(WorkerGroup("default", Size(4, 8 * GIB, 4, gpus=1)),),
    )
    after = replace(record, spec=spec, workers=(worker(1),))
    (entry,) = entries(record, after)
    assert entry == Interval(
        job_id="ada-1-worker-1",
        cluster="ada-1",
        user="ada",
        group="physics",
        profile="big",
        kind=JobKind.WORKER,
        cores=4,
        memory_bytes=8 * GIB,
        gpus=1,
        price_hour=0.1 * 4 + 0.01 * 8 + 2.0,
        currency="USD",
        started_at=10.0,
        ended_at=None,
    )


def test_what_never_ran_is_not_in_the_ledger() -> None:
    record = record_of("ada-1")
    assert entries(None, record) == []
    assert entries(record, replace(record, workers=(worker(1, running_at=None, ended_at=5.0),))) == []


def test_what_has_called_home_is_charged_before_the_backend_was_looked_at() -> None:
    handle = Handle("ada-1-worker-1", "ada-1", JobKind.WORKER, {})
    job, reason = JobRecord("ada-1-worker-1", (handle,)), Reason(ReasonCode.WORKER_STARTING)
    starting = WorkerRecord("worker-1", job, WorkerState.STARTING, reason, 1.0)
    before = replace(record_of("ada-1", state=ClusterState.RUNNING), workers=(starting,), wanted=Wanted(workers=1))
    report = AgentReport({"worker-1": WorkerLoad()}, frozenset(), 1, True, None)
    after = reconcile(before, Observation(7.0, hello=AgentHello(8786, None), report=report), 7.0).record
    assert [(each.job_id, each.started_at) for each in entries(before, after)] == [("ada-1-worker-1", 7.0)]


def test_a_change_of_one_worker_is_one_entry() -> None:
    before = replace(record_of("ada-1"), workers=tuple(worker(number) for number in range(1, 6)))
    after = replace(before, workers=(*before.workers[:4], worker(5, ended_at=20.0)))
    assert [(entry.job_id, entry.ended_at) for entry in entries(before, after)] == [("ada-1-worker-5", 20.0)]
    assert entries(after, after) == []
    assert entries(after, None) == []


def test_a_worker_is_over_at_the_first_sign_of_it() -> None:
    removed = replace(worker(1), job=replace(worker(1).job, ended_at=30.0))
    for found in (removed, replace(removed, ended_at=40.0)):
        assert [entry.ended_at for entry in entries(None, replace(record_of("ada-1"), workers=(found,)))] == [30.0]
    assert entries(None, replace(record_of("ada-1"), workers=(worker(1, ended_at=20.0),)))[0].ended_at == 20.0


def test_a_clock_that_was_set_back_pays_nothing_back() -> None:
    (entry,) = entries(None, replace(record_of("ada-1"), workers=(worker(1, ended_at=5.0),)))
    assert (entry.started_at, entry.ended_at) == (10.0, 10.0)


def test_prices_are_for_what_was_asked_for() -> None:
    assert price_hour(Size(2, 4 * GIB, 2), Prices()) == 0
    assert price_hour(Size(2, 0, 2), Prices(core_hour=1.5, memory_gib_hour=9)) == 3
