"""Adaptive scaling: how many workers the work ahead deserves, and why.

The decision is a pure function; around it is only the memory of the last few seconds. Nothing is started
or ended here: the server is told a wish, and decides.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

from ..wire.durations import span

_FULL = 0.6
"""From this part of the workers' memory on, distributed asks for twice as many (`Scheduler.adaptive_target`)."""

BEHIND_S = 5.0
"""So long may work pile up before its estimate is doubted; distributed wants work done in as much time."""


@dataclass(frozen=True)
class Bounds:
    """Workers at least and at most."""

    minimum: int
    maximum: int

    def clamp(self, count: int) -> int:
        return min(max(count, self.minimum), self.maximum)


@dataclass(frozen=True)
class Load:
    """What the scheduler knows of the work ahead. Workers that leave already count nowhere."""

    desired: int
    """What distributed would have, bounds apart."""
    tasks: int
    """Tasks that run, wait for their turn or for a worker."""
    work_s: float
    """How long one thread would take for them, as far as that is known."""
    memory_fraction: float
    """How much of the workers' memory results fill."""
    workers: int = 0
    """Workers that are connected."""
    busy: int = 0
    """Those of them that have tasks."""
    threads: int = 0
    """Tasks that can run at a time."""


@dataclass(frozen=True)
class Look:
    """The load at a time."""

    time: float
    load: Load


@dataclass(frozen=True)
class Past:
    """What happened before now, since the bounds were set."""

    looks: Sequence[Look] = ()
    """Oldest first."""
    rose_at: float = -math.inf
    """When more workers were wanted last."""
    fell_at: float = -math.inf
    """When fewer were."""


@dataclass(frozen=True)
class Decision:
    """So many workers, and why: read by the owner in the cluster's events."""

    count: int
    why: str


def decide(load: Load, wanted: int, bounds: Bounds, past: Past, now: float, patience_s: float) -> Optional[Decision]:
    """What to ask for; None to leave it at `wanted`.

    More is asked for at once; but soon after some were given up only if there is none, or twice as many are
    needed: that was no fluctuation. Fewer only when at no time in the last `patience_s` seconds more were needed:
    a pause between two computations must not cost workers. Where there is nothing to do any more, in one step.
    """
    if wanted < bounds.minimum or wanted > bounds.maximum:
        return Decision(bounds.clamp(load.desired), f"the bounds are {bounds.minimum} to {bounds.maximum}")
    behind = _is_behind(load, wanted, past, now)
    count = bounds.clamp(max(load.desired, min(2 * wanted, load.tasks) if behind else 0))
    rested = now - past.fell_at >= patience_s
    if count > wanted and (rested or count >= 2 * wanted):
        return Decision(count, _why_more(load, behind))
    recent = [load, *(look.load for look in past.looks if look.time > now - patience_s)]
    fewer = bounds.clamp(max(max(each.desired, each.busy) for each in recent))
    seen_long_enough = now - past.rose_at >= patience_s and any(look.time <= now - patience_s for look in past.looks)
    going_on = bool(load.tasks) or not any(each.tasks for each in recent)
    if fewer < wanted and seen_long_enough and going_on and (rested or fewer == bounds.minimum):
        return Decision(fewer, _why_fewer(recent, patience_s))
    return None


def _is_behind(load: Load, wanted: int, past: Past, now: float) -> bool:
    """Whether work piles up although all workers are there: it takes longer than it is expected to.

    So it is with very many tiny tasks, of which distributed sees but the time that they compute.
    """
    if load.workers < wanted or now - past.rose_at < BEHIND_S:
        return False
    before = [look.load for look in past.looks if look.time >= now - BEHIND_S]
    seen_long_enough = any(look.time <= now - BEHIND_S for look in past.looks)
    piled_up = all(each.tasks > 3 * each.threads > 0 for each in [load, *before])
    return seen_long_enough and piled_up and 2 * load.tasks > max(each.tasks for each in before)


def _why_more(load: Load, behind: bool) -> str:
    if load.memory_fraction > _FULL and load.work_s < load.desired:
        return f"results fill {load.memory_fraction:.0%} of the workers' memory"
    if behind:
        return f"{_work(load)}, and in {BEHIND_S:g} s not half of it got done"
    return _work(load)


def _why_fewer(recent: Sequence[Load], patience_s: float) -> str:
    if not any(load.tasks for load in recent):
        return f"nothing to do for {span(patience_s)}"
    return f"{_work(recent[0])}; fewer have been enough for {span(patience_s)}"


def _work(load: Load) -> str:
    waiting = "1 task waits" if load.tasks == 1 else f"{load.tasks or 'no'} tasks wait"
    return f"{waiting}, about {_duration(load.work_s)} of work" if load.work_s >= 1 else waiting


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.0f} h"


def load_of(scheduler: Any) -> Load:
    """The load of a `distributed.Scheduler`, of any release."""
    workers = [ws for ws in scheduler.workers.values() if not ws.status.name.startswith("clos")]
    limit = sum(ws.memory_limit or 0 for ws in workers)
    on_workers = sum(len(ws.processing) for ws in workers)
    tasks = on_workers + len(scheduler.unrunnable) + len(getattr(scheduler, "queued", ()))
    desired = int(scheduler.adaptive_target())
    if desired < len(scheduler.workers):  # it means: without those that are idle; of the others, some leave already
        idle = set(scheduler.workers_to_close())
        desired = sum(ws.address not in idle for ws in workers)
    return Load(
        desired=desired,
        tasks=tasks,
        work_s=float(scheduler.total_occupancy) * (tasks / on_workers if on_workers else 1),
        memory_fraction=sum(ws.nbytes for ws in workers) / limit if limit else 0.0,
        workers=len(workers),
        busy=sum(bool(ws.processing) for ws in workers),
        threads=sum(ws.nthreads for ws in workers),
    )


class Adaptive:
    """Adaptive scaling of one scheduler: off until it has bounds."""

    def __init__(self) -> None:
        self.wanted: Optional[int] = None
        """How many workers the server wants; unknown until it said so."""
        self.patience_s = 3.0
        self._bounds: Optional[Bounds] = None
        self._looks: deque[Look] = deque(maxlen=1000)
        self._past = Past()
        self._wanted_before: Optional[int] = None

    def set_bounds(self, minimum: Optional[int], maximum: Optional[int]) -> None:
        """Scale within these from now on; None and None: not at all."""
        self._looks.clear()
        self._past = Past(self._looks)
        self._bounds = None if minimum is None or maximum is None else Bounds(minimum, maximum)

    def look(self, scheduler: Any, now: float) -> Optional[Decision]:
        """What to ask for now, if anything."""
        if self._bounds is None or self.wanted is None:
            return None
        load = load_of(scheduler)
        self._note_change(self.wanted, now)
        decision = decide(load, self.wanted, self._bounds, self._past, now, self.patience_s)
        self._looks.append(Look(now, load))
        return decision

    def _note_change(self, wanted: int, now: float) -> None:
        """What counts is what the server came to want, not what was asked of it."""
        before, self._wanted_before = self._wanted_before, wanted
        if before is not None and wanted > before:
            self._past = replace(self._past, rose_at=now)
        elif before is not None and wanted < before:
            self._past = replace(self._past, fell_at=now)
