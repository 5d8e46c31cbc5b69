"""The usage ledger: which interval each process ran, read off its cluster's record. Pure.

An interval begins when the backend is first seen to run the job and ends when the job is seen to be over. The
store writes intervals in the transaction that writes the record which they follow from, so that the two never
disagree; a record that is written again writes the same intervals again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .backends.protocol import JobKind, Size
from .model import ClusterRecord, ClusterSpec, JobRecord, Prices, WorkerRecord

GIB = 2**30


@dataclass(frozen=True)
class Interval:
    """One process, from when it ran until when; open while it runs. There is one for each job."""

    job_id: str
    cluster: str
    user: str
    group: str
    """The group that is charged; empty where the user has none."""
    profile: str
    kind: JobKind
    cores: float
    memory_bytes: int
    gpus: int
    price_hour: float
    currency: str
    started_at: float
    ended_at: float | None


def entries(before: ClusterRecord | None, after: ClusterRecord | None) -> list[Interval]:
    """The intervals that a change of the record begins, ends or corrects.

    before  None: the record is new
    after   None: it is deleted, which ended clusters are, and nothing of theirs is open
    """
    if after is None:
        return []
    # Nearly all workers are the very same objects as before: a change costs by what it changes.
    old = {} if before is None else {id(worker): worker for worker in before.workers}
    new = {id(worker): worker for worker in after.workers}
    gone = [worker for key, worker in old.items() if key not in new]
    come = [worker for key, worker in new.items() if key not in old]
    was = {job.job_id: (job, over_at) for *_, job, over_at in _jobs(before, gone)}
    return [
        _interval(after.spec, kind, size, job, job.running_at, over_at)
        for kind, size, job, over_at in _jobs(after, come)
        if job.running_at is not None and was.get(job.job_id) != (job, over_at)
    ]


def price_hour(size: Size, prices: Prices) -> float:
    """What a process of this size costs for an hour."""
    memory = size.memory_bytes / GIB * prices.memory_gib_hour
    return size.cores * prices.core_hour + memory + size.gpus * prices.gpu_hour


def charged_group(spec: ClusterSpec) -> str:
    """The group that pays; empty where the owner has none."""
    return spec.groups[0] if spec.groups else ""


def _jobs(
    record: ClusterRecord | None, workers: Iterable[WorkerRecord]
) -> Iterator[tuple[JobKind, Size, JobRecord, float | None]]:
    """The scheduler's job and those of the workers, and when each was over: a worker may be before it is removed."""
    if record is None:
        return
    job = record.scheduler.job
    yield JobKind.SCHEDULER, record.spec.scheduler, job, job.ended_at
    for worker in workers:
        ends = [at for at in (worker.ended_at, worker.job.ended_at) if at is not None]
        yield JobKind.WORKER, record.spec.size_of(worker.group), worker.job, min(ends, default=None)


def _interval(
    spec: ClusterSpec, kind: JobKind, size: Size, job: JobRecord, started_at: float, ended_at: float | None
) -> Interval:
    return Interval(
        job_id=job.job_id,
        cluster=spec.name,
        user=spec.owner,
        group=charged_group(spec),
        profile=spec.profile,
        kind=kind,
        cores=size.cores,
        memory_bytes=size.memory_bytes,
        gpus=size.gpus,
        price_hour=price_hour(size, spec.prices),
        currency=spec.prices.currency,
        started_at=started_at,
        # A clock that was set back must not make time that was not used be paid back.
        ended_at=None if ended_at is None else max(started_at, ended_at),
    )
