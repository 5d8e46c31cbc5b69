"""A spent budget lands softly: a warning, no new workers, a time of grace, the end; each is said once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from dask_sluice.server import wishes
from dask_sluice.server.budgets import Budget, Budgets, Level, Period, Thresholds, Verdict, judge, period_of, worst
from dask_sluice.server.decision import Decision, Fact, Submit
from dask_sluice.server.model import LeaseTerms
from dask_sluice.server.reconcile_budget import judged
from dask_sluice.server.settings_usage import Usage
from dask_sluice.wire.reasons import ReasonCode
from dask_sluice.wire.states import ClusterState, WorkerState

from .test_reconcile_properties import ROOM, SPEC, Life

DAY_S = 86400.0
GRACE_S = 100.0
BUDGET = Budget("user ada", 50.0, "EUR", "day", "usage.budgets.per_user")
THRESHOLDS = Thresholds(0.8, 1.1, GRACE_S)
amounts = st.floats(0, 1e9)
periods: st.SearchStrategy[Period] = st.sampled_from(get_args(Period))
moments = st.floats(0, 4e9)


@given(amounts, amounts, amounts, moments)
def test_who_spends_more_is_never_better_off(amount: float, spent: float, more: float, now: float) -> None:
    budget = Budget("user ada", amount, "EUR", "month", "")
    levels = [judge(budget, each, now, THRESHOLDS).level.rank for each in sorted((spent, more))]
    assert levels == sorted(levels)


@pytest.mark.parametrize(
    ("spent", "level"),
    [
        (0, Level.FINE),
        (39.99, Level.FINE),
        (40, Level.WARN),
        (49.99, Level.WARN),
        (50, Level.NO_NEW_WORKERS),
        (54.99, Level.NO_NEW_WORKERS),
        (55.01, Level.DRAIN),
    ],
)
def test_the_thresholds_are_where_they_are_set(spent: float, level: Level) -> None:
    assert judge(BUDGET, spent, 0, THRESHOLDS).level is level


def test_a_budget_of_nothing_allows_nothing() -> None:
    assert judge(Budget("user ada", 0, "EUR", "day", ""), 0, 0, THRESHOLDS).level is Level.DRAIN


@given(periods, moments)
def test_a_period_holds_its_moment_and_the_next_begins_where_it_ends(period: Period, now: float) -> None:
    begin, end = period_of(period, now)
    assert begin <= now < end
    assert period_of(period, begin) == (begin, end)
    assert period_of(period, end)[0] == end


@given(moments)
def test_days_begin_at_midnight_weeks_on_monday_months_on_the_first(now: float) -> None:
    day, week, month = (datetime.fromtimestamp(period_of(each, now)[0], UTC) for each in ("day", "week", "month"))
    assert {(each.hour, each.minute, each.second) for each in (day, week, month)} == {(0, 0, 0)}
    assert (week.weekday(), month.day) == (0, 1)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=5))
def test_the_worst_budget_counts(spent: list[float]) -> None:
    verdicts = [judge(BUDGET, each, 0, THRESHOLDS) for each in spent]
    found = worst(verdicts)
    assert found is not None
    assert found.level.rank == max(verdict.level.rank for verdict in verdicts)
    assert worst([]) is None


def test_the_most_special_setting_goes_first_and_null_is_without_end() -> None:
    budgets = Budgets(
        Usage.model_validate(
            {
                "prices": {"currency": "USD"},
                "budgets": {
                    "per_user": {"amount": 10},
                    "per_group": {"amount": 100, "unit": "core_hours", "period": "week"},
                    "users": {"ada": {"amount": 20, "period": "day"}, "root": None},
                    "groups": {"staff": None},
                },
            }
        )
    )
    assert budgets.periods == {"day", "week", "month"}
    ada = Budget("user ada", 20, "USD", "day", "usage.budgets.users.ada")
    physics = Budget("group physics", 100, "core-hours", "week", "usage.budgets.per_group")
    assert budgets.of("ada", "physics") == (ada, physics)
    assert budgets.of("grace", "") == (Budget("user grace", 10, "USD", "month", "usage.budgets.per_user"),)
    assert budgets.of("root", "staff") == ()
    assert Budgets(Usage()).periods == frozenset()


class LifeOnABudget(Life):
    """Any life of a cluster while its owner's budget, and its group's, are drawn on and renewed."""

    @initialize(workers=st.integers(0, 6))
    def create(self, workers: int) -> None:
        super().create()
        # The only end in sight is that of the budget.
        self.record = replace(self.record, spec=replace(SPEC, lease=LeaseTerms()))
        self.said: Counter[tuple[ReasonCode, str]] = Counter()
        for _ in range(4):
            self.cooperate()
            if self.record.state is ClusterState.RUNNING:
                self.scale(workers)

    def step(self, *what: Fact) -> Decision:
        before = self.record
        decision = super().step(*what)
        for event in decision.events:
            if event.reason.code is ReasonCode.BUDGET_WARNING:
                scope = event.reason.details["scope"]
                self.said[event.reason.code, f"{scope} {period_of('day', self.now)}"] += 1
        if decision.record.budget is not None and decision.record.budget.level.blocks:
            assert decision.record.next_worker == before.next_worker, "a worker was made on a spent budget"
            pending = {worker.job.job_id for worker in before.workers if worker.state is WorkerState.PENDING}
            submitted = {action.job_id for action in decision.actions if isinstance(action, Submit)}
            workers = {worker.job.job_id for worker in decision.record.workers}
            assert submitted & workers <= pending & self.out.submitting, "a worker was submitted on a spent budget"
        return decision

    @rule(user=st.floats(0, 70), group=st.floats(0, 70))
    def it_is_added_up(self, user: float, group: float) -> None:
        verdicts = [
            judge(Budget(scope, 50, "EUR", "day", ""), spent, self.now, THRESHOLDS)
            for scope, spent in (("user ada", user), ("group physics", group))
        ]
        self.step(partial(judged, verdict=worst(verdicts)))

    @rule()
    def a_day_passes(self) -> None:
        self.now += DAY_S
        self.step(partial(judged, verdict=judge(BUDGET, 0, self.now, THRESHOLDS)))

    @rule()
    def budgets_are_done_away_with(self) -> None:
        self.step(partial(judged, verdict=None))

    @invariant()
    def a_warning_is_said_once_in_a_period(self) -> None:
        assert all(times == 1 for times in self.said.values())

    @invariant()
    def whoever_is_to_end_has_its_time_of_grace_and_no_more(self) -> None:
        mark = self.record.budget
        if mark is None or not self.record.state.is_active:
            return
        assert (mark.ends_at is not None) == (mark.level is Level.DRAIN)
        assert mark.ends_at is None or mark.ends_at > self.now

    def check_rest(self) -> None:
        mark = self.record.budget
        if mark is None or not mark.level.blocks:
            super().check_rest()


LifeOnABudget.TestCase.settings = settings(max_examples=max(100, settings().max_examples), stateful_step_count=40)
TestLifeOnABudget = LifeOnABudget.TestCase


def running(workers: int) -> LifeOnABudget:
    life = LifeOnABudget()
    life.create(workers)
    for _ in range(3):
        life.cooperate()
    assert life.record.state is ClusterState.RUNNING
    return life


def spent(life: Life, amount: float) -> Decision:
    return life.step(partial(judged, verdict=judge(BUDGET, amount, life.now, THRESHOLDS)))


def sentences(decision: Decision) -> list[str]:
    return [event.reason.sentence for event in decision.events]


def states(life: Life) -> list[WorkerState]:
    return [worker.state for worker in life.record.workers if not worker.state.is_final]


def test_from_the_warning_to_the_end() -> None:
    life = running(2)
    (warning,) = sentences(spent(life, 41.5))
    assert (
        warning == "83 % of the budget of user ada is spent, 41.50 of 50.00 EUR for the day until 1970-01-02 00:00 UTC"
    )
    assert sentences(spent(life, 45)) == []
    (held,) = sentences(spent(life, 50))
    assert held.startswith("no new workers are started, running ones go on: the budget of user ada is spent, 50.00 of")
    assert states(life) == [WorkerState.RUNNING] * 2
    assert life.record.reason.code is ReasonCode.RUNNING, "nothing waits"
    (draining,) = sentences(spent(life, 56))
    assert draining.startswith("this cluster will be ended at 1970-01-01 00:")
    assert life.record.budget is not None
    ends_at = life.record.budget.ends_at
    assert ends_at == life.now + GRACE_S
    assert life.step().wake_at == ends_at, "nobody needs to look"
    life.now = ends_at - 1
    assert life.step().record.state is ClusterState.RUNNING
    life.now = ends_at
    ended = life.step().record
    assert ended.state is ClusterState.STOPPING
    assert ended.reason.code is ReasonCode.BUDGET_SPENT
    assert ended.reason.sentence.startswith("ended because the budget of user ada is overspent: 56.00 of 50.00 EUR")


def test_who_asks_for_workers_on_a_spent_budget_is_told_and_gets_them_when_it_is_renewed() -> None:
    life = running(1)
    spent(life, 50)
    life.scale(3)
    decision = life.step(ROOM)
    assert decision.record.grant.workers == 1, "room that it cannot use is for others"
    assert decision.record.reason.code is ReasonCode.BUDGET_NO_NEW_WORKERS
    assert [event.reason.code for event in decision.events] == [ReasonCode.BUDGET_NO_NEW_WORKERS]
    assert states(life) == [WorkerState.RUNNING]
    life.now = DAY_S
    decision = spent(life, 0)
    assert [event.reason.code for event in decision.events] == [ReasonCode.BUDGET_RENEWED]
    assert decision.record.reason.code is ReasonCode.RUNNING
    life.step(ROOM)
    assert len(states(life)) == 3


def test_a_dead_worker_is_not_replaced_on_a_spent_budget() -> None:
    life = running(2)
    spent(life, 50)
    job_id = life.record.workers[0].job.job_id
    life.out.running[job_id] = "ended"
    life.out.connected.discard(life.record.workers[0].name)
    life.step()
    assert states(life) == [WorkerState.RUNNING]
    assert life.record.wanted.workers == 2, "it is still wanted"


def test_workers_that_were_not_submitted_yet_are_not_any_more() -> None:
    life = running(1)
    life.record = wishes.scaled(life.record, "ada", 4, life.now).record
    life.step(ROOM)
    assert states(life).count(WorkerState.PENDING) == 3
    life.out.submitting.clear()  # the backend did not answer
    spent(life, 50)
    assert states(life) == [WorkerState.RUNNING]


def test_a_budget_that_is_raised_in_time_saves_the_cluster() -> None:
    life = running(1)
    spent(life, 60)
    life.now += GRACE_S - 1
    raised: Verdict = judge(Budget("user ada", 500, "EUR", "day", ""), 60, life.now, THRESHOLDS)
    life.step(partial(judged, verdict=raised))
    life.now += GRACE_S
    life.step()
    assert life.record.state is ClusterState.RUNNING
