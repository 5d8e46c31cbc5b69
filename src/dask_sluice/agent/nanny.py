"""Dask's Nanny, with a memory of crashes: it tells of each, and gives up when there are too many.

Restarting, memory limit and `Client.restart` are the Nanny's own. Here is only what it does not do: say how
a worker process ended, count, and end for a reason when going on makes no sense.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Optional

import psutil  # type: ignore[import-untyped,unused-ignore]
from distributed import Nanny, Worker
from distributed.core import Status
from tornado.ioloop import PeriodicCallback

from ..wire.durations import span
from ..wire.launch import WorkerLaunch
from ..wire.reasons import Reason, ReasonCode
from .restarts import Memory, how_it_ended, may_restart, out_of_memory
from .scheduler_agent import EVENT_OP

log = logging.getLogger("sluice.agent")

CONNECT_WITHIN_S = 60.0
"""A worker that has not reached its scheduler by then gives up."""
SCHEDULER_GONE_S = 10.0
"""A worker process that closed by itself is not started again if the scheduler is silent for so long."""
LOOKS_KEPT = 40
"""At a worker's memory, of two each 100 ms (`distributed.worker.memory.monitor-interval`): two seconds."""
_SIGNALS_SETTLE_S = 0.1
"""A signal to the whole group reaches us about when it ends the worker process: first see what was meant."""


