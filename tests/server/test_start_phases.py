"""A start has phases with a patience each: the queue, making ready, and the start itself for what is stuck."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from dask_sluice.server.backends.protocol import Handle, JobKind, JobState, Seen
from dask_sluice.server.decision import Rules
from dask_sluice.server.model import ClusterRecord, Grant, JobRecord, Observation, SchedulerRecord
from dask_sluice.server.reconcile import reconcile
from dask_sluice.wire.reasons import Reason, ReasonCode
from dask_sluice.wire.states import ClusterState

from .records import record_of

START_S = 60.0  # what `record_of` gives a start
JOB = "ada-1-scheduler"
NO_NODE = Reason(ReasonCode.UNSCHEDULABLE, {"why": "the only node is full"})
NO_IMAGE = Reason(ReasonCode.IMAGE_NOT_FOUND, {"image": "i:1", "message": "not found"})
PULLING = Reason(ReasonCode.IMAGE_PULLING, {"image": "i:1"})


def starting() -> ClusterRecord:
    handle = Handle(JOB, "ada-1", JobKind.SCHEDULER, {})
    record = record_of("ada-1", state=ClusterState.STARTING)
    return replace(
        record, scheduler=SchedulerRecord(JobRecord(JOB, (handle,), submitted_at=0.0)), grant=Grant(scheduler=True)
    )


RULES = Rules(queue_limit_s=7000.0, prepare_limit_s=500.0)
LOG_IS_READ_S = RULES.read_log_s + 1  # of a job that said nothing, the last lines are wanted first


def after(record: ClusterRecord, now: float, seen: Seen) -> ClusterRecord:
    return reconcile(record, Observation(now, jobs={JOB: seen}), now, RULES).record


@pytest.mark.parametrize(
    ("seen", "patience_s"),
    [
        (Seen(JOB, JobState.PENDING, reason=NO_NODE), 7000.0),
        (Seen(JOB, JobState.STARTING, reason=PULLING), 500.0),
        (Seen(JOB, JobState.STARTING), 500.0),
        (Seen(JOB, JobState.STARTING, reason=NO_IMAGE, is_stuck=True), START_S),
    ],
)
def test_each_phase_has_its_patience_and_ends_by_what_it_waited_for(seen: Seen, patience_s: float) -> None:
    record = after(starting(), 0.0, seen)
    assert record.reason == (seen.reason or Reason(ReasonCode.SCHEDULER_STARTING))
    patient = after(record, patience_s - 1, seen)
    assert patient.wanted.stop is None
    stop = after(record, patience_s + LOG_IS_READ_S, seen).wanted.stop
    assert stop is not None
    assert stop.code is (seen.reason.code if seen.reason else ReasonCode.SCHEDULER_START_TIMEOUT)


def test_a_backend_that_does_not_say_how_its_jobs_are_is_what_a_start_waits_for_and_ends_by() -> None:
    """As where the API server does not let us look at pods, though it let us make one."""
    silent = Observation(
        10.0, silence=Reason(ReasonCode.BACKEND_UNAVAILABLE, {"backend": "kubernetes", "message": "forbidden"})
    )
    first = reconcile(starting(), silent, 10.0, RULES)
    assert first.record.reason == silent.silence
    assert [event.reason for event in first.events] == [silent.silence]
    again = reconcile(first.record, silent, 11.0, RULES)
    assert (again.events, again.record.wanted.stop) == ((), None)
    stop = reconcile(again.record, silent, START_S + 11, RULES).record.wanted.stop
    assert stop == silent.silence
    heard = after(again.record, 12.0, Seen(JOB, JobState.STARTING, reason=PULLING))
    assert heard.reason == PULLING


def test_by_default_a_queue_may_take_as_long_as_it_takes() -> None:
    assert Rules().queue_limit_s == math.inf
    decision = reconcile(starting(), Observation(1e9, jobs={JOB: Seen(JOB, JobState.PENDING)}), 1e9)
    assert decision.record.wanted.stop is None


def test_time_in_the_queue_does_not_count_for_what_follows() -> None:
    record = after(starting(), 1000.0, Seen(JOB, JobState.STARTING, reason=NO_IMAGE, is_stuck=True))
    assert record.scheduler.job.placed_at == 1000.0
    assert after(record, 1059.0, Seen(JOB, JobState.STARTING, reason=NO_IMAGE, is_stuck=True)).wanted.stop is None


def test_a_cause_is_told_once_although_its_words_change() -> None:
    first = reconcile(starting(), Observation(0.0, jobs={JOB: Seen(JOB, JobState.PENDING, reason=NO_NODE)}), 0.0)
    assert [event.reason for event in first.events] == [NO_NODE]
    other = Reason(ReasonCode.UNSCHEDULABLE, {"why": "two nodes are full"})
    second = reconcile(first.record, Observation(1.0, jobs={JOB: Seen(JOB, JobState.PENDING, reason=other)}), 1.0)
    assert (second.record.reason, second.events) == (other, ())
