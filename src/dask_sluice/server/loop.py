"""The loop: for every cluster that something happened to, decide once more and act.

Level-triggered: a cluster is marked, and what to do follows from what is wanted, kept and seen, never
from what the mark was for. One cluster is never worked on twice at a time. Facts that arrive while a
step is being written go together into the next one, so that a hundred handles cost a few writes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..wire.errors import BackendUnavailable, ClusterNotFound
from ..wire.states import ClusterState
from .about import now_about
from .backends.protocol import Backend
from .clock import Clock
from .decision import Action, Decision, Fact, Rules, Submit
from .errands import Errands
from .jobs import LaunchSettings
from .lookout import Lookout
from .model import ClusterRecord, Event
from .pulse import Pulse
from .reconcile import reconcile
from .sightings import Sightings
from .store import Store
from .sweeping import Sweeper

log = logging.getLogger(__name__)

UNFINISHED = tuple(state for state in ClusterState if not state.is_final)
STEPS_AT_ONCE = 32
RETRY_S = (0.5, 1, 2, 5, 10, 30)
BLINK_S = 20.0
ASLEEP_S = 60.0
"""Who wakes up so much later than meant was asleep: a machine that was suspended, a server without a processor."""


@dataclass
class _Attention:
    """What the loop remembers of one cluster while it lives; only the loop's own steps touch it."""

    record: ClusterRecord
    decided: int = 0
    """The version that the last step left; a later one was written by someone else."""
    marked: bool = True
    working: bool = False
    facts: list[tuple[Fact, asyncio.Future[ClusterRecord]]] = field(default_factory=list)
    wake_at: float | None = None
    alarm: asyncio.Task[None] | None = None
    failures: int = 0


