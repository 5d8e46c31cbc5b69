"""What a spent budget does to a cluster: the part of reconcile that warns, holds back and ends it. Pure.

How much is spent cannot be seen by looking at one cluster: `budget_keeper` adds it up and brings the verdict as a
fact. The record keeps the last one, so that a restart neither repeats a warning nor forgets a day of reckoning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..wire.reasons import Reason, ReasonCode
from ..wire.states import WorkerState
from .budgets import BudgetMark, Level, Verdict, in_words
from .decision import Draft
from .facts import settle_reason
from .model import WorkerRecord


def is_news(mark: BudgetMark | None, verdict: Verdict | None) -> bool:
    """Whether a cluster should hear of this verdict; that more is spent at the same level is none."""
    level = Level.FINE if verdict is None else verdict.level
    before = None if mark is None else mark.verdict
    if level is Level.FINE or verdict is None:
        return before is not None
    return before is None or replace(before, spent=verdict.spent) != verdict


def budget_notice(mark: BudgetMark | None) -> Reason | None:
    """What the people at the cluster should know of its budgets, while it holds."""
    if mark is None or mark.verdict is None:
        return None
    return _what_is_said(mark.verdict, mark.ends_at)


def judged(draft: Draft, verdict: Verdict | None) -> None:
    """The fact: this is how the budgets stand that the cluster draws on; None: it has none."""
    record = draft.record
    if record.state.is_final or record.wanted.stop is not None or not is_news(record.budget, verdict):
        return
    before = record.budget or BudgetMark(None)
    told = tuple(each for each in before.told if each[2] > draft.now)
    if verdict is None or verdict.level is Level.FINE:
        draft.set(budget=BudgetMark(None, None, told))
        _renew(draft, before)
        return
    ends_at = None
    if verdict.level is Level.DRAIN:
        ends_at = draft.now + verdict.grace_s if before.ends_at is None else before.ends_at
    key = (verdict.budget.scope, verdict.level, verdict.period_ends_at)
    draft.set(budget=BudgetMark(verdict, ends_at, told if key in told else (*told, key)))
    if not verdict.level.blocks:
        _renew(draft, before)
    if key not in told or (ends_at is not None and before.ends_at is None):
        draft.tell("cluster", "cluster", _what_is_said(verdict, ends_at))


def end_if_overspent(draft: Draft) -> None:
    """The time of grace is over, and the budget is still overspent."""
    mark = draft.record.budget
    if mark is None or mark.verdict is None or mark.ends_at is None:
        return
    if draft.passed(mark.ends_at):
        draft.end(Reason(ReasonCode.BUDGET_SPENT, mark.verdict.details), failed=False)


def within_budget(draft: Draft, living: Sequence[WorkerRecord]) -> int:
    """How many of the wanted workers the budget allows: no fewer than were submitted, and no new ones once it is spent.

    Where that holds workers back, the cluster's reason says so.
    """
    mark, wanted = draft.record.budget, draft.record.wanted.workers
    if mark is None or mark.verdict is None or not mark.level.blocks:
        return wanted
    submitted = sum(
        worker.state is not WorkerState.PENDING or worker.job.job_id in draft.seen.submitting for worker in living
    )
    if wanted > submitted and draft.record.reason.code is not ReasonCode.BUDGET_NO_NEW_WORKERS:
        reason = Reason(ReasonCode.BUDGET_NO_NEW_WORKERS, mark.verdict.details)
        draft.set(reason=reason)
        draft.tell("cluster", "cluster", reason)
    return min(wanted, submitted)


def _renew(draft: Draft, before: BudgetMark) -> None:
    """Workers may be started again."""
    if before.verdict is None or not before.level.blocks:
        return
    draft.tell("cluster", "cluster", Reason(ReasonCode.BUDGET_RENEWED, before.verdict.details))
    if draft.record.reason.code is ReasonCode.BUDGET_NO_NEW_WORKERS:
        settle_reason(draft)


def _what_is_said(verdict: Verdict, ends_at: float | None) -> Reason:
    if ends_at is not None:
        return Reason(ReasonCode.BUDGET_DRAINING, {**verdict.details, "ends": in_words(ends_at)})
    if verdict.level is Level.WARN:
        percent = int(100 * verdict.spent / verdict.budget.amount)
        return Reason(ReasonCode.BUDGET_WARNING, {**verdict.details, "percent": percent})
    return Reason(ReasonCode.BUDGET_NO_NEW_WORKERS, verdict.details)
