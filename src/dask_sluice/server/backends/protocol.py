"""What a backend is: five calls, and a few small optional ones asked for by `isinstance`.

A backend starts jobs, says what became of them and ends them. It knows nothing of users' tokens, HTTP,
quotas or time-outs: those are decided in `reconcile` and `policy`, the same way for every backend.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from ...wire.launch import SchedulerLaunch, WorkerLaunch
from ...wire.reasons import Reason


class JobKind(StrEnum):
    """A scheduler, or workers."""

    SCHEDULER = "scheduler"
    WORKER = "worker"


@dataclass(frozen=True)
class Size:
    """What one process may use. `memory_bytes` 0 means no limit."""

    cores: float
    memory_bytes: int
    threads: int
    gpus: int = 0
    cores_request: float = 0
    """Cores set aside for it, where a backend tells that from what it may use; 0: the same."""
    memory_request_bytes: int = 0
    """Memory set aside for it; 0: the same."""


@dataclass(frozen=True)
class Job:
    """Something to run. `id` is ours and unique for ever, so submitting it twice is harmless."""

    id: str
    kind: JobKind
    cluster: str
    owner: str
    size: Size
    environment: str
    """Path of a Python environment; empty for the backend's default."""
    launch: SchedulerLaunch | WorkerLaunch
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the process, secret ones among them: never to be written or shown."""
    image: str = ""
    """Container image, for a backend that runs containers; empty for its default."""
    overlay: Mapping[str, Any] = field(default_factory=dict)
    """The administrator's free keys for this backend, such as parts of a pod."""


@dataclass(frozen=True)
class Handle:
    """One thing that exists out there, as the backend needs it to find it again.

    `data` is JSON. A handle is saved before the next step of a submit is taken.
    """

    job_id: str
    cluster: str
    kind: JobKind
    data: Mapping[str, Any]


class JobState(StrEnum):
    """What a backend can see of a job from outside."""

    PENDING = "pending"
    """Waits for its turn, or for a place to run."""
    STARTING = "starting"
    """Has its place, where it is being made ready: its image is pulled, its volumes are mounted."""
    RUNNING = "running"
    ENDED = "ended"
    """It ran and is over, or was never there: nothing is left of it but its logs."""


@dataclass(frozen=True)
class Seen:
    """What became of one handle, at the time it was looked at.

    `host` is where the job runs, observed by the backend: the only host the proxy ever dials.
    `reason` says why it waits or ended, as exactly as the backend can know; None while all is well. Of a job that
    runs it says what threatens it.
    """

    job_id: str
    state: JobState
    host: str = ""
    exit_code: int | None = None
    signal: str = ""
    reason: Reason | None = None
    log_tail: str = ""
    """Last lines of its output, filled when it has ended."""
    is_stuck: bool = False
    """Whether it waits because something is wrong, and not for its turn: it is given up when that lasts."""


@dataclass(frozen=True)
class Capabilities:
    """What a backend can enforce and report; settings are checked against it at start-up."""

    name: str
    enforces_memory: bool
    enforces_cores: bool
    separates_users: bool
    notes: tuple[str, ...] = ()
    """Sentences for the administrator, said once at start-up."""
    runs_images: bool = False
    """Whether `Job.image` has a meaning; settings that name images are refused otherwise."""
    takes_overlay: bool = False
    """Whether `Job.overlay` has a meaning; settings with a section `backend` are refused otherwise."""
    runs_environments: bool = True
    """Whether `Job.environment` has a meaning."""


