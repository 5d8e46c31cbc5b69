"""Settings: what nobody may exceed, and how what there is gets shared."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from .memory import parse_memory
from .settings_parts import GroupName, Section, UserName

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
MOST_GIB = 2.0**30
"""An EiB: whoever gives more has written bytes."""


def _gib(value: Any) -> Any:
    """Numbers are GiB here, as in the option `worker_memory`; whatever else was meant is told as GiB."""
    meant = value if isinstance(value, str) else f"{value:.0f}" if isinstance(value, float | int) else ""
    if isinstance(value, str) or (meant and value > MOST_GIB):
        try:
            size = parse_memory(value) / 2**30
        except ValueError:
            raise ValueError(f"must be a number of GiB, without a unit; got {value!r}") from None
        raise ValueError(f"must be a number of GiB, without a unit: write {size:.6g} instead of {meant!r}")
    return value


Gib = Annotated[float, Field(gt=0), BeforeValidator(_gib)]


class ClusterCeiling(Section):
    """What one cluster may have. The scheduler's cores and memory count as well."""

    workers: int | None = Field(None, ge=1)
    """Workers. Null: four for each core of this machine, at least 16. There is always a limit, so that a slip of the
    finger does not fill the machine."""
    cores: Positive | None = None
    """Cores. Null: as many as its workers may have."""
    memory: Gib | None = None
    """Memory, in GiB. Null: as much as its workers may have."""
    gpus: Count | None = None
    """GPUs. Null: as many as its workers may have."""


class Ceiling(Section):
    """What all clusters of somebody may have together, pending ones and those that are being stopped included."""

    clusters: Count | None = None
    """Clusters. Null: any number."""
    workers: Count | None = None
    """Workers. Null: any number."""
    cores: Positive | None = None
    """Cores, those of schedulers included. Null: any number."""
    memory: Gib | None = None
    """Memory in GiB, that of schedulers included. Null: any amount."""
    gpus: Count | None = None
    """GPUs. Null: any number."""


class Shares(Section):
    """In which order those who wait get what becomes free: first whoever has had least, by weight."""

    users: dict[UserName, Positive] = {}
    """Weights of single users; 1 for everybody else. Who has weight 2 is served as if they used half as much."""
    groups: dict[GroupName, Positive] = {}
    """Weights of groups; 1 for every other. Groups come first: then users within a group."""
    half_life_s: Positive = 86400.0
    """After this many seconds what somebody has used counts half. A day: yesterday's big run weighs a little today."""


class Limits(Section):
    """What nobody may exceed. More than a limit ever allows is refused or cut, with the limit's name and value;
    what only has no room just now waits in a queue, and its owner is told behind which limit and at which place.
    """

    cluster: ClusterCeiling = ClusterCeiling()
    """Each single cluster."""
    user: Ceiling = Ceiling()
    """Each user. One more cluster than this allows is refused; workers wait."""
    group: Ceiling = Ceiling()
    """Each group; a cluster counts in every group of its owner."""
    site: Ceiling = Ceiling()
    """Everybody together."""
    users: dict[UserName, Ceiling] = {}
    """Other limits for single users: what is not given here is as in `user`."""
    groups: dict[GroupName, Ceiling] = {}
    """Other limits for single groups: what is not given here is as in `group`."""
    starts_per_minute: int | None = Field(None, ge=1)
    """Schedulers and workers of one user started in a minute; more wait. Null: any number."""
    submits_at_once: int = Field(16, ge=1)
    """Schedulers and workers of one user that are handed to the backend at the same time; more wait their turn. So a
    thousand workers for one do not stand before another's single one."""
    shares: Shares = Shares()
    """Who comes first where there is a queue."""
