"""What reconcile never does, whatever happens: checked on lives made up by hypothesis.

A made-up world does what reconcile asks, or fails to; facts and looks come in any order, late or twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dask_sluice.server import facts, wishes
from dask_sluice.server.backends.protocol import Handle, JobKind, JobState, Seen, Size
from dask_sluice.server.decision import Decision, Fact, ReadLog, Remove, Rules, Submit, plain
from dask_sluice.server.model import (
    DEFAULT_GROUP,
    AgentHello,
    AgentReport,
    ClusterRecord,
    ClusterSpec,
    Grant,
    JobRecord,
    LeaseTerms,
    Observation,
    SchedulerRecord,
    Wanted,
    WorkerGroup,
    WorkerLoad,
)
from dask_sluice.server.reconcile import reconcile
from dask_sluice.server.reconcile_workers import LIVING
from dask_sluice.wire.reasons import Reason, ReasonCode
from dask_sluice.wire.states import CLUSTER_CHANGES, WORKER_CHANGES, ClusterState, WorkerState

MAX_WORKERS = 6
RULES = Rules()
SPEC = ClusterSpec(
    name="ada-1",
    owner="ada",
    options={},
    environment="",
    scheduler=Size(1, 0, 1),
    worker_groups=(WorkerGroup(DEFAULT_GROUP, Size(1, 0, 1)),),
    max_workers=MAX_WORKERS,
    start_timeout_s=60,
    worker_start_timeout_s=60,
    lease=LeaseTerms(idle_s=600, absent_s=900, age_s=5000),
)
SCHEDULER = "ada-1-scheduler"
NO_ENDS = (ReasonCode.CREATED, ReasonCode.RUNNING, ReasonCode.WORKER_STARTING, ReasonCode.WORKER_CONNECTED)
ROOM = partial(facts.granted, grant=Grant(True, MAX_WORKERS))


def new_record() -> ClusterRecord:
    return ClusterRecord(
        spec=SPEC,
        wanted=Wanted(),
        state=ClusterState.PENDING,
        reason=Reason(ReasonCode.CREATED),
        version=1,
        created_at=0.0,
        scheduler=SchedulerRecord(JobRecord(SCHEDULER)),
    )


@dataclass
class Outside:
    """What is out there, as a cooperative world would have it."""

    running: dict[str, str] = field(default_factory=dict)  # job id -> state: queued, full, running, ended
    submitting: set[str] = field(default_factory=set)
    removing: set[str] = field(default_factory=set)
    reading: set[str] = field(default_factory=set)
    read: dict[str, str] = field(default_factory=dict)
    linked: bool = False
    connected: set[str] = field(default_factory=set)
    retired: set[str] = field(default_factory=set)
    idle_since: float | None = None


def handle_of(job_id: str) -> Handle:
    kind = JobKind.SCHEDULER if job_id == SCHEDULER else JobKind.WORKER
    return Handle(job_id, "ada-1", kind, {"id": job_id})


def worker_of(job_id: str) -> str:
    return job_id.removeprefix("ada-1-")


def look(job_id: str, state: str) -> Seen:
    if state == "ended":
        return Seen(job_id, JobState.ENDED, exit_code=1, log_tail="it fell over")
    if state == "full":
        return Seen(job_id, JobState.PENDING, reason=plain(ReasonCode.UNSCHEDULABLE, why="all machines are full"))
    return Seen(job_id, JobState.RUNNING if state == "running" else JobState.PENDING, host="127.0.0.1")


class Life(RuleBasedStateMachine):
    """One cluster's life, steps in any order."""

    rules_of_reconcile = RULES

    @initialize()
    def create(self) -> None:
        self.record = new_record()
        self.out = Outside()
        self.now = 0.0
        self.decision: Decision | None = None
        self.told: list[tuple[str, str]] = []

    # -- one step of the loop -------------------------------------------------------------------

    def observation(self) -> Observation:
        report = AgentReport(
            workers={name: WorkerLoad(0, len(name)) for name in self.out.connected},
            retired=frozenset(self.out.retired),
            clients=0,
            active=self.out.idle_since is None,
            idle_since=self.out.idle_since,
        )
        return Observation(
            time=self.now,
            jobs={job_id: look(job_id, state) for job_id, state in self.out.running.items()},
            submitting=frozenset(self.out.submitting),
            hello=AgentHello(8786, 8787) if self.out.linked else None,
            report=report if self.out.linked else None,
            unlinked_since=None if self.out.linked else 0.0,
            log_tails=dict(self.out.read),
        )

    def step(self, *what: Fact) -> Decision:
        before = self.record
        decision = reconcile(before, self.observation(), self.now, self.rules_of_reconcile, what)
        self.no_state_changes_without_its_event(before, decision)
        self.a_stopped_cluster_starts_nothing(before, decision)
        self.nothing_starts_without_room(before, decision)
        self.never_removes_more_than_asked(before, decision)
        self.record = decision.record
        for action in decision.actions:
            if isinstance(action, Submit):
                if action.job_id not in self.out.running:
                    self.out.submitting.add(action.job_id)
            elif isinstance(action, ReadLog):
                self.out.reading.add(action.job_id)
            else:
                self.out.removing.add(action.job_id)
        self.decision = decision
        return decision

    def no_state_changes_without_its_event(self, before: ClusterRecord, decision: Decision) -> None:
        state = str(before.state)
        workers = {worker.name: str(worker.state) for worker in before.workers}
        for event in decision.events:
            to = event.reason.details.get("state")
            if to is None:
                continue
            if event.subject == "cluster":
                assert ClusterState(to) in CLUSTER_CHANGES[ClusterState(state)]
                state = to
            else:
                was = workers.get(event.subject, "pending")
                assert WorkerState(to) in WORKER_CHANGES[WorkerState(was)]
                workers[event.subject] = to
        assert state == str(decision.record.state), "a state changed without its event"
        for worker in decision.record.workers:
            assert workers.get(worker.name, "pending") == str(worker.state), "a state changed without its event"

    def a_stopped_cluster_starts_nothing(self, before: ClusterRecord, decision: Decision) -> None:
        if before.wanted.stop is not None:
            assert not any(isinstance(action, Submit) for action in decision.actions)
            assert decision.record.next_worker == before.next_worker

    def nothing_starts_without_room(self, before: ClusterRecord, decision: Decision) -> None:
        record = decision.record
        if decision.actions and not record.grant.scheduler:
            assert not any(isinstance(action, Submit) for action in decision.actions)
        if record.next_worker > before.next_worker:
            started = (WorkerState.PENDING, WorkerState.STARTING, WorkerState.RUNNING)
            assert sum(worker.state in started for worker in record.workers) <= record.grant.workers

    def never_removes_more_than_asked(self, before: ClusterRecord, decision: Decision) -> None:
        after = decision.record
        living = {worker.name for worker in before.workers if worker.state in LIVING}
        surplus = {worker.name for worker in after.workers if worker.reason.code is ReasonCode.WORKER_SURPLUS}
        if after.wanted.stop is None:
            assert len(living & surplus) <= max(0, len(living) - min(after.grant.workers, MAX_WORKERS))

    # -- what people do -------------------------------------------------------------------------

    @precondition(lambda self: self.record.state.is_active and self.record.wanted.stop is None)
    @rule(count=st.integers(0, 9))
    def scale(self, count: int) -> None:
        self.record = wishes.scaled(self.record, "ada", count, self.now).record

    @precondition(lambda self: self.record.state.is_active and self.record.wanted.stop is None)
    @rule(minimum=st.integers(0, 4), more=st.integers(0, 9))
    def adapt(self, minimum: int, more: int) -> None:
        self.record = wishes.adaptive(self.record, "ada", minimum, minimum + more, self.now).record

    @rule()
    def stop(self) -> None:
        self.record = wishes.stopped(self.record, plain(ReasonCode.STOPPED_BY_USER, by="ada"), self.now).record

    @rule(count=st.integers(0, 20))
    def wish(self, count: int) -> None:
        self.step(partial(facts.wished, count=count, why="tasks wait"))

    # -- what the limits do ---------------------------------------------------------------------

    @rule(workers=st.integers(0, 9))
    def there_is_room(self, workers: int) -> None:
        self.step(partial(facts.granted, grant=Grant(True, workers)))

    @rule(position=st.integers(1, 3))
    def there_is_no_room(self, position: int) -> None:
        self.step(partial(facts.queued, reason=plain(ReasonCode.QUEUED, position=position, limit="5 workers")))

    # -- what the outside does ------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.0, 0.3, 1.0, 5.0, 40.0, 70.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.step()

    @rule()
    def look_again(self) -> None:
        self.step()

    @precondition(lambda self: self.out.submitting)
    @rule(data=st.data(), state=st.sampled_from(["queued", "full", "running"]))
    def submit_gives_a_handle(self, data: st.DataObject, state: str) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.out.submitting)))
        self.out.running[job_id] = state
        self.step(partial(facts.handle_saved, handle=handle_of(job_id)))
        self.out.submitting.discard(job_id)
        self.step()

    @precondition(lambda self: self.out.submitting)
    @rule(data=st.data())
    def submit_is_refused(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.out.submitting)))
        self.out.submitting.discard(job_id)
        self.step(partial(facts.submit_refused, job_id=job_id, backend="fake", message="no"))

    @precondition(lambda self: self.out.running)
    @rule(data=st.data(), state=st.sampled_from(["running", "ended"]))
    def job_changes(self, data: st.DataObject, state: str) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.out.running)))
        if self.out.running[job_id] != "ended":
            self.out.running[job_id] = state
            if state == "ended":
                self.out.connected.discard(worker_of(job_id))
                self.out.linked = self.out.linked and job_id != SCHEDULER
        self.step()

    @precondition(lambda self: self.out.removing)
    @rule(data=st.data())
    def removal_is_done(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.out.removing)))
        self.out.removing.discard(job_id)
        self.out.running[job_id] = "ended"
        self.out.connected.discard(worker_of(job_id))
        self.out.linked = self.out.linked and job_id != SCHEDULER
        self.step(partial(facts.job_removed, job_id=job_id))

    @precondition(lambda self: self.out.reading)
    @rule()
    def log_is_read(self) -> None:
        self.out.read |= dict.fromkeys(self.out.reading, "it is at something")
        self.out.reading.clear()
        self.step()

    @rule(linked=st.booleans())
    def link_changes(self, linked: bool) -> None:
        self.out.linked = linked and self.out.running.get(SCHEDULER) == "running"
        self.step()

    @precondition(lambda self: self.out.linked)
    @rule(data=st.data())
    def worker_connects_or_vanishes(self, data: st.DataObject) -> None:
        known = sorted(
            worker_of(job) for job, state in self.out.running.items() if state == "running" and job != SCHEDULER
        )
        if known:
            self.out.connected ^= {data.draw(st.sampled_from(known))}
        self.step()

    @rule(idle=st.booleans())
    def work_ends_or_begins(self, idle: bool) -> None:
        self.out.idle_since = self.now if idle else None

    @rule()
    def server_restarts(self) -> None:
        self.out.linked = False
        self.out.submitting.clear()
        self.out.removing.clear()
        self.step(facts.server_restarted)

    # -- what holds always ----------------------------------------------------------------------

    @invariant()
    def never_more_workers_than_allowed(self) -> None:
        assert sum(not worker.state.is_final for worker in self.record.workers) <= MAX_WORKERS

    @invariant()
    def every_end_has_a_reason(self) -> None:
        record = self.record
        if record.state.is_final:
            assert record.reason == record.wanted.stop
        ended = [record.reason] if record.state.is_final else []
        for reason in [*ended, *(worker.reason for worker in record.workers if worker.state.is_final)]:
            assert reason.code not in NO_ENDS
            assert "?" not in reason.sentence, reason

    @invariant()
    def a_second_step_decides_nothing_new(self) -> None:
        first = self.step()
        again = reconcile(first.record, self.observation(), self.now, self.rules_of_reconcile)
        assert again.record == first.record
        assert not again.events
        assert set(again.actions) == set(first.actions)

    @invariant()
    def nothing_is_removed_that_is_wanted(self) -> None:
        wanted_states = (WorkerState.PENDING, WorkerState.STARTING, WorkerState.RUNNING, WorkerState.RETIRING)
        wanted = {worker.job.job_id for worker in self.record.workers if worker.state in wanted_states}
        assert self.decision is None or not wanted & {a.job_id for a in self.decision.actions if isinstance(a, Remove)}

    @invariant()
    def an_ended_cluster_leaves_nothing(self) -> None:
        if self.record.state.is_final:
            assert not any(job.is_out_there for job in self.record.jobs)
            assert not self.out.submitting

    def teardown(self) -> None:
        if hasattr(self, "record"):
            self.from_any_state_repeated_steps_reach_rest()

    def from_any_state_repeated_steps_reach_rest(self) -> None:
        """Where the world cooperates."""
        for _ in range(200):
            if self.cooperate():
                break
        else:
            raise AssertionError(f"no rest: {self.record}")
        self.check_rest()

    def cooperate(self) -> bool:
        """Do all that is asked for; whether nothing was left to do."""
        before = self.record
        self.out.idle_since = None
        self.step(partial(facts.granted, grant=Grant(True, self.record.wanted.workers)))
        self.out.linked = self.out.running.get(SCHEDULER) == "running"
        for job_id in sorted(self.out.submitting):
            self.out.submitting.discard(job_id)
            self.out.running[job_id] = "running"
            self.step(partial(facts.handle_saved, handle=handle_of(job_id)))
        for job_id in sorted(self.out.removing):
            self.removal_is_done_for(job_id)
        for job_id, state in self.out.running.items():
            if state != "ended":
                self.out.running[job_id] = "running"
                self.out.connected |= {worker_of(job_id)} - {"scheduler"}
        for worker in self.record.workers:
            if worker.state is WorkerState.RETIRING:
                self.out.connected.discard(worker.name)
                self.out.retired.add(worker.name)
        decision = self.step()
        if decision.wake_at is not None:
            self.now = max(self.now, decision.wake_at)
        quiet = decision.record == before and not self.out.submitting and not self.out.removing
        return quiet and (decision.wake_at is None or decision.record == self.step().record)

    def removal_is_done_for(self, job_id: str) -> None:
        self.out.removing.discard(job_id)
        self.out.running[job_id] = "ended"
        self.out.connected.discard(worker_of(job_id))
        self.step(partial(facts.job_removed, job_id=job_id))

    def check_rest(self) -> None:
        record = self.record
        assert record.state.is_final or record.state is ClusterState.RUNNING, record.state
        if record.state is ClusterState.RUNNING and record.worker_failures < RULES.worker_failure_limit:
            assert {w.state for w in record.workers if not w.state.is_final} <= {WorkerState.RUNNING}
            assert sum(not w.state.is_final for w in record.workers) == record.wanted.workers


