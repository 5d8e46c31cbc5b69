"""Budgets: what may be spent in a period, and what follows from how much is. Pure.

A cluster draws on its user's budget and on that of the group that is charged; the worse of the two counts.
The landing is soft: a warning, then no new workers, then the end of what still runs, after a time of grace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Literal

from . import settings_usage

Period = Literal["day", "week", "month"]
CORE_HOURS = "core-hours"


class Level(StrEnum):
    """How far a budget is used up; each level includes those before it."""

    FINE = "fine"
    WARN = "warn"
    NO_NEW_WORKERS = "no_new_workers"
    DRAIN = "drain"

    @property
    def rank(self) -> int:
        return list(Level).index(self)

    @property
    def blocks(self) -> bool:
        """Whether nothing new is started."""
        return self in (Level.NO_NEW_WORKERS, Level.DRAIN)


@dataclass(frozen=True)
class Budget:
    """One scope's budget. `set_by` is the setting that it comes from."""

    scope: str
    """`user ada` or `group physics`."""
    amount: float
    unit: str
    """A currency, or `core-hours`."""
    period: Period
    set_by: str


@dataclass(frozen=True)
class Thresholds:
    """Parts of the amount at which something happens, and the time between the last word and the end."""

    warn_at: float = 0.8
    drain_at: float = 1.1
    drain_grace_s: float = 900.0


@dataclass(frozen=True)
class Verdict:
    """How a budget stands. Times in seconds since the epoch."""

    level: Level
    budget: Budget
    spent: float
    period_ends_at: float
    grace_s: float

    @property
    def details(self) -> Mapping[str, Any]:
        """What the sentences of the catalogue of reasons are filled from."""
        budget = self.budget
        return {
            "scope": budget.scope,
            "spent": round(self.spent, 6),
            "amount": budget.amount,
            "unit": budget.unit,
            "period": budget.period,
            "until": in_words(self.period_ends_at),
            "set_by": budget.set_by,
        }


@dataclass(frozen=True)
class BudgetMark:
    """What a cluster's record keeps of its budgets."""

    verdict: Verdict | None
    """The last one that differed from the one before; None: all is fine again."""
    ends_at: float | None = None
    """When the cluster is ended, where it is to be."""
    told: tuple[tuple[str, Level, float], ...] = ()
    """Scope, level and end of period of what was said, so that it is said once."""

    @property
    def level(self) -> Level:
        return Level.FINE if self.verdict is None else self.verdict.level


def period_of(period: Period, now: float) -> tuple[float, float]:
    """Beginning and end of the day, week or month (UTC) that `now` is in."""
    day = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        begin, end = day, day + timedelta(days=1)
    elif period == "week":
        begin = day - timedelta(days=day.weekday())
        end = begin + timedelta(days=7)
    else:
        begin = day.replace(day=1)
        end = (begin + timedelta(days=32)).replace(day=1)
    return begin.timestamp(), end.timestamp()


def judge(budget: Budget, spent: float, now: float, thresholds: Thresholds) -> Verdict:
    """What follows from so much spent of this budget in the period that `now` is in."""
    if spent >= budget.amount * thresholds.drain_at:
        level = Level.DRAIN
    elif spent >= budget.amount:
        level = Level.NO_NEW_WORKERS
    elif spent >= budget.amount * thresholds.warn_at:
        level = Level.WARN
    else:
        level = Level.FINE
    return Verdict(level, budget, spent, period_of(budget.period, now)[1], thresholds.drain_grace_s)


def worst(verdicts: Sequence[Verdict]) -> Verdict | None:
    """The one that counts; of equals the first."""
    return max(verdicts, key=lambda verdict: verdict.level.rank, default=None)


class Budgets:
    """The administrator's budgets, found by user and group."""

    def __init__(self, settings: settings_usage.Usage) -> None:
        self._settings = settings.budgets
        self.currency = settings.prices.currency
        self.thresholds = Thresholds(
            settings.budgets.warn_at, settings.budgets.drain_at, settings.budgets.drain_grace_s
        )

    @property
    def periods(self) -> frozenset[Period]:
        """Every period that some budget has; none where there are no budgets."""
        given = self._settings
        every = (given.per_user, given.per_group, *given.users.values(), *given.groups.values())
        return frozenset(budget.period for budget in every if budget is not None)

    def of(self, user: str, group: str) -> tuple[Budget, ...]:
        """The budgets that this user's clusters draw on while `group` is charged: the user's first."""
        given = self._settings
        found = [self._budget("user", user, given.users, given.per_user)]
        if group:
            found.append(self._budget("group", group, given.groups, given.per_group))
        return tuple(budget for budget in found if budget is not None)

    def _budget(
        self,
        kind: Literal["user", "group"],
        name: str,
        own: Mapping[str, settings_usage.Budget | None],
        common: settings_usage.Budget | None,
    ) -> Budget | None:
        given = own.get(name, common)
        if given is None:
            return None
        set_by = f"usage.budgets.{kind}s.{name}" if name in own else f"usage.budgets.per_{kind}"
        unit = CORE_HOURS if given.unit == "core_hours" else self.currency
        return Budget(f"{kind} {name}", given.amount, unit, given.period, set_by)


def in_words(time: float) -> str:
    """A point in time as sentences have it."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M UTC")
