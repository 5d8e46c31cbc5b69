"""What schedulers and workers wrote, living and dead, as far as the backend can show it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from ..wire.errors import NotSupported, RequestInvalid
from .backends.protocol import Backend, FollowsLogs, LogPart, ReadsLogs
from .changes import Changes
from .clock import Clock
from .model import ClusterRecord
from .store import Store

MOST_BYTES = 10_000_000
"""Of one answer; a log itself is bounded where it is written."""
PART_BYTES = 256_000
LOOK_EVERY_S = 1.0


class JobLogs:
    """Reads logs. Whether the caller may is not asked here, but by `control`."""

    def __init__(self, store: Store, backend: Backend, changes: Changes, clock: Clock) -> None:
        self._store = store
        self._backend = backend
        self._changes = changes
        self._clock = clock

    async def end(self, record: ClusterRecord, worker: str | None, *, max_bytes: int, lines: int | None) -> str:
        """The newest of what the scheduler wrote, or a worker.

        raises  NotSupported, RequestInvalid for a worker that never was
        """
        job_id = await self._job_id(record, worker)
        if not isinstance(self._backend, ReadsLogs):
            raise self._cannot("show")
        return last(await self._backend.logs(record.name, job_id, max_bytes=min(max_bytes, MOST_BYTES)), lines)

    async def check_follow(self, record: ClusterRecord, worker: str | None) -> None:
        """Raise what `follow` would, before the answer has begun."""
        await self._job_id(record, worker)
        if not isinstance(self._backend, FollowsLogs):
            raise self._cannot("follow")

    async def follow(
        self, record: ClusterRecord, worker: str | None, *, position: str, lines: int | None
    ) -> AsyncIterator[LogPart]:
        """What was written after `position` ('': the newest), and what is, until the process has ended."""
        job_id = await self._job_id(record, worker)
        if not isinstance(self._backend, FollowsLogs):
            raise self._cannot("follow")
        with self._changes.of_cluster(record.name) as changed:
            while True:
                changed.clear()
                has_ended = await self._has_ended(record.name, job_id)  # before the look that is then the last one
                while True:
                    part = await self._backend.log_after(record.name, job_id, position, max_bytes=PART_BYTES)
                    news = LogPart(last(part.text, lines), part.position) if not position else part
                    if part.position == position:
                        break
                    position = part.position
                    if news.text:
                        yield news
                if has_ended:
                    return
                await self._either(changed)

    async def _either(self, changed: asyncio.Event) -> None:
        waits = [asyncio.ensure_future(changed.wait()), asyncio.ensure_future(self._clock.sleep(LOOK_EVERY_S))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _has_ended(self, name: str, job_id: str) -> bool:
        record = await self._store.cluster(name)
        job = next((job for job in record.jobs if job.job_id == job_id), None)
        return record.state.is_final or job is None or job.ended_at is not None

    async def _job_id(self, record: ClusterRecord, worker: str | None) -> str:
        if worker is None:
            return record.scheduler.job.job_id
        for each in (*record.workers, *await self._store.workers(record.name)):
            if each.name == worker:
                return each.job.job_id
        raise RequestInvalid(f"cluster {record.name!r} has no worker {worker!r}", details={"field": "worker"})

    def _cannot(self, what: str) -> NotSupported:
        name = self._backend.describe().name
        return NotSupported(
            f"the {name} backend cannot {what} what schedulers and workers write",
            hint="Reasons and events are there all the same; ask the administrator where this backend keeps its logs.",
        )


def last(text: str, lines: int | None) -> str:
    """The last so many lines; None: all."""
    if lines is None:
        return text
    return "".join(text.splitlines(keepends=True)[-lines:]) if lines else ""
