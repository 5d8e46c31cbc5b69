"""Bodies of the v2 API, as the server sends them and the client reads them.

Times are seconds since the epoch (UTC, float); memory is bytes. Fields may be added: a reader ignores
what it does not know (`read`), so that an older client works with a newer server.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Optional, TypeVar

from .states import ClusterState, WorkerState


@dataclass(frozen=True)
class ReasonView:
    """Why something is as it is: a stable code, a sentence for people, what to do."""

    code: str
    sentence: str
    hint: str = ""


@dataclass(frozen=True)
class AdaptiveView:
    """Bounds of adaptive scaling; `maximum` None means the cluster's limit."""

    minimum: int
    maximum: Optional[int]


@dataclass(frozen=True)
class WorkerCounts:
    """How many workers are wanted, and where those that exist are."""

    wanted: int
    starting: int
    running: int
    retiring: int


@dataclass(frozen=True)
class LeaseView:
    """When the cluster will be ended if nothing changes. Epoch seconds; None: no end of this kind in sight.

    `notice` is the last warning of an end, while it holds. `presence_every_s` is how often the notebook that made the
    cluster is to say that it is there; 0: it need not.
    """

    idle_s: float = 0.0
    absent_s: float = 0.0
    ends_at: Optional[float] = None
    kept_until: Optional[float] = None
    presence_every_s: float = 0.0
    notice: Optional[ReasonView] = None


@dataclass(frozen=True)
class ClusterView:
    """One cluster, for its owner or an administrator.

    `version` grows with every change; `wait` takes it. `phase` is where a starting cluster is:
    queued, submitting, scheduler_starting, connecting, or empty. Paths are relative to the server's address.
    """

    name: str
    owner: str
    state: ClusterState
    phase: str
    reason: ReasonView
    version: int
    options: Mapping[str, Any]
    workers: WorkerCounts
    adaptive: Optional[AdaptiveView]
    created_at: float
    started_at: Optional[float]
    ended_at: Optional[float]
    dashboard_path: Optional[str]
    tunnel_path: str
    server_name: str
    lease: LeaseView = LeaseView()
    budget: Optional[ReasonView] = None
    """What is to be known of the budgets that it draws on, once one of them is nearly spent."""
    notes: tuple[str, ...] = ()
    """What its owner should know of how it was made otherwise than asked for."""
    image: str = ""
    """Container image of its processes; empty where the backend runs none, or chooses it."""
    environment: str = ""
    """Path of the environment that they run in; empty: the default one."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of `python`, `dask` and `distributed` in it, once its scheduler has been in touch."""


@dataclass(frozen=True)
class WorkerView:
    """One worker."""

    name: str
    state: WorkerState
    reason: ReasonView
    host: str
    created_at: float
    ended_at: Optional[float]
    restarts: int = 0
    group: str = "default"
    """The group of workers that it belongs to."""


@dataclass(frozen=True)
class EventView:
    """One thing that happened. `id` grows; `subject` is `cluster`, `scheduler` or a worker's name."""

    id: int
    time: float
    cluster: str
    subject: str
    kind: str
    code: str
    sentence: str
    details: Mapping[str, Any] = field(default_factory=dict)
    hint: str = ""


@dataclass(frozen=True)
class Credentials:
    """A client's TLS identity for one cluster, PEM. Short-lived: ask again when it has expired."""

    ca_certificate: str
    certificate: str
    key: str
    expires_at: float


@dataclass(frozen=True)
class ScaleAnswer:
    """What a scale or adapt call came to: `message` is set where a limit changed what was asked."""

    cluster: ClusterView
    message: str = ""


@dataclass(frozen=True)
class SizeView:
    """What one scheduler or worker may use, and what is set aside for it. Memory 0: no limit."""

    cores: float
    memory_bytes: int
    threads: int
    gpus: int
    cores_request: float
    memory_request_bytes: int


@dataclass(frozen=True)
class PlanValue:
    """One value of a plan and who had the last word on it: `profile large`, `option worker_cores`."""

    key: str
    value: Any
    source: str


