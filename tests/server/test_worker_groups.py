"""A worker is of a group, and gets the size of its group: in its job and in the ledger."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dask_sluice.server.backends.protocol import Size
from dask_sluice.server.certificates import new_authority
from dask_sluice.server.jobs import LaunchSettings, build_job
from dask_sluice.server.ledger import entries
from dask_sluice.server.model import ClusterRecord, JobRecord, SchedulerRecord, WorkerGroup, WorkerRecord
from dask_sluice.server.store import Secrets
from dask_sluice.wire.reasons import Reason, ReasonCode
from dask_sluice.wire.states import ClusterState, WorkerState

from .records import record_of

SMALL, LARGE = Size(1, 2**30, 1), Size(8, 2**35, 4, gpus=1)


def record() -> ClusterRecord:
    record = record_of("ada-1", state=ClusterState.RUNNING)
    groups = (WorkerGroup("default", SMALL), WorkerGroup("gpu", LARGE, {"profile": "gpu"}))
    starting = Reason(ReasonCode.WORKER_STARTING)
    workers = tuple(
        WorkerRecord(f"worker-{n}", JobRecord(f"j{n}", running_at=5.0), WorkerState.STARTING, starting, 1.0, group)
        for n, group in enumerate(("default", "gpu"), start=1)
    )
    return replace(
        record,
        spec=replace(record.spec, worker_groups=groups),
        workers=workers,
        scheduler=SchedulerRecord(JobRecord("ada-1-scheduler"), "127.0.0.1", 8786),
    )


def test_each_workers_job_is_of_its_groups_size() -> None:
    authority = new_authority("ada-1", 0.0)
    secrets = Secrets("token", authority.certificate, authority.key)
    jobs = [build_job(record(), f"j{n}", secrets, LaunchSettings("ws://127.0.0.1:1"), 0.0) for n in (1, 2)]
    assert [job.size for job in jobs] == [SMALL, LARGE]
    assert [job.launch.get("threads") for job in jobs] == [1, 4]


def test_the_ledger_charges_each_worker_by_its_groups_size() -> None:
    found = {each.job_id: (each.cores, each.gpus) for each in entries(None, record())}
    assert found == {"j1": (1, 0), "j2": (8, 1)}


def test_scale_is_about_the_first_group() -> None:
    assert record().spec.worker == SMALL


def test_a_group_that_is_not_there_is_named() -> None:
    with pytest.raises(LookupError, match="ada-1 has no group of workers 'huge'"):
        record().spec.size_of("huge")
