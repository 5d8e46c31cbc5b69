"""Tidying up, each hour: what ended long ago, what belongs to nothing, and logs of our own that grew long."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

from .backends.protocol import Backend, ForgetsClusters
from .clock import Clock
from .store import Store

log = logging.getLogger(__name__)

EVERY_S = 3600.0
OWN_LOG_BYTES = 10_000_000
"""Of one log of a proxy or of a warm parent process; half of it is kept."""


class Sweeper:
    """Forgets clusters that ended long ago, with everything that was kept of them."""

    def __init__(
        self, store: Store, backend: Backend, clock: Clock, *, keep_ended_s: float, log_dir: Path | None = None
    ) -> None:
        self._store = store
        self._backend = backend
        self._clock = clock
        self._keep_ended_s = keep_ended_s
        self._log_dir = log_dir

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                await self.sweep()
            except Exception:  # tidying must not end the server; the next sweep tries again
                log.exception("sweeping failed")
            await self._clock.sleep(EVERY_S)

    async def sweep(self) -> None:
        """Once."""
        names = await self._store.forget_ended(self._clock.now() - self._keep_ended_s)
        if isinstance(self._backend, ForgetsClusters):
            for name in names:
                await self._backend.forget(name)
            await self._forget_what_belongs_to_nothing(self._backend)
        await self._store.kept_logs(self._clock).trim()
        if self._log_dir is not None:
            await asyncio.to_thread(shorten_logs, self._log_dir)

    async def _forget_what_belongs_to_nothing(self, backend: ForgetsClusters) -> None:
        """A server that was killed after it had deleted a record, and before the rest, left that behind."""
        # In this order: whatever is there by now had its record before.
        kept = await backend.kept()
        for name in sorted(set(kept) - await self._store.known(kept)):
            log.warning("deleting what is left of cluster %s: it is not on our books", name)
            await backend.forget(name)


def shorten_logs(directory: Path, most_bytes: int = OWN_LOG_BYTES) -> None:
    """Cut logs that are too long to their newer half. Those who write them append, so they go on at the new end."""
    for path in directory.glob("*.log"):
        if path.stat().st_size <= most_bytes:
            continue
        with path.open("r+b") as file:
            file.seek(-most_bytes // 2, os.SEEK_END)
            rest = file.read().partition(b"\n")[2]
            file.seek(0)
            file.write(rest)
            file.truncate()
