"""Who adds up what is spent: once a minute, for every budget there is, and tells the clusters that it concerns.

The numbers come from the ledger, so a restart loses nothing; what follows from them is decided in `budgets`, and
what a cluster does about it in `reconcile_budget`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from ..wire.errors import ClusterNotFound, LimitExceeded
from .budgets import CORE_HOURS, Budget, Budgets, Period, Verdict, judge, period_of, worst
from .clock import Clock
from .ledger import charged_group
from .model import ClusterSpec
from .reconcile_budget import is_news, judged

if TYPE_CHECKING:
    from .loop import Loop
    from .store import Store

log = logging.getLogger(__name__)

EVERY_S = 60.0

Sums = Mapping[tuple[str, str], float]
"""Scope and unit, to what is spent."""


class BudgetKeeper:
    """Knows how every budget stands, to the minute."""

    def __init__(self, store: Store, loop: Loop, clock: Clock, budgets: Budgets) -> None:
        self._store = store
        self._loop = loop
        self._clock = clock
        self._budgets = budgets
        self._spent: dict[Period, tuple[float, Sums]] = {}
        """By length of period: when the one began that was added up, and the sums."""
        self._adding = asyncio.Lock()

    async def run(self) -> None:
        """Add up and tell, until cancelled; once only where nobody has a budget."""
        while True:
            try:
                await self.refresh()
            except Exception:  # a database that does not answer must not end the server; the next minute tries again
                log.exception("adding up what is spent failed")
            if not self._budgets.periods:
                return
            await self._clock.sleep(EVERY_S)

    async def refresh(self) -> None:
        """Add up what is spent, and tell every cluster for which that changes something."""
        async with self._adding:  # so that older sums never replace newer ones
            now = self._clock.now()
            for period in self._budgets.periods:
                since = period_of(period, now)[0]
                self._spent[period] = since, await self._add_up(since, now)
        for name, record in self._loop.records().items():
            verdict = self.verdict(record.spec)
            if record.wanted.stop is None and is_news(record.budget, verdict):
                self._loop.start_task(self._tell(name, verdict))

    def verdict(self, spec: ClusterSpec) -> Verdict | None:
        """How the budgets of this cluster stand, the worst of them; None where it has none."""
        now = self._clock.now()
        budgets = self._budgets.of(spec.owner, charged_group(spec))
        return worst([judge(budget, self._spent_of(budget, now), now, self._budgets.thresholds) for budget in budgets])

    def admit(self, spec: ClusterSpec) -> None:
        """Return if a new cluster is within its budgets.

        raises  LimitExceeded with the budget, its amount, what is spent, who set it and when its period ends
        """
        verdict = self.verdict(spec)
        if verdict is None or not verdict.level.blocks:
            return
        budget, details = verdict.budget, verdict.details
        raise LimitExceeded(
            f"the budget of {budget.scope} is spent: {verdict.spent:.2f} of {budget.amount:.2f} {budget.unit} for the "
            f"{budget.period} that ends on {details['until']}",
            hint=f"An administrator sets it ({budget.set_by}) and can raise it; `dask-sluice usage` shows what it "
            "went on.",
            details={**details, "limit": budget.set_by, "value": budget.amount, "used": details["spent"],
                     "period_ends_at": verdict.period_ends_at},
        )  # fmt: skip

    async def _add_up(self, since: float, until: float) -> Sums:
        sums: defaultdict[tuple[str, str], float] = defaultdict(float)
        currency = self._budgets.currency
        for each in await self._store.spent(since, until, currency):
            for scope in (f"user {each.user}", *([f"group {each.group}"] if each.group else ())):
                sums[scope, currency] += each.cost
                sums[scope, CORE_HOURS] += each.core_hours
        return sums

    def _spent_of(self, budget: Budget, now: float) -> float:
        since, sums = self._spent.get(budget.period, (0.0, {}))
        # Sums of a period that is over say nothing of the new one.
        return sums.get((budget.scope, budget.unit), 0.0) if since == period_of(budget.period, now)[0] else 0.0

    async def _tell(self, name: str, verdict: Verdict | None) -> None:
        with suppress(ClusterNotFound):  # it has ended
            await self._loop.happened(name, partial(judged, verdict=verdict))