class WatchedNanny(Nanny):
    """A Nanny made by `make_nanny`."""

    launch: WorkerLaunch
    gave_up: Optional[Reason] = None
    """Why it ended by itself."""
    first_end: asyncio.Future[int]
    """How the worker process ended that never got ready: its exit code, once it has."""
    let_go = False
    """Whether the scheduler asked it to end: it retired the worker, or ends itself."""
    stopping = False
    """Set by the process that holds it, when it is asked to end."""

    def prepare(self, launch: WorkerLaunch) -> None:
        """Complete the construction; a Nanny passes unknown arguments on to its worker."""
        self.launch = launch
        self.first_end = asyncio.get_running_loop().create_future()
        self._asked = 0
        self._ends: list[float] = []
        self._used_bytes: deque[int] = deque(maxlen=LOOKS_KEPT)
        self._tasks: set[asyncio.Task[None]] = set()
        monitor = self.periodic_callbacks.get("memory_monitor")
        if monitor is not None:
            again = PeriodicCallback(self._look_at_memory, monitor.callback_time)
            self.periodic_callbacks["memory_monitor"] = again

    async def kill(self, *args: Any, **kwargs: Any) -> Any:
        """End the worker process because somebody asked: no crash."""
        self._asked += 1
        try:
            return await super().kill(*args, **kwargs)
        finally:
            self._asked -= 1

    def close_gracefully(self, *args: Any, **kwargs: Any) -> Any:
        """Called by the worker process before it ends because its scheduler said so, or was lost."""
        if any("connection-broken" in str(why) for why in (*args, *kwargs.values())):  # old releases give no reason
            self.gave_up = Reason(ReasonCode.WORKER_LOST, {"how": "the connection to its scheduler broke"})
        else:
            self.let_go = True
        return super().close_gracefully(*args, **kwargs)

    # The worker process ended. Called by the Nanny, in the event loop; the first name is that of releases
    # before 2022.11.

    def _on_exit_sync(self, exit_code: int) -> None:
        self._ended(exit_code, super()._on_exit_sync, getattr(super(), "_on_exit", None))

    def _on_worker_exit_sync(self, exit_code: int) -> None:
        self._ended(exit_code, super()._on_worker_exit_sync, getattr(super(), "_on_worker_exit", None))

    def _ended(
        self, exit_code: int, as_usual: Callable[[int], None], restart: Optional[Callable[[int], Awaitable[None]]]
    ) -> None:
        if self.status in (Status.init, Status.starting):
            if not self.first_end.done():
                self.first_end.set_result(exit_code)  # its start fails, and says so
        elif self._asked or self.status != Status.running or restart is None:
            as_usual(exit_code)
        else:
            self._in_background(self._after_crash(exit_code, restart))

    def _in_background(self, job: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _after_crash(self, exit_code: int, restart: Callable[[int], Awaitable[None]]) -> None:
        self._ends.append(time.monotonic())
        await asyncio.sleep(_SIGNALS_SETTLE_S)
        if self.stopping or self.status != Status.running:
            return
        if exit_code == 0 and not await self._scheduler_answers():
            await self._give_up(ReasonCode.WORKER_LOST, how=f"its scheduler was silent for {span(SCHEDULER_GONE_S)}")
            return
        memory = self._memory_at_end(exit_code)
        how = how_it_ended(exit_code, memory)
        log.warning("the worker process ended: %s", how)
        if memory is not None:
            await self._tell(ReasonCode.WORKER_OUT_OF_MEMORY, used_gib=memory.used_gib, limit_gib=memory.limit_gib)
        window_s = self.launch["restart_window_s"]
        if not may_restart(self._ends, time.monotonic(), self.launch["max_restarts"], window_s):
            restarts = sum(end > time.monotonic() - window_s for end in self._ends)
            await self._give_up(ReasonCode.WORKER_CRASH_LOOP, restarts=restarts, window_s=window_s, how=how)
            return
        self._in_background(self._tell(ReasonCode.WORKER_RESTARTED, how=how))
        await restart(exit_code)
        if not self.stopping and self.status != Status.running:
            self.gave_up = self.gave_up or Reason(ReasonCode.WORKER_CRASHED, {"exit_code": exit_code})

    async def _give_up(self, code: ReasonCode, **details: Any) -> None:
        self.gave_up = Reason(code, details)
        await self._tell(code, **details)
        await self.close()

    async def _scheduler_answers(self) -> bool:
        try:
            await asyncio.wait_for(self.scheduler.identity(), SCHEDULER_GONE_S)
        except (OSError, asyncio.TimeoutError):
            return False
        return True

    async def _tell(self, code: ReasonCode, **details: Any) -> None:
        """Say it to the scheduler, whose agent passes it on: a worker has no way to the server."""
        event = {"name": self.launch["name"], "code": code.value, "details": details}
        try:
            await asyncio.wait_for(getattr(self.scheduler, EVENT_OP)(**event), SCHEDULER_GONE_S)
        except (OSError, asyncio.TimeoutError) as error:
            log.warning("the scheduler could not be told: %s", error)

    # -- memory

    def _look_at_memory(self) -> None:
        """Note what the worker process uses, and let the Nanny judge it as always.

        What it used at most in the last moments is what counts: the Nanny looks for itself, a little later, at more;
        and a process that ends gives its memory back while it is still looked at.
        """
        self._note_memory()
        self.memory_manager.memory_monitor(self)
        self._note_memory()

    def _note_memory(self) -> None:
        pid = self.process.pid if self.process is not None else None
        if pid is not None:
            with contextlib.suppress(psutil.Error):  # it has just ended
                self._used_bytes.append(psutil.Process(pid).memory_info().rss)

    def _memory_at_end(self, exit_code: int) -> Optional[Memory]:
        used, limit = max(self._used_bytes, default=0), self.memory_manager.memory_limit
        self._used_bytes.clear()
        memory = Memory(used, limit) if used and limit else None
        fraction = self.memory_manager.memory_terminate_fraction or 1.0
        return memory if out_of_memory(exit_code, memory, float(fraction)) else None


def make_nanny(launch: WorkerLaunch, security: Any) -> WatchedNanny:
    """The Nanny of one worker; needs a running event loop."""
    nanny = WatchedNanny(
        launch["scheduler_address"],
        nthreads=launch["threads"],
        name=launch["name"],
        host=launch["host"],
        port=launch.get("nanny_port", 0),
        worker_port=launch.get("port", 0),
        protocol="tls",
        memory_limit=launch["memory_limit_bytes"] or None,
        local_directory=launch["local_directory"] or None,
        security=security,
        death_timeout=CONNECT_WITHIN_S,
        # A page of its own would be open to the whole machine, and nobody could reach it through the proxy.
        dashboard=False,
        dashboard_address=f"{launch['host']}:0",
    )
    nanny.prepare(launch)
    reconnect = inspect.signature(Worker.__init__).parameters.get("reconnect")
    if reconnect is not None and reconnect.default is True:
        # Old workers dial a lost scheduler for ever. Newer ones close, and their Nanny decides.
        nanny.worker_kwargs["reconnect"] = False
    return nanny
