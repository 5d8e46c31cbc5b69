"""Whether the server is alive and ready, and if not, why: one sentence for each thing that it needs."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..wire.durations import span
from ..wire.errors import SluiceError
from .clock import Clock
from .loop import Loop
from .routes import Routes
from .store import Store

FRESH_S = 5.0
"""Anybody may ask, so the database is not written for everyone who does."""
STUCK_S = 60.0
FAILING_SHOWN = 5


@dataclass(frozen=True)
class Check:
    """One thing that the server needs. `sentence` is for anybody, `detail` for administrators."""

    name: str
    ok: bool
    sentence: str
    detail: str = ""


@dataclass(frozen=True)
class Health:
    """How the server is."""

    checks: Sequence[Check]

    @property
    def ready(self) -> bool:
        return all(check.ok for check in self.checks)

    @property
    def reasons(self) -> list[str]:
        """Why it is not ready."""
        return [check.sentence for check in self.checks if not check.ok]

    def for_anybody(self) -> Health:
        return Health([replace(check, detail="") for check in self.checks])


class HealthChecks:
    """Looks at everything that the server needs. Being drained is no fault: a drained server is ready for the rest."""

    def __init__(
        self,
        store: Store,
        loop: Loop,
        routes: Routes,
        clock: Clock,
        stopping: asyncio.Event,
        *,
        data_dir: Path,
        least_free_bytes: int,
    ) -> None:
        self._store = store
        self._loop = loop
        self._routes = routes
        self._clock = clock
        self._stopping = stopping
        self._data_dir = data_dir
        self._least_free_bytes = least_free_bytes
        self._looking = asyncio.Lock()
        self._database = Check("database", True, "")
        self._looked_at: float | None = None

    @property
    def live(self) -> Check:
        """Whether starting this process anew is the only cure."""
        ok = self._loop.pulse.running
        return Check("loop", ok, "the loop runs" if ok else "the loop does not run: nothing is started or ended")

    async def look(self) -> Health:
        """Everything, at most a few seconds old."""
        return Health(
            [
                await self._look_at_database(),
                self._steps(),
                self._backend(),
                self._proxies(),
                self._disk(),
                self._stop(),
            ]
        )

    async def _look_at_database(self) -> Check:
        async with self._looking:
            now = self._clock.now()
            if self._looked_at is None or not 0 <= now - self._looked_at < FRESH_S:
                self._database = await self._write()
                self._looked_at = now
            return self._database

    async def _write(self) -> Check:
        try:
            async with asyncio.timeout(FRESH_S):
                await self._store.set_note("health", b"written")
        except (SluiceError, TimeoutError) as error:
            return Check("database", False, "the database cannot be written", str(error) or "no answer in time")
        return Check("database", True, "the database can be written")

    def _steps(self) -> Check:
        pulse, live = self._loop.pulse, self.live
        if not live.ok:
            return live
        stuck = pulse.stuck(self._clock.now() - STUCK_S)
        if stuck:
            return Check("loop", False, f"the loop is stuck at {len(stuck)} clusters", ", ".join(stuck[:FAILING_SHOWN]))
        if pulse.failing:
            some = list(pulse.failing.items())[:FAILING_SHOWN]
            sentence = f"the loop runs; it fails at {len(pulse.failing)} clusters and tries again"
            # No reason to keep everybody else away.
            return Check("loop", True, sentence, "; ".join(f"{name}: {why}" for name, why in some))
        return Check("loop", True, "the loop runs")

    def _backend(self) -> Check:
        silence = self._loop.backend_silence
        if silence is None:
            return Check("backend", True, "the backend answers")
        since, message = silence
        return Check(
            "backend", False, f"the backend has not answered for {span(round(self._clock.now() - since))}", message
        )

    def _proxies(self) -> Check:
        if self._routes.followers:
            return Check("proxy", True, "a proxy follows the routes")
        return Check("proxy", False, "no proxy follows the routes: new clusters cannot be reached")

    def _disk(self) -> Check:
        try:
            free = shutil.disk_usage(self._data_dir).free
        except OSError as error:
            return Check("disk", False, "the data directory cannot be looked at", str(error))
        ok = free >= self._least_free_bytes
        said = f"{free / 1e6:,.0f} MB are free on the disk of the data directory"
        detail = "" if ok else f"health.disk_free_bytes is {self._least_free_bytes:,}; directory {self._data_dir}"
        return Check("disk", ok, said if ok else f"only {said}", detail)

    def _stop(self) -> Check:
        stopping = self._stopping.is_set()
        return Check("server", not stopping, "the server is stopping" if stopping else "the server takes requests")
