"""Sites, what a user chooses there, and the pod that comes of it: for golden files, and for a real API server.

`python -m tests.server.backends.kubernetes.cases` writes the golden files, if the diff is what you meant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any, cast

import yaml

from dask_sluice.server.backends.kubernetes import names, objects, pods
from dask_sluice.server.backends.kubernetes.settings import KubernetesSettings
from dask_sluice.server.backends.protocol import Job, JobKind
from dask_sluice.server.model import Caller
from dask_sluice.server.policy import Policy, cluster_name
from dask_sluice.server.settings_file import loads
from dask_sluice.server.settings_schema import Settings
from dask_sluice.wire.launch import SchedulerLaunch, WorkerLaunch

FILE = Path("sluice.yaml")
GOLDEN = Path(__file__).parent / "golden"
AGENT = names.agent_config_map("0123456789abcdef")
HOSTILE = "Zoe.O-Brien+dask@Example.ORG"

PLAIN = """
    backend:
      kind: kubernetes
      kubernetes: {image: "registry.test/dask:test"}
    """
NODES = """
    backend:
      kind: kubernetes
      kubernetes:
        image: registry.test/dask:test
        gpu: {node_selector: {cloud.google.com/gke-accelerator: nvidia-l4}}
    profiles:
      gpu: {worker: {cores: 4, cores_request: 3.5, memory: 16G, gpus: 1}}
      spot:
        worker: {cores: 2, memory: 8G}
        backend:
          worker:
            spot: require
            tolerate: [hub_user]
            tolerations: [{key: lab/pool, operator: Equal, value: heavy, effect: NoExecute, tolerationSeconds: 60}]
    """
OVERLAY = """
    backend:
      kind: kubernetes
      kubernetes:
        image: registry.test/dask:test
        pods:
          image_pull_secrets: [lab-registry]
          service_account_name: user-sa
          volumes: [{name: data, persistentVolumeClaim: {claimName: data, readOnly: true}}]
          volume_mounts: [{name: data, mountPath: /data, readOnly: true}]
        scheduler:
          prometheus_port: 8787
          node_selector: {k8s.dask.org/node-purpose: scheduler}
        worker:
          node_selector: {k8s.dask.org/node-purpose: worker}
    options:
      team: {type: string, default: lab}
    policy:
      everyone:
        backend:
          pods:
            labels: {team: "{options.team}"}
            volumes: [{name: home, persistentVolumeClaim: {claimName: homes}}]
            volume_mounts:
              - name: home
                mountPath: "/home/{user.name}"
                subPath: "{user.escaped}"
                mountPropagation: HostToContainer
    profiles:
      heavy:
        backend:
          scheduler:
            startup_probe: {tcpSocket: {port: dask}, periodSeconds: 10, failureThreshold: 90}
          worker:
            env_from: [{secretRef: {name: object-store, optional: true}}]
            volumes: [{name: data, emptyDir: {sizeLimit: 10Gi}}]
            pod:
              topologySpreadConstraints:
                - {topologyKey: kubernetes.io/hostname, maxSkew: 1, whenUnsatisfiable: ScheduleAnyway}
            container:
              env: [{name: MALLOC_ARENA_MAX, value: "2"}]
              resources: {requests: {ephemeral-storage: 5Gi}}
    """
PER_USER = """
    backend:
      kind: kubernetes
      kubernetes:
        namespace: dask-{user.escaped}
        other_namespaces: [dask-shared-*]
        image: registry.test/dask:test
    profiles:
      own: {}
      shared: {backend: {namespace: dask-shared-gpu}}
    """


@dataclass(frozen=True)
class Case:
    """Somebody's pod."""

    site: str
    user: str = "ada"
    options: Mapping[str, Any] = field(default_factory=dict)
    kind: JobKind = JobKind.WORKER
    groups: tuple[str, ...] = ()


CASES = {
    "scheduler": Case(PLAIN, kind=JobKind.SCHEDULER),
    "worker": Case(PLAIN, options={"worker_cores": 2, "worker_memory": 8}),
    "gpu": Case(NODES, options={"profile": "gpu"}),
    "spot": Case(NODES, options={"profile": "spot"}),
    "overlay": Case(OVERLAY, options={"profile": "heavy"}),
    "overlay-scheduler": Case(OVERLAY, options={"profile": "heavy", "team": "ice"}, kind=JobKind.SCHEDULER),
    "user-namespace": Case(PER_USER, options={"profile": "own"}),
    "hostile-name": Case(PER_USER, user=HOSTILE, options={"profile": "own"}, kind=JobKind.SCHEDULER),
}


def settings_of(site: str) -> Settings:
    """The settings that stand in a file."""
    return loads(dedent(site), FILE)


def job_of(settings: Settings, case: Case) -> Job:
    """What policy makes of a user's choice, as a job."""
    policy, caller = Policy.of(settings, None), Caller(case.user, groups=case.groups)
    offered = policy.offer(caller)
    cluster = cluster_name(case.user, "0a1b2c3d")
    spec = policy.settle(caller, cluster, offered, offered.choose(case.options)).spec
    is_scheduler = case.kind is JobKind.SCHEDULER
    return Job(
        id=f"{cluster}-scheduler" if is_scheduler else f"{cluster}-worker-3",
        kind=case.kind,
        cluster=cluster,
        owner=case.user,
        size=spec.scheduler if is_scheduler else spec.worker,
        environment=spec.environment,
        launch=cast("SchedulerLaunch | WorkerLaunch", {"role": str(case.kind), "cluster": cluster}),
        variables=spec.variables,
        image=spec.image,
        overlay=spec.backend,
    )


def made(case: Case, own: str = "hub") -> tuple[dict[str, Any], dict[str, Any]]:
    """The pod and its Secret."""
    settings = settings_of(case.site)
    return made_of(job_of(settings, case), settings.backend.kubernetes, own)


def made_of(job: Job, settings: KubernetesSettings, own: str = "hub") -> tuple[dict[str, Any], dict[str, Any]]:
    """The same for a job that is there already."""
    namespace = names.namespace_of(job, settings, own)
    pod = pods.pod_manifest(job, settings, namespace=namespace, agent=AGENT)
    return pod, objects.secret_manifest(job, settings, namespace=namespace)


def golden(name: str) -> Path:
    """The file with the pod of a case."""
    return GOLDEN / f"{name}.yaml"


def write() -> None:
    for name, case in CASES.items():
        golden(name).write_text(yaml.safe_dump(made(case)[0], sort_keys=False, width=116))


if __name__ == "__main__":
    write()