class Loop:
    """Keeps every cluster going."""

    def __init__(
        self,
        store: Store,
        backend: Backend,
        clock: Clock,
        *,
        launch: LaunchSettings,
        rules: Rules | None = None,
        keep_ended_s: float = 7 * 86400.0,
        log_dir: Path | None = None,
    ) -> None:
        self.sightings = Sightings()
        self.pulse = Pulse()
        self._store = store
        self._backend = backend
        self._clock = clock
        self._rules = rules or Rules()
        self._sweeper = Sweeper(store, backend, clock, keep_ended_s=keep_ended_s, log_dir=log_dir)
        self._clusters: dict[str, _Attention] = {}
        self._slots = asyncio.Semaphore(STEPS_AT_ONCE)
        self._group: asyncio.TaskGroup | None = None
        self._lookout = Lookout(backend, self.sightings, clock, self.records, self.mark)
        self._errands = Errands(store, backend, clock, launch, self)
        store.on_change(self._changed)

    async def run(self, started: asyncio.Event | None = None) -> None:
        """Work until cancelled; `started` is set once everything on the books is being looked after."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                await self._take_up_the_books()
                group.create_task(self._lookout.run())
                group.create_task(self._sweeper.run())
                group.create_task(self._notice_sleep())
                self.pulse.running = True
                if started is not None:
                    started.set()
                await asyncio.Event().wait()
            finally:
                self._group, self.pulse.running = None, False

    def mark(self, name: str) -> None:
        """Decide about this cluster again, soon."""
        if attention := self._clusters.get(name):
            attention.marked = True
            self._work_on(name, attention)

    def look(self, name: str) -> None:
        """Ask the backend about this cluster's jobs, soon."""
        self._lookout.look(name)

    async def happened(self, name: str, fact: Fact) -> ClusterRecord:
        """Write this down and decide what follows; the record once it is on disk.

        raises  ClusterNotFound where no such cluster is at work
        """
        return await self.note(name, fact)

    def note(self, name: str, fact: Fact) -> asyncio.Future[ClusterRecord]:
        """The same, to be awaited later or never: the fact is in the cluster's next step."""
        attention = self._clusters.get(name)
        if attention is None:
            raise ClusterNotFound(f"no cluster named {name!r} is at work")
        written: asyncio.Future[ClusterRecord] = asyncio.get_running_loop().create_future()
        attention.facts.append((fact, written))
        self._work_on(name, attention)
        return written

    @property
    def backend_silence(self) -> tuple[float, str] | None:
        """Since when the backend does not say how its jobs are, and why; None while it does."""
        return self._lookout.silence

    def record(self, name: str) -> ClusterRecord | None:
        """The latest record of a cluster at work."""
        attention = self._clusters.get(name)
        return attention.record if attention else None

    def start_task(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something for as long as the loop runs."""
        if self._group is not None:
            self._group.create_task(work)
        else:
            work.close()

    def records(self) -> dict[str, ClusterRecord]:
        """The latest record of every cluster at work."""
        return {name: attention.record for name, attention in self._clusters.items()}

    async def _take_up_the_books(self) -> None:
        self.sightings.awake_since = self._clock.now()
        for record in await self._store.clusters(states=UNFINISHED):
            self._clusters[record.name] = _Attention(record, decided=record.version)
            self.sightings.unlinked(record.name, self._clock.now())
        await self._errands.recover()
        self._errands.resume()
        for name in list(self._clusters):
            self.look(name)
            self.mark(name)

    def _changed(self, record: ClusterRecord, _happened: tuple[Event, ...]) -> None:
        """The store wrote something, by us or by a request."""
        attention = self._clusters.get(record.name)
        if attention is None:
            if record.state.is_final:
                return
            attention = self._clusters[record.name] = _Attention(record)
        if record.version >= attention.record.version:
            attention.record = record
        self._work_on(record.name, attention)

    def _work_on(self, name: str, attention: _Attention) -> None:
        if not attention.working and self._group is not None:
            attention.working = True
            self._group.create_task(self._work(name, attention))

    async def _work(self, name: str, attention: _Attention) -> None:
        now_about(name)
        try:
            while attention.marked or attention.facts or attention.record.version > attention.decided:
                attention.marked = False
                facts, attention.facts = attention.facts, []
                if not await self._try_step(name, attention, facts):
                    attention.facts = facts + attention.facts
                    return
                if name not in self._clusters:
                    return
        finally:
            attention.working = False

    async def _try_step(
        self, name: str, attention: _Attention, facts: list[tuple[Fact, asyncio.Future[ClusterRecord]]]
    ) -> bool:
        """One step, or an alarm to try it again; whether it was taken."""
        try:
            async with self._slots:
                self.pulse.began(name, self._clock.now())
                decision = await self._step(name, [fact for fact, _ in facts])
        except ClusterNotFound:
            attention.facts += facts
            self._leave(name)
            return True
        except BackendUnavailable as error:  # the database cannot be written
            self._try_again(name, attention, str(error.message))
            return False
        except Exception:  # a fault in one cluster's step must not end the others
            log.exception("%s: a step failed", name)
            self._try_again(name, attention, "a step failed")
            return False
        finally:
            self.pulse.ended(name)
        attention.failures, attention.decided = 0, decision.record.version
        self.pulse.succeeded(name)
        for _, written in facts:
            if not written.done():
                written.set_result(decision.record)
        self._follow_up(name, attention, decision)
        return True

    async def _step(self, name: str, facts: list[Fact]) -> Decision:
        now = self._clock.now()
        seen = self.sightings.observation(name, now, self._errands.submitting(name))
        return await self._store.change(
            name, lambda record: reconcile(record, seen, now, self._rules, facts), durable=False
        )

    def _follow_up(self, name: str, attention: _Attention, decision: Decision) -> None:
        for action in decision.actions:
            self._act(decision.record, action)
        if decision.record.state.is_final:
            self._leave(name)
        else:
            self._set_alarm(name, attention, decision.wake_at)

    def _act(self, record: ClusterRecord, action: Action) -> None:
        if isinstance(action, Submit):
            self._errands.submit(record, action.job_id)
        else:
            self._errands.remove(record, action.job_id)

    def _try_again(self, name: str, attention: _Attention, why: str) -> None:
        delay_s = RETRY_S[min(attention.failures, len(RETRY_S) - 1)]
        attention.failures += 1
        self.pulse.failed(name, why)
        log.error("%s: %s; trying again in %g s", name, why, delay_s)
        attention.marked = True
        self._set_alarm(name, attention, self._clock.now() + delay_s)

    def _set_alarm(self, name: str, attention: _Attention, at: float | None) -> None:
        if attention.wake_at == at and attention.alarm is not None:
            return
        if attention.alarm is not None:
            attention.alarm.cancel()
        attention.wake_at, attention.alarm = at, None
        if at is not None and self._group is not None:
            attention.alarm = self._group.create_task(self._ring(name, at))

    async def _ring(self, name: str, at: float) -> None:
        await self._clock.sleep(max(0.0, at - self._clock.now()))
        if attention := self._clusters.get(name):
            attention.wake_at, attention.alarm = None, None
            self.mark(name)

    def _leave(self, name: str) -> None:
        """The cluster has ended, or is no more."""
        if attention := self._clusters.pop(name, None):
            if attention.alarm is not None:
                attention.alarm.cancel()
            for _, written in attention.facts:
                if not written.done():
                    written.set_exception(ClusterNotFound(f"cluster {name!r} has ended"))
        self.sightings.forget(name)
        self._errands.forget(name)
        self.pulse.left(name)

    async def _notice_sleep(self) -> None:
        """Time that we slept through is held against nobody's lease."""
        while True:
            before = self._clock.now()
            await self._clock.sleep(BLINK_S)
            if self._clock.now() > before + ASLEEP_S:
                log.warning("the server was asleep for %.0f s", self._clock.now() - before)
                self.sightings.awake_since = self._clock.now()