Life.TestCase.settings = settings(max_examples=max(150, settings().max_examples), stateful_step_count=30)
TestLife = Life.TestCase


@given(running=st.integers(0, MAX_WORKERS), pending=st.integers(0, MAX_WORKERS), wanted=st.integers(0, MAX_WORKERS))
def test_scaling_down_gives_up_exactly_the_surplus_and_what_costs_nothing_first(
    running: int, pending: int, wanted: int
) -> None:
    pending = min(pending, MAX_WORKERS - running)
    wanted = min(wanted, running + pending)
    life = Life()
    life.create()
    life.step(ROOM)
    life.out.submitting.clear()
    life.out.running[SCHEDULER] = "running"
    life.out.linked = True
    life.step(partial(facts.handle_saved, handle=handle_of(SCHEDULER)))
    life.scale(running)
    life.step(ROOM)
    for job_id in sorted(life.out.submitting):
        life.out.submitting.discard(job_id)
        life.out.running[job_id] = "running"
        life.out.connected.add(worker_of(job_id))
        life.step(partial(facts.handle_saved, handle=handle_of(job_id)))
    life.step()
    life.scale(running + pending)
    life.step(ROOM)
    life.out.submitting.clear()  # the backend does not answer
    life.scale(wanted)
    life.step()
    by_state = [worker.state for worker in life.record.workers]
    assert by_state.count(WorkerState.PENDING) == max(0, min(pending, wanted - running))
    assert by_state.count(WorkerState.RUNNING) == min(running, wanted)
    assert by_state.count(WorkerState.RETIRING) == max(0, running - wanted)


def test_the_workers_with_the_least_to_lose_go_first() -> None:
    life = Life()
    life.create()
    life.step(ROOM)
    life.out.submitting.clear()
    life.out.running[SCHEDULER] = "running"
    life.out.linked = True
    life.step(partial(facts.handle_saved, handle=handle_of(SCHEDULER)))
    life.scale(3)
    life.step(ROOM)
    for job_id in sorted(life.out.submitting):
        life.out.running[job_id] = "running"
        life.out.connected.add(worker_of(job_id))
        life.step(partial(facts.handle_saved, handle=handle_of(job_id)))
    life.out.submitting.clear()
    life.step()
    report = AgentReport(
        workers={"worker-1": WorkerLoad(2, 10), "worker-2": WorkerLoad(0, 99), "worker-3": WorkerLoad(0, 100)},
        retired=frozenset(),
        clients=1,
        active=True,
        idle_since=None,
    )
    wanted = wishes.scaled(life.record, "ada", 2, life.now).record
    decision = reconcile(wanted, replace(life.observation(), report=report), life.now, RULES)
    assert [w.name for w in decision.record.workers if w.state is WorkerState.RETIRING] == ["worker-2"]
