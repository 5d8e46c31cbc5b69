"""The size of this machine, or of the part of it that a container was given."""

from __future__ import annotations

import os
from pathlib import Path

from .policy.options import Machine

_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def this_machine() -> Machine:
    """Cores that we may run on, and memory that we may use."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(cores, min([memory, *_limits()]))


def _limits() -> list[int]:
    found = []
    for file in _CGROUP_LIMITS:
        try:
            text = file.read_text().strip()
        except OSError:
            continue
        if text.isdigit():  # `max` where there is none
            found.append(int(text))
    return found
