"""What is counted: clusters, workers, cores, memory, GPUs. Integers throughout, so that sums never drift."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .backends.protocol import Size

GIB = 2**30


class Amounts(NamedTuple):
    """So much of everything that a limit can bound. Memory in bytes, cores in thousandths."""

    clusters: int = 0
    workers: int = 0
    millicores: int = 0
    memory_bytes: int = 0
    gpus: int = 0

    def plus(self, other: Amounts, times: int = 1) -> Amounts:
        return Amounts(*(mine + times * theirs for mine, theirs in zip(self, other, strict=True)))

    @property
    def slots(self) -> float:
        """How dear it is, in cores: 4 GiB of memory weigh as much as one, a GPU as eight; for comparing users."""
        return max(self.millicores / 1000, self.memory_bytes / (4 * GIB), 8.0 * self.gpus, 0.1 * self.workers)


NOTHING = Amounts()


def scheduler_amounts(size: Size) -> Amounts:
    """What a cluster takes before it has workers."""
    return Amounts(1, 0, round(1000 * size.cores), size.memory_bytes, size.gpus)


def worker_amounts(size: Size) -> Amounts:
    """What one worker takes."""
    return Amounts(0, 1, round(1000 * size.cores), size.memory_bytes, size.gpus)


class Dimension(NamedTuple):
    """One thing that is counted, as settings and sentences name it."""

    name: str
    unit: str
    scale: int
    """What one unit of it is, in `Amounts`."""

    def shown(self, amount: int) -> str:
        """`12 cores`, `7.5 GiB of memory`."""
        return f"{amount / self.scale:g} {self.unit}"


DIMENSIONS = (
    Dimension("clusters", "clusters", 1),
    Dimension("workers", "workers", 1),
    Dimension("cores", "cores", 1000),
    Dimension("memory", "GiB of memory", GIB),
    Dimension("gpus", "GPUs", 1),
)
"""In the order of the fields of `Amounts`."""


def total(parts: Iterable[Amounts]) -> Amounts:
    """All of it together."""
    result = NOTHING
    for part in parts:
        result = result.plus(part)
    return result
