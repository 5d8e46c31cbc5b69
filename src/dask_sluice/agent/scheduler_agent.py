"""The agent beside a scheduler: tells the server how things are, and does what the server says.

All of `wire/link.py` as seen from the cluster. It decides nothing but a wish of adaptive scaling: what becomes of
workers is the server's decision. Without a link it goes on working, and tells everything anew on the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import pickle
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Optional

from distributed.diagnostics.plugin import SchedulerPlugin

from ..wire.launch import SchedulerLaunch
from ..wire.link import AgentEvent, Hello, Report, Wish
from . import last_words
from .adaptive import Adaptive, Decision
from .link import Link, Message
from .scheduler_state import Activity, dashboard_port, scheduler_port, versions, worker_report, worker_reports

log = logging.getLogger("sluice.agent")

EVENT_OP = "sluice_worker_event"
"""What a worker's Nanny calls on the scheduler to have something told to the server."""
LEAVE_OP = "sluice_worker_leaves"
"""What it calls when its machine asks it to end."""
DEBOUNCE_S = 0.02
"""A hundred workers that connect at once make a few reports, not a hundred."""
BUSY_REPORT_S = 3.0
"""At most so old is what the server knows of who works, when it chooses who goes."""
RETIRED_REMEMBERED = 1000
RETIRE_AGAIN_S = 0.5
RETIRE_AGAIN_LIMIT_S = 10.0
EVENTS_KEPT = 100
"""Events that happened while there was no link."""


