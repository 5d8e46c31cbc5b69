"""The shell around `admission`: hears of every record, hands out what there is room for, tells those who wait.

What it gives is a fact in the cluster's next step: a cluster with room starts as fast as if there were no limits.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from ..wire.errors import BackendUnavailable, ClusterNotFound
from ..wire.reasons import Reason, ReasonCode
from . import facts
from .admission import Admission, Block, Demand, demand_of
from .amounts import DIMENSIONS, Amounts
from .clock import Clock
from .decision import Fact, plain
from .limits import LimitBook
from .loop import Loop, NotHeld
from .model import ClusterRecord, Event, Grant
from .store import Store

log = logging.getLogger(__name__)

TELL_AFTER_S = 1.0
"""Whoever waits longer is told behind which limit, and at which place."""
LOOK_EVERY_S = 0.5
TELL_EVERY_S = 5.0
"""How often places are told anew."""
HALF_LIVES_REMEMBERED = 4
"""What was used before counts a sixteenth at most."""
PLACES_TOLD = 100
"""How far down the line places are kept up to date; who stands further back sees the one that they had first."""
MANY = 50
"""With so many in line, the changes of a moment make one decision."""
GATHER_S = 0.02


class Turnstile:
    """Lets schedulers and workers through while there is room."""

    def __init__(self, store: Store, loop: Loop, clock: Clock, book: LimitBook) -> None:
        self.admission = Admission(book)
        self._limits = book.limits
        self._store = store
        self._loop = loop
        self._clock = clock
        self._group: asyncio.TaskGroup | None = None
        self._leads = not store.replica
        self._told: dict[str, Reason] = {}
        """What those wait for on whose clusters other servers work."""
        self._alarm_at: float | None = None
        self._decision_due = asyncio.Event()
        store.on_change(self._changed)

    async def run(self) -> None:
        """Work until cancelled; the loop works already."""
        now = self._clock.now()
        for record in self._loop.records().values():
            self.admission.update(demand_of(record), now)
        try:
            async with asyncio.TaskGroup() as self._group:
                self._group.create_task(self._remember_what_was_used())
                self._group.create_task(self._decide_when_due())
                self._group.create_task(self._tell_who_waits_for_ever())
                self._decide()
        finally:
            self._group = None

    async def _remember_what_was_used(self) -> None:
        """By the ledger: a restart must not make those equal who were not."""
        now = self._clock.now()
        since = now - HALF_LIVES_REMEMBERED * self._limits.shares.half_life_s
        try:
            past = await self._store.intervals(since, now, None, list)
        except BackendUnavailable as error:
            log.warning("who used how much lately is not known: %s", error.message)
            return
        for each in past:
            used = Amounts(0, 1, round(1000 * each.cores), each.memory_bytes, each.gpus)
            until = now if each.ended_at is None else each.ended_at
            self.admission.standing.remember(each.user, each.group, used.slots, max(since, each.started_at), until, now)

    def lead(self, leads: bool) -> None:
        """Of several servers one decides, for all of them: whether it is this one."""
        self._leads = leads
        self._look()

    def _changed(self, record: ClusterRecord, _happened: tuple[Event, ...]) -> None:
        now = self._clock.now()
        if record.state.is_final:
            self.admission.forget(record.name, now)
            self._told.pop(record.name, None)
        else:
            self.admission.update(demand_of(record), now)
        self._look()

    def _look(self) -> None:
        """Decide at once, so that what has room starts with the very next step; where a crowd waits, soon."""
        if self._group is None or not self._leads or not self.admission.waiting:
            return
        if self.admission.waiting < MANY:
            self._decide()
        else:
            self._decision_due.set()

    async def _decide_when_due(self) -> None:
        while True:
            await self._decision_due.wait()
            self._decision_due.clear()
            self._decide()
            await self._clock.sleep(GATHER_S)

    def _decide(self) -> None:
        if not self._leads:
            return
        granted, wake_at = self.admission.decide(self._clock.now())
        for name, grant in granted.items():
            self._note(name, partial(facts.granted, grant=grant), grant)
        if wake_at is not None and self._group is not None and (self._alarm_at is None or wake_at < self._alarm_at):
            self._alarm_at = wake_at
            self._group.create_task(self._ring(wake_at))

    async def _ring(self, at: float) -> None:
        """Time has made room: somebody's next start is due."""
        await self._clock.sleep(max(0.0, at - self._clock.now()))
        self._alarm_at = None
        self._decision_due.set()

    def _note(self, name: str, fact: Fact, grant: Grant | None = None) -> None:
        def written(done: asyncio.Future[ClusterRecord]) -> None:
            now, error = self._clock.now(), None if done.cancelled() else done.exception()
            if isinstance(error, NotHeld):  # it goes to another server just now: tell that one
                self._note(name, fact, grant)
            elif isinstance(error, ClusterNotFound):
                self.admission.forget(name, now)
            elif not done.cancelled() and grant is not None:
                self.admission.settled(name, grant, now)
                self._look()

        self._loop.note(name, fact).add_done_callback(written)

    async def _tell_who_waits_for_ever(self) -> None:
        while True:
            for _ in range(round(TELL_EVERY_S / LOOK_EVERY_S)):
                await self._clock.sleep(LOOK_EVERY_S)
                self._tell_who_waits(only_news=True)
            self._tell_who_waits()

    def _tell_who_waits(self, *, only_news: bool = False) -> None:
        now = self._clock.now()
        if not self._leads or not self.admission.waiting:
            return
        news = {each.cluster for each in self.admission.waiters() if self._is_to_be_told(each, now)}
        if only_news and not news:
            return
        for place, name in enumerate(self.admission.line(now), start=1):
            if name not in news and (only_news or place > PLACES_TOLD):
                continue
            demand, block, record = self.admission.demand(name), self.admission.why(name), self._loop.record(name)
            if demand is None or block is None or demand.since + TELL_AFTER_S > now:
                continue
            reason = self._reason(demand, block, place)
            if reason != (record.reason if record else self._told.get(name)):
                self._told[name] = reason
                self._note(name, partial(facts.queued, reason=reason))

    def _is_to_be_told(self, demand: Demand, now: float) -> bool:
        """Whether its owner does not know yet that it waits."""
        record = self._loop.record(demand.cluster)
        told = record.reason if record else self._told.get(demand.cluster)
        nothing_said = told is None or told.code in facts.NOTHING_SAID
        return nothing_said and demand.since + TELL_AFTER_S <= now

    def _reason(self, demand: Demand, block: Block, place: int) -> Reason:
        missing = demand.wanted - demand.grant.workers if demand.grant.scheduler else 1
        who = block.scope.shown
        if block.bound is None:
            limits = self._limits
            at_once = f"{limits.submits_at_once} at a time (limits.submits_at_once)"
            limit = (
                at_once if block.until is None else f"{limits.starts_per_minute} a minute (limits.starts_per_minute)"
            )
            return plain(ReasonCode.QUEUED_FOR_TURN, count=missing, who=who, limit=limit)
        used = f"{block.used / DIMENSIONS[block.bound.dimension].scale:g}"
        told = {"who": who, "used": used, "limit": block.bound.shown, "position": place}
        if demand.grant.scheduler:
            return plain(ReasonCode.WORKERS_QUEUED, count=missing, **told)
        return plain(ReasonCode.QUEUED, **told)