@dataclass(frozen=True)
class PlanView:
    """What a cluster would get: the answer to a create with `dry_run`. Secrets are masked. Times in seconds."""

    user: str
    groups: tuple[str, ...]
    profile: str
    options: Mapping[str, Any]
    worker: SizeView
    scheduler: SizeView
    image: str
    scheduler_image: str
    environment: str
    variables: Mapping[str, str]
    max_workers: int
    scheduler_start_s: float
    worker_start_s: float
    idle_s: float
    """0: never, as for `age_s`."""
    age_s: float
    backend: Mapping[str, Any]
    values: tuple[PlanValue, ...]
    notes: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    """Limits and budgets that the cluster is under, each with the keys that set it."""


@dataclass(frozen=True)
class ServerInfo:
    """What a client needs to know of the server it reached.

    `dask_address` is `host:port` for Dask's TLS where that differs from the API's address, else None.
    `public_url` is the base for links shown to people, else None for the address used.
    """

    version: str
    user: str
    is_admin: bool
    backend: str
    dask_address: Optional[str] = None
    public_url: Optional[str] = None
    draining: str = ""
    """Why the server takes no new clusters, a sentence; empty while it does."""


@dataclass(frozen=True)
class DrainView:
    """Whether the server takes new clusters, and how many it still has."""

    draining: bool
    clusters: int
    by: str = ""
    since: Optional[float] = None
    message: str = ""


@dataclass(frozen=True)
class DrainRequest:
    """Body of a drain: what users are told besides."""

    message: str = ""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True)
class LeaseRequest:
    """How long a new cluster shall live, in seconds; 0 is never, None is what the administrator set.

    `presence`: the client will say now and then that it is there, and wants the cluster ended when it is not; None: it
    did not say what it wants.
    """

    idle_s: Optional[float] = None
    age_s: Optional[float] = None
    absent_s: Optional[float] = None
    presence: Optional[bool] = None

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True)
class LeaseChange:
    """Body of a lease call: keep the cluster for so long from now, make its life so much longer, or say `present`."""

    keep_alive_s: Optional[float] = None
    extend_s: Optional[float] = None
    present: bool = False

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True)
class UsageRow:
    """What was used by whatever `key` names, such as `{"user": "ada"}`. Costs in two currencies are two rows."""

    key: Mapping[str, str]
    process_hours: float
    core_hours: float
    memory_gib_hours: float
    gpu_hours: float
    cost: float
    currency: str


@dataclass(frozen=True)
class UsageReport:
    """What was used from `since` until `until`; what still runs is counted until now."""

    since: float
    until: float
    by: list[str]
    rows: tuple[UsageRow, ...]


@dataclass(frozen=True)
class CreateRequest:
    """Body of a create."""

    options: Mapping[str, Any] = field(default_factory=dict)
    lease: LeaseRequest = LeaseRequest()

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True)
class ScaleRequest:
    """Body of a scale: how many workers are wanted from now on; ends adaptive scaling."""

    count: int

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True)
class AdaptRequest:
    """Body of an adapt."""

    minimum: Optional[int] = None
    maximum: Optional[int] = None
    active: bool = True

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


T = TypeVar("T")


def read(cls: type[T], data: Mapping[str, Any]) -> T:
    """`data` as the given view, nested views included; unknown keys are ignored."""
    types = {f.name: str(f.type) for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    values = {
        key: tuple(value) if isinstance(value, list) and types[key].startswith("tuple[") else value
        for key, value in data.items()
        if key in types
    }
    fields_of = next((known for known in cls.__mro__ if known in _NESTED), cls)
    for name, nested in _NESTED.get(fields_of, {}).items():
        if values.get(name) is not None:
            value = values[name]
            if isinstance(value, (list, tuple)):
                values[name] = tuple(read(nested, each) for each in value)
            else:
                values[name] = nested(value) if issubclass(nested, str) else read(nested, value)
    return cls(**values)


_NESTED: Mapping[type, Mapping[str, Any]] = {
    ClusterView: {
        "state": ClusterState,
        "reason": ReasonView,
        "workers": WorkerCounts,
        "adaptive": AdaptiveView,
        "lease": LeaseView,
        "budget": ReasonView,
    },
    LeaseView: {"notice": ReasonView},
    WorkerView: {"state": WorkerState, "reason": ReasonView},
    ScaleAnswer: {"cluster": ClusterView},
    PlanView: {"worker": SizeView, "scheduler": SizeView, "values": PlanValue},
    UsageReport: {"rows": UsageRow},
}
