"""Who may do what, and what a user may ask for: every permission, size and limit is decided here.

Pure. Times are decided in `reconcile`; both work the same way on every backend.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ..wire.errors import ClusterNotFound, OptionInvalid
from ..wire.options import Option, OptionType, check_options
from .backends.protocol import Size
from .model import Caller, ClusterRecord, ClusterSpec

GIB = 2**30
OWNER_PART = 30
"""`daskgateway-` (12) + owner + `-` + 8 has to stay below the 63 characters of a DNS label."""


class Action(StrEnum):
    """What someone may want to do with a cluster."""

    SEE = "see"
    SCALE = "scale"
    STOP = "stop"
    READ_LOGS = "read_logs"
    CONNECT = "connect"


def may(caller: Caller, action: Action, record: ClusterRecord) -> bool:
    """Whether this caller may do that. Whoever may connect can run code as the owner: nobody else may."""
    if caller.name == record.spec.owner:
        return True
    return caller.is_admin and action is not Action.CONNECT


def check(caller: Caller, action: Action, record: ClusterRecord) -> None:
    """Somebody else's cluster looks like one that does not exist."""
    if not may(caller, action, record):
        raise ClusterNotFound(f"no cluster named {record.name!r}", details={"cluster": record.name})


@dataclass(frozen=True)
class Bounds:
    """What a user gets without asking, and the least and most that may be asked for."""

    default: float
    minimum: float
    maximum: float


@dataclass(frozen=True)
class ClusterLimits:
    """The sizes and limits of clusters, as the administrator set them. Memory in GiB, times in seconds."""

    worker_cores: Bounds = Bounds(1, 0.1, 4)
    worker_memory: Bounds = Bounds(2, 0.25, 8)
    worker_threads_maximum: int = 64
    environment: str = ""
    """The default environment; empty: the backend's own."""
    max_workers: int = 100
    scheduler_cores: float = 1
    scheduler_memory: float = 2
    start_timeout_s: float = 60
    worker_start_timeout_s: float = 120
    idle_timeout_s: float = 0


def limits_of_machine(cores: int, memory_bytes: int) -> ClusterLimits:
    """Limits that fit one machine of this size: a worker may have all of it, and gets a fair part."""
    memory = max(0.5, memory_bytes / GIB)
    return ClusterLimits(
        worker_cores=Bounds(1, 0.1, max(1, cores)),
        worker_memory=Bounds(min(2.0, _tidy(memory / 2)), 0.25, _tidy(memory)),
        worker_threads_maximum=max(1, 4 * cores),
        max_workers=max(16, 4 * cores),
        scheduler_memory=min(2.0, _tidy(memory / 2)),
    )


def _tidy(memory: float) -> float:
    return max(0.25, int(memory * 4) / 4)


class Policy:
    """The administrator's settings as decisions."""

    def __init__(self, limits: ClusterLimits) -> None:
        self.limits = limits

    def options(self, caller: Caller) -> Sequence[Option]:
        """What this caller may choose."""
        limits = self.limits
        cores, memory = limits.worker_cores, limits.worker_memory
        return (
            Option(
                name="worker_cores",
                type=OptionType.FLOAT,
                default=float(cores.default),
                label="Cores per worker",
                help="Processor cores that one worker may use.",
                unit="cores",
                minimum=cores.minimum,
                maximum=cores.maximum,
            ),
            Option(
                name="worker_memory",
                type=OptionType.FLOAT,
                default=float(memory.default),
                label="Memory per worker (GiB)",
                help="Memory of one worker; one that needs more is restarted.",
                unit="GiB",
                minimum=memory.minimum,
                maximum=memory.maximum,
            ),
            Option(
                name="worker_threads",
                type=OptionType.INT,
                default=0,
                label="Threads per worker",
                help="Tasks that one worker runs at a time; 0: one for each of its cores.",
                minimum=0,
                maximum=limits.worker_threads_maximum,
            ),
            Option(
                name="environment",
                type=OptionType.STRING,
                default=limits.environment,
                label="Python environment",
                help="Path of a virtual environment, conda prefix or interpreter; empty: the server's own.",
            ),
        )

    def resolve(self, caller: Caller, name: str, given: Mapping[str, Any]) -> ClusterSpec:
        """What the caller gets for these options.

        raises  OptionInvalid, naming the option
        """
        options = check_options(self.options(caller), given)
        environment = options["environment"].strip()
        if environment and (not environment.startswith("/") or "\0" in environment):
            raise OptionInvalid("environment", f"environment must be an absolute path, got {environment!r}")
        limits, cores = self.limits, options["worker_cores"]
        return ClusterSpec(
            name=name,
            owner=caller.name,
            options=options,
            environment=environment,
            scheduler=Size(limits.scheduler_cores, int(limits.scheduler_memory * GIB), 1),
            worker=Size(cores, int(options["worker_memory"] * GIB), options["worker_threads"] or max(1, int(cores))),
            max_workers=limits.max_workers,
            start_timeout_s=limits.start_timeout_s,
            worker_start_timeout_s=limits.worker_start_timeout_s,
            idle_timeout_s=limits.idle_timeout_s,
        )


def cluster_name(owner: str, suffix: str) -> str:
    """The name of a new cluster: a DNS label that shows whose it is. `suffix`: 8 random hex digits."""
    slug = re.sub(r"[^a-z0-9]+", "-", owner.lower())[:OWNER_PART].strip("-")
    if not slug or not slug[0].isalpha():
        slug = f"u-{slug}"[:OWNER_PART].strip("-")
    return f"{slug}-{suffix}"
