"""The loop: for every cluster that something happened to, decide once more and act.

Level-triggered: a cluster is marked, and what to do follows from what is wanted, kept and seen, never
from what the mark was for. One cluster is never worked on twice at a time. Facts that arrive while a
step is being written go together into the next one, so that a hundred handles cost a few writes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..wire.errors import BackendUnavailable, ClusterNotFound
from ..wire.reasons import ReasonCode
from ..wire.states import ClusterState
from . import facts
from .about import now_about
from .backends.protocol import Backend
from .clock import Clock
from .decision import Action, Change, Decision, Draft, Fact, ReadLog, Rules, Submit, plain
from .errands import Errands
from .jobs import LaunchSettings
from .lookout import Lookout
from .model import ClusterRecord, Event, Observation
from .pulse import Pulse
from .reconcile import reconcile
from .sightings import Sightings
from .store import Store
from .sweeping import Sweeper

log = logging.getLogger(__name__)

UNFINISHED = tuple(state for state in ClusterState if not state.is_final)
STEPS_AT_ONCE = 16
"""Enough for the store to write many in one transaction, few, so that what people ask for is not far back in line."""
RETRY_S = (0.5, 1, 2, 5, 10, 30)
BLINK_S = 20.0
ASLEEP_S = 60.0
"""Who wakes up so much later than meant was asleep: a machine that was suspended, a server without a processor."""


class NotHeld(Exception):
    """Another server works on this cluster."""


Told = list[tuple[Fact, asyncio.Future[ClusterRecord]]]
"""Facts, and who waits for each to be written."""


@dataclass
class _Attention:
    """What the loop remembers of one cluster while it lives; only the loop's own steps touch it."""

    record: ClusterRecord
    decided: int = 0
    """The version that the last step left; a later one was written by someone else."""
    marked: bool = True
    working: bool = False
    facts: Told = field(default_factory=list)
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
        self.knows_the_books = asyncio.Event()
        """Set once every unfinished cluster is known: before, nobody can say anything about one."""
        self._store = store
        self._backend = backend
        self._clock = clock
        self._rules = rules or Rules()
        self._sweeper = Sweeper(store, backend, clock, keep_ended_s=keep_ended_s, log_dir=log_dir)
        self._clusters: dict[str, _Attention] = {}
        self._slots = asyncio.Semaphore(STEPS_AT_ONCE)
        self._group: asyncio.TaskGroup | None = None
        self._may_work = False
        """Not before it is known what the backend holds: else something of it might be taken for gone."""
        self._lookout = Lookout(backend, self.sightings, clock, lambda: list(self._clusters), self.record, self.mark)
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

        raises  ClusterNotFound where there is no such cluster, or it has ended
        """
        if name in self._clusters:
            with suppress(NotHeld):
                return await self.note(name, fact)
        return await self._write_down(name, fact)

    def note(self, name: str, fact: Fact) -> asyncio.Future[ClusterRecord]:
        """The same, to be awaited later or never: the fact is in the cluster's next step.

        raises  from the future: ClusterNotFound, or NotHeld where the cluster goes to another server just now
        """
        written: asyncio.Future[ClusterRecord] = asyncio.get_running_loop().create_future()
        if attention := self._clusters.get(name):
            attention.facts.append((fact, written))
            self._work_on(name, attention)
        else:
            self.start_task(self._note_elsewhere(name, fact, written))
        return written

    async def _note_elsewhere(self, name: str, fact: Fact, written: asyncio.Future[ClusterRecord]) -> None:
        try:
            record = await self._write_down(name, fact)
        except ClusterNotFound as error:
            _refuse([(fact, written)], error)
        else:
            if not written.done():
                written.set_result(record)

    async def take(self, name: str) -> None:
        """Work on this cluster from now on, whoever did before.

        raises  ClusterNotFound
        """
        if name not in self._clusters:
            holder = self._store.replica
            await self._store.change(name, lambda record: Change(replace(record, holder=holder)), durable=False)

    def recover(self) -> None:
        """Look for what another server, now dead, had started without writing it down."""
        self.start_task(self._errands.recover())

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
            if record.holder == self._store.replica:
                # One that was changed since it was read here is known already, as it is now.
                self._clusters.setdefault(record.name, _Attention(record, decided=record.version))
                self.sightings.unlinked(record.name, self._clock.now())
        self.knows_the_books.set()
        await self._errands.recover()
        self._may_work = True
        for name, attention in list(self._clusters.items()):
            self._errands.resume(attention.record, facts.server_restarted)
            self.look(name)
            self.mark(name)

    def _changed(self, record: ClusterRecord, happened: tuple[Event, ...]) -> None:
        """The store wrote something: we, a request, or another server."""
        name, attention = record.name, self._clusters.get(record.name)
        if record.holder != self._store.replica:
            if attention is not None:
                self._leave(name, NotHeld(name))
            return
        if attention is None:
            if record.state.is_final:
                return
            attention = self._clusters[name] = _Attention(record)
            if self.knows_the_books.is_set() and record.scheduler.job.is_out_there:
                # Not new: another server had it until now.
                self.sightings.unlinked(name, self._clock.now())
                self._errands.resume(record, facts.server_changed)
                self.look(name)
        if record.version >= attention.record.version:
            attention.record = record
        if self._store.replica and not happened:  # perhaps another's change: it may have started a job for us
            self.look(name)
        self._work_on(name, attention)

    def _work_on(self, name: str, attention: _Attention) -> None:
        if not attention.working and self._may_work and self._group is not None:
            attention.working = True
            self._group.create_task(self._work(name, attention))

    async def _work(self, name: str, attention: _Attention) -> None:
        now_about(name)
        try:
            while attention.marked or attention.facts or attention.record.version > attention.decided:
                attention.marked = False
                told, attention.facts = attention.facts, []
                if not await self._try_step(name, attention, told):
                    attention.facts = told + attention.facts
                    return
                if self._clusters.get(name) is not attention:
                    return
        finally:
            attention.working = False

    async def _try_step(self, name: str, attention: _Attention, told: Told) -> bool:
        """One step, or an alarm to try it again; whether it was taken, or is not ours to take."""
        try:
            async with self._slots:
                self.pulse.began(name, self._clock.now())
                decision = await self._step(name, [fact for fact, _ in told])
        except (ClusterNotFound, NotHeld) as error:
            _refuse(told, error)
            if self._clusters.get(name) is attention:
                self._leave(name, error)
            return True
        except BackendUnavailable as error:  # the database cannot be written
            return self._try_again(name, attention, told, str(error.message))
        except Exception:  # a fault in one cluster's step must not end the others
            log.exception("%s: a step failed", name)
            return self._try_again(name, attention, told, "a step failed")
        finally:
            self.pulse.ended(name)
        attention.failures, attention.decided = 0, decision.record.version
        self.pulse.succeeded(name)
        for _, written in told:
            if not written.done():
                written.set_result(decision.record)
        if self._clusters.get(name) is attention:
            self._follow_up(name, attention, decision)
        return True

    async def _step(self, name: str, told: list[Fact]) -> Decision:
        seen = self.sightings.observation(name, self._clock.now(), self._errands.submitting(name))
        if self.backend_silence is not None:
            backend, (_, why) = self._backend.describe().name, self.backend_silence
            seen = replace(seen, silence=plain(ReasonCode.BACKEND_UNAVAILABLE, backend=backend, message=why))

        def decide(record: ClusterRecord) -> Decision:
            # Compared in the transaction that writes: a server that slept through the end of its lease does no harm.
            if record.holder != self._store.replica:
                raise NotHeld(name)
            # The time is taken where it is written: so events are in the order of their times as well.
            return reconcile(record, seen, self._clock.now(), self._rules, told)

        attention = self._clusters.get(name)
        known = attention.record if attention is not None else None
        return await self._store.change(name, decide, durable=False, known=known)

    async def _write_down(self, name: str, fact: Fact) -> ClusterRecord:
        """Write a fact about a cluster that another server works on; that one decides what follows."""

        def decide(record: ClusterRecord) -> Decision:
            if record.state.is_final:
                raise ClusterNotFound(f"cluster {name!r} has ended")
            now = self._clock.now()
            draft = Draft(record, Observation(now), now, self._rules)
            fact(draft)
            return draft.decision()

        failures = 0
        while True:
            try:
                return (await self._store.change(name, decide, durable=False)).record
            except BackendUnavailable as error:
                log.warning("%s: %s; trying again", name, error.message)
                await self._clock.sleep(_delay(failures))
                failures += 1

    def _follow_up(self, name: str, attention: _Attention, decision: Decision) -> None:
        for action in decision.actions:
            self._act(decision.record, action)
        if decision.record.state.is_final:
            self._leave(name, ClusterNotFound(f"cluster {name!r} has ended"))
        else:
            self._set_alarm(name, attention, decision.wake_at)

    def _act(self, record: ClusterRecord, action: Action) -> None:
        if isinstance(action, Submit):
            self._errands.submit(record, action.job_id)
        elif isinstance(action, ReadLog):
            self._errands.read_log(record, action.job_id)
        else:
            self._errands.remove(record, action.job_id)

    def _try_again(self, name: str, attention: _Attention, told: Told, why: str) -> bool:
        """Whether there is no need to: the cluster is not ours any more."""
        if self._clusters.get(name) is not attention:
            _refuse(told, NotHeld(name))
            return True
        delay_s = _delay(attention.failures)
        attention.failures += 1
        self.pulse.failed(name, why)
        log.error("%s: %s; trying again in %g s", name, why, delay_s)
        attention.marked = True
        self._set_alarm(name, attention, self._clock.now() + delay_s)
        return False

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

    def _leave(self, name: str, why: Exception) -> None:
        """The cluster has ended, or another server works on it."""
        if attention := self._clusters.pop(name, None):
            if attention.alarm is not None:
                attention.alarm.cancel()
            _refuse(attention.facts, why)
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


def _refuse(told: Told, why: Exception) -> None:
    for _, written in told:
        if not written.done():
            written.set_exception(why)


def _delay(failures: int) -> float:
    return RETRY_S[min(failures, len(RETRY_S) - 1)]