class _Because(Exception):
    """With a reason from the catalogue where there is one that says more than the sentence."""

    def __init__(self, message: str = "", reason: Reason | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class Refused(_Because):
    """The backend will not start this job, and trying again would not help."""


class Unavailable(_Because):
    """The backend does not do it just now, because it does not answer or has no room; trying again may help."""


class Backend(Protocol):
    """The only door to a resource manager. Construction has no side effects; `start` and `close` do."""

    async def start(self) -> None:
        """Become ready. Called once, before anything else but `describe`."""

    async def close(self) -> None:
        """Let go of own resources; jobs go on running."""

    def describe(self) -> Capabilities:
        """What it can and cannot do. No I/O."""

    def submit(self, job: Job) -> AsyncIterator[Handle]:
        """Start the job, yielding each thing as it is created; a repeat yields the same handles.

        raises  Refused for good, Unavailable for now
        """

    async def observe(self, handles: Sequence[Handle]) -> list[Seen]:
        """One batch look: one `Seen` per handle, same order."""

    async def remove(self, handle: Handle) -> None:
        """End it, with everything it started. Gone already is success."""

    async def recover(self) -> list[Handle]:
        """Everything out there that bears our mark."""


@runtime_checkable
class Watches(Protocol):
    """A backend that tells when something may have changed, so that nobody needs to poll."""

    def changes(self) -> AsyncIterator[str]:
        """Names of clusters worth looking at again. Ends when the backend closes."""


@runtime_checkable
class ReadsLogs(Protocol):
    """A backend that can show what a job wrote, living or dead."""

    async def logs(self, cluster: str, job_id: str, *, max_bytes: int = 1_000_000) -> str:
        """The end of the job's output, empty where there is none."""


class KeepsLogs(Protocol):
    """What the server offers to a backend that loses a log with its process: every server on the store can read it."""

    async def keep(self, cluster: str, job_id: str, log: bytes) -> None:
        """Keep this log in the place of an earlier one; an empty one only where there is none."""

    async def read(self, cluster: str, job_id: str) -> bytes | None:
        """The log, the newest of it; None where none is kept."""

    async def forget(self, cluster: str) -> None:
        """Delete those of this cluster."""

    async def clusters(self) -> list[str]:
        """Of which clusters some are kept, sorted."""


@dataclass(frozen=True)
class LogPart:
    """A piece of a job's output, and where the next one begins: opaque, empty only before anything was written."""

    text: str
    position: str


@runtime_checkable
class FollowsLogs(Protocol):
    """A backend that can show what a job writes while it does."""

    async def log_after(self, cluster: str, job_id: str, position: str, *, max_bytes: int) -> LogPart:
        """What was written after `position`, its oldest `max_bytes`; '': the newest `max_bytes` of all."""


@runtime_checkable
class ChecksEnvironments(Protocol):
    """A backend that can tell whether a Python environment can run a cluster before it tries."""

    async def check_environment(self, environment: str, owner: str) -> None:
        """Return if usable; raise `wire.errors.EnvironmentInvalid` with the reason as its sentence."""


@runtime_checkable
class ChecksOverlays(Protocol):
    """A backend that knows which keys its overlay may have, so that a slip is found at start-up."""

    def check_overlay(self, overlay: Mapping[str, Any]) -> Sequence[str]:
        """A sentence for each thing that is wrong, naming the key and the nearest right one. No I/O."""


@runtime_checkable
class KeepsWarm(Protocol):
    """A backend that can have schedulers wait, as nobody's, for somebody who needs one."""

    def keep_warm(self, key: bytes, wishes: Sequence[tuple[Job, int]]) -> None:
        """Have so many wait for each of these jobs. Called once, before `start`.

        key   32 bytes that all servers of these clusters share, and nobody else knows
        """

    def lead(self, leads: bool) -> None:
        """Whether this server, of several, is the one that makes them. Called after `start`."""

    async def cool_down(self) -> None:
        """Let none wait any more: the server ends for good."""


@runtime_checkable
class ForgetsClusters(Protocol):
    """A backend that keeps something per cluster (a directory, logs) beyond its jobs."""

    async def forget(self, cluster: str) -> None:
        """Delete what is kept for an ended cluster. Gone already is success."""

    async def kept(self) -> list[str]:
        """Names of clusters for which something is kept."""
