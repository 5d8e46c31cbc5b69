"""A record as tests want one."""

from __future__ import annotations

from dask_sluice.server.backends.protocol import Size
from dask_sluice.server.model import (
    DEFAULT_GROUP,
    ClusterRecord,
    ClusterSpec,
    JobRecord,
    LeaseTerms,
    SchedulerRecord,
    Wanted,
    WorkerGroup,
)
from dask_sluice.wire.reasons import Reason, ReasonCode
from dask_sluice.wire.states import ClusterState


def spec_of(name: str, owner: str = "ada") -> ClusterSpec:
    return ClusterSpec(
        name=name,
        owner=owner,
        options={"worker_cores": 1.0},
        environment="",
        scheduler=Size(1, 0, 1),
        worker_groups=(WorkerGroup(DEFAULT_GROUP, Size(1, 2**30, 1)),),
        max_workers=6,
        start_timeout_s=60,
        worker_start_timeout_s=60,
        lease=LeaseTerms(idle_s=600),
    )


def record_of(name: str, owner: str = "ada", state: ClusterState = ClusterState.PENDING) -> ClusterRecord:
    return ClusterRecord(
        spec=spec_of(name, owner),
        wanted=Wanted(),
        state=state,
        reason=Reason(ReasonCode.CREATED),
        version=1,
        created_at=0.0,
        scheduler=SchedulerRecord(JobRecord(f"{name}-scheduler")),
    )
