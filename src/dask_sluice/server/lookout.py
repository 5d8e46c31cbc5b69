"""Looking at the backend: when it says that something changed, and now and then anyway.

One batch call looks at the jobs of every cluster that is due. What is news wakes the loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from .backends.protocol import Backend, Seen, Unavailable, Watches
from .clock import Clock
from .model import ClusterRecord
from .sightings import Sightings

log = logging.getLogger(__name__)

OBSERVE_TIMEOUT_S = 30.0
POLL_S = 5.0
POLL_WATCHED_S = 30.0
"""A backend that tells of changes is asked rarely: only against a change that was never told."""
RETRY_S = 1.0


class Lookout:
    """Keeps what was seen of jobs up to date."""

    def __init__(
        self,
        backend: Backend,
        sightings: Sightings,
        clock: Clock,
        names: Callable[[], list[str]],
        record: Callable[[str], ClusterRecord | None],
        news: Callable[[str], None],
    ) -> None:
        self._backend = backend
        self._sightings = sightings
        self._clock = clock
        self._names = names
        self._record = record
        self._news = news
        self.silence: tuple[float, str] | None = None
        """Since when the backend does not answer, and what it said last."""
        self._due: set[str] = set()
        self._anything_due = asyncio.Event()

    def look(self, name: str) -> None:
        """Look at this cluster soon."""
        self._due.add(name)
        self._anything_due.set()

    async def run(self) -> None:
        """Look until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look_when_due())
            group.create_task(self._look_at_all_now_and_then())
            if isinstance(self._backend, Watches):
                group.create_task(self._watch(self._backend))

    async def _watch(self, backend: Watches) -> None:
        while True:
            try:
                async for name in backend.changes():
                    self.look(name)
            except Exception:  # a fault of a backend must not end the server: there is still polling
                log.exception("the backend's news broke off")
            await self._clock.sleep(RETRY_S)

    async def _look_at_all_now_and_then(self) -> None:
        every_s = POLL_WATCHED_S if isinstance(self._backend, Watches) else POLL_S
        while True:
            self._due.update(self._names())
            self._anything_due.set()  # where there are none too: a backend that does not answer is news
            await self._clock.sleep(every_s)

    async def _look_when_due(self) -> None:
        while True:
            await self._anything_due.wait()
            self._anything_due.clear()
            names, self._due = self._due, set()
            if not await self._try_to_look(names):
                await self._clock.sleep(RETRY_S)
                self._due |= names
                self._anything_due.set()

    async def _try_to_look(self, names: set[str]) -> bool:
        try:
            async with asyncio.timeout(OBSERVE_TIMEOUT_S):
                await self._look_at(names)
        except (Unavailable, TimeoutError) as error:
            self._silent(str(error) or "no answer in time")
            return False
        except Exception as error:  # a fault of a backend must not blind the server to all clusters
            log.exception("the backend failed to look at its jobs")
            self._silent(f"{type(error).__name__}: {error}")
            return False
        if self.silence is not None:
            log.info("the backend answers again")
            self.silence = None
        return True

    def _silent(self, message: str) -> None:
        began = self.silence is None
        self.silence = (self.silence[0] if self.silence else self._clock.now(), message)
        if began:
            log.warning("the backend does not say how its jobs are: %s", message)
            for name in self._names():
                self._news(name)

    async def _look_at(self, names: set[str]) -> None:
        records = [record for name in names if (record := self._record(name)) is not None]
        handles = [handle for record in records for job in record.jobs if job.is_out_there for handle in job.handles]
        looks = await self._backend.observe(handles)
        by_cluster: dict[str, list[Seen]] = {record.name: [] for record in records}
        for handle, look in zip(handles, looks, strict=True):
            by_cluster[handle.cluster].append(look)
        for name, theirs in by_cluster.items():
            if self._sightings.looked(name, theirs):
                self._news(name)
