"""What to do when a worker process has ended by itself: pure decisions and words.

A crash is repaired by a new process, as Dask's users know it; a worker that crashes again and again is given
up, so that a broken environment or a deadly task ends with a sentence and not with a machine kept busy.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

GIB = 2**30


@dataclass(frozen=True)
class Memory:
    """What the worker process used when it was last looked at, and what it might use."""

    used_bytes: int
    limit_bytes: int

    @property
    def used_gib(self) -> float:
        return self.used_bytes / GIB

    @property
    def limit_gib(self) -> float:
        return self.limit_bytes / GIB


def out_of_memory(exit_code: int, memory: Optional[Memory], fraction: float) -> bool:
    """Whether a process that ended so was killed for its memory: by its Nanny, or by the kernel."""
    by_signal = exit_code in (-signal.SIGTERM, -signal.SIGKILL)
    return by_signal and memory is not None and memory.used_bytes > fraction * memory.limit_bytes


def how_it_ended(exit_code: int, memory: Optional[Memory] = None) -> str:
    """The end of a worker process in a few words. `memory` set: it ran out of it."""
    if memory is not None:
        return f"out of memory at {memory.used_gib:.1f} of {memory.limit_gib:.1f} GiB"
    if exit_code == 255:  # what multiprocessing reports when nobody could wait for the process
        return "it is gone, and nothing tells how"
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return f"killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"killed by signal {-exit_code}"


def may_restart(ends: Sequence[float], now: float, max_restarts: int, window_s: float) -> bool:
    """Whether a worker process that ended now may be started again.

    ends   times at which it ended before, this end included
    """
    return sum(end > now - window_s for end in ends) <= max_restarts