class SchedulerAgent:
    """One scheduler's voice and ears."""

    def __init__(self, scheduler: Any, launch: SchedulerLaunch) -> None:
        self.stop_asked = asyncio.Event()
        self._scheduler = scheduler
        self._launch = launch
        self._link = Link(launch, self._greet, self._obey)
        self._adaptive = Adaptive()
        self._activity = Activity()
        self._activity.look(scheduler, time.time())
        self._changed = asyncio.Event()
        self._report_every_s = 5.0
        self._look_every_s = 1.0
        self._retiring: set[str] = set()
        self._retired: deque[str] = deque(maxlen=RETIRED_REMEMBERED)
        self._events: deque[AgentEvent] = deque(maxlen=EVENTS_KEPT)
        self._reported_at = 0.0
        self._reported_busy: set[str] = set()
        self._reported: dict[str, Any] = {}
        """The scheduler's own records of workers that were reported, by address: each has what was last heard of it."""
        self._wished: Optional[tuple[int, Decision]] = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._commands: dict[str, Callable[[Message], None]] = {
            "welcome": self._on_welcome,
            "adapt": self._on_adapt,
            "wanted": self._on_wanted,
            "retire": self._on_retire,
            "warn": self._on_warn,
            "stop": self._on_stop,
        }

    def start(self) -> None:
        """Begin to dial, watch and tell. The scheduler listens already."""
        self._scheduler.handlers[EVENT_OP] = self._on_worker_event
        self._scheduler.handlers[LEAVE_OP] = self._on_worker_leaves
        self._scheduler.add_plugin(_Changes(self._changed), name=_Changes.name)
        for job in (self._link.run(), self._report_for_ever(), self._watch_for_ever()):
            self.in_background(job)

    async def close(self) -> None:
        """Hang up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def in_background(self, job: Coroutine[Any, Any, None]) -> None:
        """Run it until it ends or this agent is closed."""
        task = asyncio.ensure_future(job)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("the agent tripped", exc_info=task.exception())

    # -- telling

    def _greet(self) -> None:
        """First on every link: who we are, and all that is to be known."""
        hello = Hello(
            op="hello",
            cluster=self._launch["cluster"],
            scheduler_port=scheduler_port(self._scheduler),
            dashboard_port=dashboard_port(self._scheduler),
            versions=versions(),
            pid=os.getpid(),
        )
        self._link.send(hello)
        self._wished = None
        self._report()
        while self._events and self._link.send(self._events[0]):
            self._events.popleft()

    async def _report_for_ever(self) -> None:
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), self._report_every_s)
            self._changed.clear()
            self._report()
            await asyncio.sleep(DEBOUNCE_S)

    def _report(self) -> None:
        self._activity.look(self._scheduler, time.time())
        idle_since, workers = self._activity.idle_since, self._scheduler.workers
        report = Report(
            op="report",
            workers=worker_reports(self._scheduler),
            retired=list(self._retired),
            clients=_people(self._scheduler),
            tasks=len(self._scheduler.tasks),
            active=idle_since is None,
            idle_since=idle_since,
            left=[worker_report(ws) for address, ws in self._reported.items() if address not in workers],
        )
        if self._link.send(report):
            self._reported = dict(workers)
        self._reported_at = time.monotonic()
        self._reported_busy = {worker["address"] for worker in report["workers"] if worker.get("processing")}

    async def _watch_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._look_every_s)
            if self._activity.look(self._scheduler, time.time()) or self._other_workers_are_busy():
                self._changed.set()
            decision = self._adaptive.look(self._scheduler, time.monotonic())
            if decision is not None:
                self._wish(decision)

    def _other_workers_are_busy(self) -> bool:
        """Whether the server should hear, in case that it gives up workers; not oftener than it matters."""
        now, busy = time.monotonic(), {ws.address for ws in self._scheduler.workers.values() if ws.processing}
        return now - self._reported_at > BUSY_REPORT_S and busy != self._reported_busy

    def _wish(self, decision: Decision) -> None:
        """Say it once: a wish that the server does not grant is not repeated until something changes."""
        wish = (self._adaptive.wanted or 0, decision)
        if self._wished is not None and self._wished[0] == wish[0] and self._wished[1].count == decision.count:
            return
        self._report()  # whoever goes is chosen by what workers have to do now
        if self._link.send(Wish(op="wish", count=decision.count, why=decision.why)):
            self._wished = wish

    async def _on_worker_event(self, comm: Any = None, name: str = "", code: str = "", details: Any = None) -> str:
        """A worker has something to tell (`nanny.py`)."""
        event = AgentEvent(op="event", subject=name, code=code, details=details or {})
        if not self._link.send(event):
            self._events.append(event)
        return "OK"

    async def _on_worker_leaves(self, comm: Any = None, name: str = "") -> bool:
        """A worker's machine is taken away: whether it is worth its while to wait until others hold what it holds.

        Where the whole cluster ends, all workers are asked to end at once, and nothing is to be moved.
        """
        if self.stop_asked.is_set() or not self._choose({name}, 0):
            return False
        if name not in self._retiring:
            self.in_background(self._retire({name}, 0, by_the_server=False))
        return True

    # -- obeying

    def _obey(self, message: Message) -> None:
        command = self._commands.get(str(message.get("op")))
        if command is None:
            return  # a newer server knows more than we do
        try:
            command(message)
        except (KeyError, TypeError, ValueError) as error:
            log.warning("the server's %r is not understood: %s", message.get("op"), last_words.in_words(error))

    def _on_welcome(self, message: Message) -> None:
        self._report_every_s = max(0.1, float(message["report_every_s"]))
        self._look_every_s = max(0.05, float(message["adaptive_every_s"]))
        self._adaptive.patience_s = float(message.get("adaptive_patience_s", 3 * self._look_every_s))

    def _on_adapt(self, message: Message) -> None:
        self._adaptive.set_bounds(message["minimum"], message["maximum"])
        self._wished = None

    def _on_wanted(self, message: Message) -> None:
        self._adaptive.wanted = int(message["count"])

    def _on_warn(self, message: Message) -> None:
        """As a worker's `warn` does: clients of distributed 2023 and later show it, older ones do not listen."""
        self._scheduler.log_event("warn", {"message": pickle.dumps(str(message["message"]))})

    def _on_stop(self, message: Message) -> None:
        log.info("asked to stop: %s", message.get("reason", ""))
        self.stop_asked.set()

    def _on_retire(self, message: Message) -> None:
        names = {str(name) for name in message.get("names", ())}
        self.in_background(self._retire(names, int(message.get("count", 0))))

    async def _retire(self, names: set[str], count: int, *, by_the_server: bool = True) -> None:
        """Move data away from these workers and close them; from `count` more of our own choice too.

        A worker whose data has nowhere to go yet is tried again, until the server has it ended.

        by_the_server   false: the server is not told that they were retired, since its backend knows what took them
        """
        chosen, pause_s = self._choose(names, count), RETIRE_AGAIN_S
        going = set(chosen.values())
        self._retiring |= going
        while chosen:
            left = await self._retire_once(chosen)
            gone = {name for address, name in chosen.items() if address not in left}
            if by_the_server:
                self._retired.extend(gone)
            self._retiring -= gone
            going -= gone
            self._changed.set()
            if left:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, RETIRE_AGAIN_LIMIT_S)
            chosen = self._choose(going, 0)
        self._retiring -= going

    async def _retire_once(self, chosen: dict[str, str]) -> set[str]:
        """Addresses of those that had to stay."""
        scheduler = self._scheduler
        await scheduler.retire_workers(workers=list(chosen), close_workers=True, remove=True)
        left = {address for address in chosen if address in scheduler.workers}
        if left and all(str(ws.name) in self._retiring for ws in scheduler.workers.values()):
            # Nobody stays who could take what they hold: it is lost, as whoever scales to nothing knows.
            for address in left:
                closing = scheduler.close_worker(address)
                if inspect.isawaitable(closing):
                    await closing
            return set()
        return left

    def _choose(self, names: set[str], count: int) -> dict[str, str]:
        """Address and name of each worker to retire: those named, and exactly `count` others if there are so many."""
        workers = {address: str(ws.name) for address, ws in self._scheduler.workers.items()}
        chosen = {address: name for address, name in workers.items() if name in names}
        if count > 0:
            order = self._scheduler.workers_to_close(n=len(workers))
            others = [address for address in order if address not in chosen][:count]
            chosen.update({address: workers[address] for address in others})
        return chosen


def _people(scheduler: Any) -> int:
    """Connected clients. The scheduler itself keeps one of this name for futures that it holds."""
    return sum(name != "fire-and-forget" for name in scheduler.clients)


class _Changes(SchedulerPlugin):
    """Tells when workers or clients come and go."""

    name = "sluice-agent"

    def __init__(self, changed: asyncio.Event) -> None:
        self._changed = changed

    def add_worker(self, *_: Any, **__: Any) -> None:
        self._changed.set()

    def remove_worker(self, *_: Any, **__: Any) -> None:
        self._changed.set()

    def add_client(self, *_: Any, **__: Any) -> None:
        self._changed.set()

    def remove_client(self, *_: Any, **__: Any) -> None:
        self._changed.set()
