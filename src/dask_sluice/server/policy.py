"""Who may do what, and what a user may ask for: every permission, size and limit is decided here.

Pure. Times are decided in `reconcile`; both work the same way on every backend.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from ..wire.api import LeaseRequest
from ..wire.errors import ClusterNotFound, OptionInvalid, PermissionDenied
from ..wire.options import Option, OptionType, check_options
from .amounts import GIB
from .backends.protocol import Size
from .leases import terms
from .limits import LimitBook
from .model import Caller, ClusterRecord, ClusterSpec
from .settings_leases import Leases
from .settings_limits import Limits
from .settings_schema import Number, Options, Timeouts

OWNER_PART = 30
"""`daskgateway-` (12) + owner + `-` + 8 has to stay below the 63 characters of a DNS label."""
SCHEDULER = Size(cores=1, memory_bytes=0, threads=1)
LEAST_MEMORY = 0.25
AS_SET = LeaseRequest()
"""A lease in which the administrator's settings decide everything."""
MANY_CORES = 64
"""What a backend of more than one machine is taken to have, where nothing else bounds a cluster."""


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


def check_admin(caller: Caller, what: str) -> None:
    """Raise unless the caller is an administrator."""
    if not caller.is_admin:
        raise PermissionDenied(f"only administrators may {what}", hint="Setting authenticator.admins names them.")


@dataclass(frozen=True)
class Machine:
    """The one machine that clusters run on: where nothing else bounds a worker, this does."""

    cores: int
    memory_bytes: int


class Policy:
    """The administrator's settings as decisions. `machine` None: the backend has more than one."""

    def __init__(
        self,
        options: Options | None = None,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        machine: Machine | None = None,
        leases: Leases | None = None,
    ) -> None:
        settings = options or Options()
        self._environments = settings.environment.allowed
        cores = machine.cores if machine else MANY_CORES
        self.limits = LimitBook(limits)
        self._many_workers = max(16, 4 * cores)
        self._timeouts = timeouts or Timeouts()
        self._leases = leases or Leases()
        self._options = _describe(settings, machine)

    def options(self, caller: Caller) -> Sequence[Option]:
        """What this caller may choose."""
        return self._options

    def resolve(self, caller: Caller, name: str, given: Mapping[str, Any], lease: LeaseRequest = AS_SET) -> ClusterSpec:
        """What the caller gets for these options.

        raises  OptionInvalid, naming the option; LimitExceeded where not one worker of the size would fit
        """
        options = check_options(self.options(caller), given)
        cores, timeouts = options["worker_cores"], self._timeouts
        worker = Size(cores, int(options["worker_memory"] * GIB), options["worker_threads"] or max(1, int(cores)))
        most, most_by = self.limits.most_workers(caller.name, caller.groups, SCHEDULER, worker, self._many_workers)
        return ClusterSpec(
            name=name,
            owner=caller.name,
            options=options,
            environment=self._environment(options["environment"].strip()),
            scheduler=SCHEDULER,
            worker=worker,
            max_workers=most,
            max_workers_by=most_by,
            start_timeout_s=timeouts.scheduler_start_s,
            worker_start_timeout_s=timeouts.worker_start_s,
            lease=terms(self._leases, lease),
            groups=caller.groups,
        )

    def _environment(self, path: str) -> str:
        default = {option.name: option.default for option in self._options}["environment"]
        if path in ("", default):
            return path
        if not path.startswith("/") or "\0" in path or "/../" in f"{path}/":
            raise OptionInvalid("environment", f"environment must be a plain absolute path, got {path!r}")
        if self._environments is not None and not any(_fits(path, pattern) for pattern in self._environments):
            raise OptionInvalid(
                "environment", f"environment must be one of {', '.join(self._environments) or default}, got {path!r}"
            )
        return path


def _fits(path: str, pattern: str) -> bool:
    """Whether the path is meant; `*` stands for anything within one name."""
    parts, patterns = path.rstrip("/").split("/"), pattern.rstrip("/").split("/")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def _describe(settings: Options, machine: Machine | None) -> tuple[Option, ...]:
    threads = settings.worker_threads
    return (
        _number(
            "worker_cores",
            settings.worker_cores,
            float(machine.cores) if machine else None,
            label="Cores per worker",
            help="Processor cores that one worker may use.",
        ),
        _number(
            "worker_memory",
            settings.worker_memory,
            max(LEAST_MEMORY, int(4 * machine.memory_bytes / GIB) / 4) if machine else None,
            label="Memory per worker",
            help="Memory of one worker; one that needs more is restarted.",
            unit="GiB",
        ),
        Option(
            name="worker_threads",
            type=OptionType.INT,
            default=threads.default,
            label="Threads per worker",
            help="Tasks that one worker runs at a time; 0: one for each of its cores.",
            minimum=threads.minimum,
            maximum=threads.maximum,
        ),
        Option(
            name="environment",
            type=OptionType.STRING,
            default=settings.environment.default,
            label="Python environment",
            help="Path of a virtual environment, conda prefix or interpreter; empty: the server's own.",
        ),
    )


def _number(name: str, bounds: Number, most: float | None, *, label: str, help: str, unit: str = "") -> Option:
    maximum = bounds.maximum if bounds.maximum is not None else most
    default = float(bounds.default if maximum is None else min(bounds.default, maximum))
    return Option(name, OptionType.FLOAT, default, label, help, unit, min(bounds.minimum, default), maximum)


def cluster_name(owner: str, suffix: str) -> str:
    """The name of a new cluster: a DNS label that shows whose it is. `suffix`: 8 random hex digits."""
    slug = re.sub(r"[^a-z0-9]+", "-", owner.lower())[:OWNER_PART].strip("-")
    if not slug or not slug[0].isalpha():
        slug = f"u-{slug}"[:OWNER_PART].strip("-")
    return f"{slug}-{suffix}"
