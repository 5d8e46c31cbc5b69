"""What the loop sends out: submits and removals, each in a task of its own, and the round after a restart.

An errand is repeated until it is done, refused, or no longer wanted. What it brings back goes to the loop as
a fact, and is on disk before the errand takes its next step.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, cast

from ..wire.durations import span
from ..wire.errors import BackendUnavailable, ClusterNotFound
from ..wire.reasons import Reason
from ..wire.states import ClusterState, WorkerState
from . import facts
from .about import now_about
from .backends.protocol import Backend, Handle, ReadsLogs, Refused, Unavailable
from .clock import Clock
from .decision import Fact
from .jobs import LaunchSettings, build_job
from .model import ClusterRecord
from .store import Store

if TYPE_CHECKING:
    from .loop import Loop

log = logging.getLogger(__name__)

SUBMIT_TIMEOUT_S = 120.0
REMOVE_TIMEOUT_S = 60.0
RECOVER_TIMEOUT_S = 20.0
RECOVER_AGAIN_S = 10.0
READ_LOG_TIMEOUT_S = 5.0
LOG_TAIL_BYTES = 8192
RETRY_S = (0.5, 1, 2, 5, 10, 30)


class Errands:
    """Every submit and removal that is under way."""

    def __init__(self, store: Store, backend: Backend, clock: Clock, launch: LaunchSettings, loop: Loop) -> None:
        self._store = store
        self._backend = backend
        self._clock = clock
        self._launch = launch
        self._loop = loop
        self._submits: defaultdict[str, set[str]] = defaultdict(set)
        self._waiting: set[str] = set()
        """Jobs whose submit failed and is to be tried again: nothing is under way."""
        self._removals: set[str] = set()
        self._readings: set[str] = set()

    def submitting(self, cluster: str) -> Iterable[str]:
        """Jobs of the cluster of which more handles may come at any moment."""
        return self._submits.get(cluster, set()) - self._waiting

    def submit(self, record: ClusterRecord, job_id: str) -> None:
        """Start this job, unless that is under way."""
        if job_id not in self._submits[record.name]:
            self._submits[record.name].add(job_id)
            self._loop.start_task(self._submit(record.name, job_id))

    def remove(self, record: ClusterRecord, job_id: str) -> None:
        """Remove this job's handles, unless that is under way."""
        if job_id not in self._removals:
            self._removals.add(job_id)
            self._loop.start_task(self._remove(record.name, job_id))

    def read_log(self, record: ClusterRecord, job_id: str) -> None:
        """Bring the end of what this job wrote, unless that is under way."""
        if job_id not in self._readings:
            self._readings.add(job_id)
            self._loop.start_task(self._read_log(record.name, job_id))

    async def _read_log(self, name: str, job_id: str) -> None:
        now_about(name)
        tail = ""
        try:
            if isinstance(self._backend, ReadsLogs):
                async with asyncio.timeout(READ_LOG_TIMEOUT_S):
                    tail = await self._backend.logs(name, job_id, max_bytes=LOG_TAIL_BYTES)
        except Exception:  # a reason without its last lines is better than none
            log.exception("%s: what %s wrote cannot be read", name, job_id)
        finally:
            self._readings.discard(job_id)
        self._loop.sightings.read(name, job_id, tail)
        self._loop.mark(name)

    async def _submit(self, name: str, job_id: str) -> None:
        now_about(name)
        try:
            failures = 0
            while (record := self._loop.record(name)) is not None and is_wanted(record, job_id):
                if await self._try_submit(record, job_id):
                    break
                await self._wait(job_id, failures)
                failures += 1
        finally:
            self._submits.get(name, set()).discard(job_id)
            self._waiting.discard(job_id)
            self._loop.mark(name)
            self._loop.look(name)

    async def _try_submit(self, record: ClusterRecord, job_id: str) -> bool:
        """Whether that is settled: done, refused or no longer wanted."""
        name = record.name
        try:
            async with asyncio.timeout(SUBMIT_TIMEOUT_S):
                await self._take_handles(record, job_id)
        except Refused as error:
            refused = partial(facts.submit_refused, job_id=job_id, backend=self._name, message=str(error))
            await self._tell(name, partial(refused, reason=error.reason))
        except Unavailable as error:
            await self._tell_silent(name, str(error), error.reason)
            return False
        except TimeoutError:
            await self._tell_silent(name, f"no answer in {span(SUBMIT_TIMEOUT_S)}")
            return False
        except Exception as error:  # a fault of a backend must not end the server
            log.exception("%s: submitting %s failed", name, job_id)
            await self._tell_silent(name, f"{type(error).__name__}: {error}")
            return False
        return True

    async def _take_handles(self, record: ClusterRecord, job_id: str) -> None:
        job = build_job(record, job_id, await self._store.secrets(record.name), self._launch, self._clock.now())
        steps = cast("AsyncGenerator[Handle, None]", self._backend.submit(job))
        async with aclosing(steps):
            async for handle in steps:
                after = await self._tell(record.name, partial(facts.handle_saved, handle=handle))
                if after is None:  # ended meanwhile, by another server
                    self._loop.start_task(self._remove_stray(handle))
                if after is None or not is_wanted(after, job_id):
                    return

    async def _remove(self, name: str, job_id: str) -> None:
        now_about(name)
        try:
            failures = 0
            while (record := self._loop.record(name)) is not None:
                handles = [h for job in record.jobs if job.job_id == job_id for h in job.handles]
                if await self._try_remove(name, handles):
                    await self._tell(name, partial(facts.job_removed, job_id=job_id))
                    break
                await self._clock.sleep(_delay(failures))
                failures += 1
        finally:
            self._removals.discard(job_id)

    async def _try_remove(self, name: str, handles: Iterable[Handle]) -> bool:
        try:
            async with asyncio.timeout(REMOVE_TIMEOUT_S):
                for handle in handles:
                    await self._backend.remove(handle)
        except (Unavailable, TimeoutError) as error:
            await self._tell_silent(name, str(error) or f"no answer in {span(REMOVE_TIMEOUT_S)}")
            return False
        except Exception as error:  # a fault of a backend must not leave a job behind: try again
            log.exception("%s: removing a job failed", name)
            await self._tell_silent(name, f"{type(error).__name__}: {error}")
            return False
        return True

    def forget(self, name: str) -> None:
        """The cluster has ended."""
        self._submits.pop(name, None)

    async def recover(self) -> None:
        """After a server's death: adopt what is ours and known, remove what nobody asked for."""
        try:
            async with asyncio.timeout(RECOVER_TIMEOUT_S):
                found = await self._backend.recover()
            # Read after looking: whatever is out there was on the books before it was started.
            records = {name: await self._unfinished(name) for name in {handle.cluster for handle in found}}
        except (Unavailable, BackendUnavailable, TimeoutError) as error:
            log.warning("the backend does not say what runs: %s", error or "no answer in time")
            self._loop.start_task(self._recover_later())
            return
        for handle in found:
            self._recover_one(records[handle.cluster], handle)

    def resume(self, record: ClusterRecord, fact: Fact) -> None:
        """Tell a cluster that it was left by a server, and finish the submits that were cut short."""
        self._loop.start_task(self._tell_and_forget(record.name, fact))
        for job in record.jobs:
            if job.is_out_there and job.running_at is None and is_wanted(record, job.job_id):
                self.submit(record, job.job_id)

    async def _recover_later(self) -> None:
        await self._clock.sleep(RECOVER_AGAIN_S)
        await self.recover()

    async def _unfinished(self, name: str) -> ClusterRecord | None:
        """The record of a cluster that has not ended, whoever works on it."""
        try:
            record = self._loop.record(name) or await self._store.cluster(name)
        except ClusterNotFound:
            return None
        return None if record.state.is_final else record

    def _recover_one(self, record: ClusterRecord | None, handle: Handle) -> None:
        job = next((j for j in record.jobs if j.job_id == handle.job_id), None) if record else None
        if record is None or job is None or job.ended_at is not None:
            log.warning("removing %s of cluster %s: it is not on our books", handle.job_id, handle.cluster)
            self._loop.start_task(self._remove_stray(handle))
        elif handle not in job.handles:
            log.info("%s: found %s, which was being started when a server ended", record.name, job.job_id)
            self._loop.start_task(self._adopt(record.name, handle))

    async def _adopt(self, name: str, handle: Handle) -> None:
        """It is known from now on; and what else the job is made of may not exist yet."""
        record = await self._tell(name, partial(facts.handle_saved, handle=handle))
        if record is not None and is_wanted(record, handle.job_id):
            self.submit(record, handle.job_id)

    async def _remove_stray(self, handle: Handle) -> None:
        now_about(handle.cluster)
        failures = 0
        while not await self._try_remove(handle.cluster, [handle]):
            await self._clock.sleep(_delay(failures))
            failures += 1

    async def _tell_and_forget(self, name: str, fact: Fact) -> None:
        await self._tell(name, fact)

    async def _tell(self, name: str, fact: Fact) -> ClusterRecord | None:
        try:
            return await self._loop.happened(name, fact)
        except ClusterNotFound:
            return None

    async def _tell_silent(self, name: str, message: str, reason: Reason | None = None) -> None:
        await self._tell(name, partial(facts.backend_silent, backend=self._name, message=message, reason=reason))

    async def _wait(self, job_id: str, failures: int) -> None:
        self._waiting.add(job_id)
        await self._clock.sleep(_delay(failures))
        self._waiting.discard(job_id)

    @property
    def _name(self) -> str:
        return self._backend.describe().name


def is_wanted(record: ClusterRecord, job_id: str) -> bool:
    """Whether this job should still be started."""
    if record.wanted.stop is not None:
        return False
    if job_id == record.scheduler.job.job_id:
        return record.state in (ClusterState.PENDING, ClusterState.STARTING)
    states = {worker.job.job_id: worker.state for worker in record.workers}
    return states.get(job_id) in (WorkerState.PENDING, WorkerState.STARTING)


def _delay(failures: int) -> float:
    return RETRY_S[min(failures, len(RETRY_S) - 1)]
