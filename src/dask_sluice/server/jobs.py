"""What is submitted: the jobs of a cluster, built from its record. Pure but for fresh certificates."""

from __future__ import annotations

from dataclasses import dataclass

from ..wire.launch import SchedulerLaunch, TLSFiles, WorkerLaunch
from ..wire.names import LINK_PATH
from .backends.protocol import Job, JobKind, Size
from .certificates import Role, issue
from .model import ClusterRecord, WorkerRecord
from .store import Secrets


@dataclass(frozen=True)
class LaunchSettings:
    """How schedulers and workers are to listen and to reach the server."""

    server_url: str
    """Base URL, ws:// or wss://, that a scheduler's agent dials."""
    link_ca: str | None = None
    """PEM that a wss:// link trusts; None: the system's."""
    host: str = "127.0.0.1"
    """The address that schedulers and workers listen on."""
    max_restarts: int = 5
    """How often a worker is restarted within `restart_window_s` before it is given up."""
    restart_window_s: float = 120.0


def build_job(record: ClusterRecord, job_id: str, secrets: Secrets, settings: LaunchSettings, now: float) -> Job:
    """The job of this id.

    raises  LookupError where the record has none
    """
    if job_id == record.scheduler.job.job_id:
        return scheduler_job(record, secrets, settings, now)
    for worker in record.workers:
        if worker.job.job_id == job_id:
            return worker_job(record, worker, secrets, settings, now)
    raise LookupError(f"{record.name} has no job {job_id}")


def scheduler_job(record: ClusterRecord, secrets: Secrets, settings: LaunchSettings, now: float) -> Job:
    """The scheduler of a cluster."""
    spec = record.spec
    launch = SchedulerLaunch(
        role="scheduler",
        cluster=spec.name,
        host=settings.host,
        port=0,
        dashboard_port=0,
        tls=_tls(Role.SCHEDULER, spec.name, "scheduler", secrets, now),
        link_url=settings.server_url.rstrip("/") + LINK_PATH.format(name=spec.name),
        link_token=secrets.link_token,
        link_ca=settings.link_ca,
    )
    job_id = record.scheduler.job.job_id
    image = spec.scheduler_image or spec.image
    return _job(record, job_id, JobKind.SCHEDULER, spec.scheduler, launch, image, secrets)


def worker_job(
    record: ClusterRecord, worker: WorkerRecord, secrets: Secrets, settings: LaunchSettings, now: float
) -> Job:
    """One worker. It is told where the scheduler listens, and nothing of the server."""
    spec, scheduler, size = record.spec, record.scheduler, record.spec.size_of(worker.group)
    launch = WorkerLaunch(
        role="worker",
        cluster=spec.name,
        name=worker.name,
        scheduler_address=f"tls://{scheduler.host}:{scheduler.port}",
        host=settings.host,
        threads=size.threads,
        memory_limit_bytes=size.memory_bytes,
        local_directory="",
        tls=_tls(Role.WORKER, spec.name, worker.name, secrets, now),
        max_restarts=settings.max_restarts,
        restart_window_s=settings.restart_window_s,
    )
    return _job(record, worker.job.job_id, JobKind.WORKER, size, launch, spec.image, secrets)


def _job(
    record: ClusterRecord,
    job_id: str,
    kind: JobKind,
    size: Size,
    launch: SchedulerLaunch | WorkerLaunch,
    image: str,
    secrets: Secrets,
) -> Job:
    spec = record.spec
    return Job(
        id=job_id,
        kind=kind,
        cluster=spec.name,
        owner=spec.owner,
        size=size,
        environment=spec.environment,
        launch=launch,
        variables={**spec.variables, **secrets.variables},
        image=image,
        overlay=spec.backend,
    )


def _tls(role: Role, cluster: str, name: str, secrets: Secrets, now: float) -> TLSFiles:
    identity = issue(secrets.ca_certificate, secrets.ca_key, role, cluster, name, now)
    return TLSFiles(ca_certificate=secrets.ca_certificate, certificate=identity.certificate, key=identity.key)
