"""Adaptive scaling: how many workers the work ahead deserves, and why.

The decision is a pure function; around it is only the memory of the last few seconds. Nothing is started
or ended here: the server is told a wish, and decides.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

_FULL = 0.6
"""From this part of the workers' memory on, distributed asks for twice as many (`Scheduler.adaptive_target`)."""


@dataclass(frozen=True)
class Bounds:
    """Workers at least and at most."""

    minimum: int
    maximum: int

    def clamp(self, count: int) -> int:
        return min(max(count, self.minimum), self.maximum)


@dataclass(frozen=True)
class Load:
    """What the scheduler knows of the work ahead."""

    desired: int
    """What distributed would have, bounds apart."""
    tasks: int
    """Tasks that run, wait for their turn or for a worker."""
    work_s: float
    """How long one thread would take for them."""
    memory_fraction: float
    """How much of the workers' memory results fill."""


@dataclass(frozen=True)
class Sample:
    """The number of workers that seemed right at a time, bounds applied."""

    time: float
    count: int


@dataclass(frozen=True)
class Decision:
    """So many workers, and why: read by the owner in the cluster's events."""

    count: int
    why: str


def decide(
    load: Load, wanted: int, bounds: Bounds, history: Sequence[Sample], now: float, patience_s: float
) -> Optional[Decision]:
    """What to ask for; None to leave it at `wanted`.

    More is asked for at once. Fewer only when every sample of the last `patience_s` seconds was below `wanted`,
    and then for the most that any of them held: a pause between two computations must not cost workers.

    history   earlier samples, oldest first
    """
    count = bounds.clamp(load.desired)
    if wanted < bounds.minimum or wanted > bounds.maximum:
        return Decision(count, f"the bounds are {bounds.minimum} to {bounds.maximum}")
    if count > wanted:
        return Decision(count, _why_more(load))
    recent = [sample for sample in history if sample.time > now - patience_s]
    seen_long_enough = any(sample.time <= now - patience_s for sample in history)
    fewer = max([count, *(bounds.clamp(sample.count) for sample in recent)])
    if seen_long_enough and fewer < wanted:
        return Decision(fewer, _why_fewer(load, patience_s))
    return None


def _why_more(load: Load) -> str:
    if load.memory_fraction > _FULL and load.work_s < load.desired:
        return f"results fill {load.memory_fraction:.0%} of the workers' memory"
    return _work(load)


def _why_fewer(load: Load, patience_s: float) -> str:
    if load.tasks == 0:
        return f"nothing to do for {patience_s:g} s"
    return f"{_work(load)}: fewer are enough"


def _work(load: Load) -> str:
    waiting = "1 task waits" if load.tasks == 1 else f"{load.tasks} tasks wait"
    return f"{waiting}, about {_duration(load.work_s)} of work" if load.work_s >= 1 else waiting


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.0f} h"


def load_of(scheduler: Any) -> Load:
    """The load of a `distributed.Scheduler`, of any release."""
    workers = scheduler.workers.values()
    limit = sum(ws.memory_limit or 0 for ws in workers)
    tasks = (
        sum(len(ws.processing) for ws in workers) + len(scheduler.unrunnable) + len(getattr(scheduler, "queued", ()))
    )
    return Load(
        desired=int(scheduler.adaptive_target()),
        tasks=tasks,
        work_s=float(scheduler.total_occupancy),
        memory_fraction=sum(ws.nbytes for ws in workers) / limit if limit else 0.0,
    )


class Adaptive:
    """Adaptive scaling of one scheduler: off until it has bounds."""

    def __init__(self) -> None:
        self.wanted: Optional[int] = None
        """How many workers the server wants; unknown until it said so."""
        self.patience_s = 3.0
        self._bounds: Optional[Bounds] = None
        self._history: deque[Sample] = deque(maxlen=1000)

    def set_bounds(self, minimum: Optional[int], maximum: Optional[int]) -> None:
        """Scale within these from now on; None and None: not at all."""
        self._history.clear()
        self._bounds = None if minimum is None or maximum is None else Bounds(minimum, maximum)

    def look(self, scheduler: Any, now: float) -> Optional[Decision]:
        """What to ask for now, if anything."""
        if self._bounds is None or self.wanted is None:
            return None
        load = load_of(scheduler)
        decision = decide(load, self.wanted, self._bounds, self._history, now, self.patience_s)
        self._history.append(Sample(now, self._bounds.clamp(load.desired)))
        return decision
