"""The pods that a cluster would have, before anything is started: for `check-config --pods`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ....wire.launch import SchedulerLaunch, WorkerLaunch
from ...model import ClusterSpec
from ..protocol import Job, JobKind
from . import names, pods
from .settings import KubernetesSettings

AGENT = names.agent_config_map("0" * 16)
"""Stands for the ConfigMap of whatever agent the server brings along."""


def pods_of(spec: ClusterSpec, settings: KubernetesSettings) -> list[Mapping[str, Any]]:
    """The scheduler's pod and a worker's. Without a namespace where that is the server's own.

    raises  Refused where there can be none
    """
    return [_pod(_job(spec, kind), settings) for kind in (JobKind.SCHEDULER, JobKind.WORKER)]


def _job(spec: ClusterSpec, kind: JobKind) -> Job:
    is_scheduler = kind is JobKind.SCHEDULER
    return Job(
        id=f"{spec.name}-scheduler" if is_scheduler else f"{spec.name}-worker-1",
        kind=kind,
        cluster=spec.name,
        owner=spec.owner,
        size=spec.scheduler if is_scheduler else spec.worker,
        environment=spec.environment,
        launch=cast("SchedulerLaunch | WorkerLaunch", {}),
        image=(spec.scheduler_image or spec.image) if is_scheduler else spec.image,
        overlay=spec.backend,
    )


def _pod(job: Job, settings: KubernetesSettings) -> Mapping[str, Any]:
    namespace = names.namespace_of(job, settings, "")
    pod = pods.pod_manifest(job, settings, namespace=namespace, agent=AGENT)
    if not namespace:
        del pod["metadata"]["namespace"]
    return pod
