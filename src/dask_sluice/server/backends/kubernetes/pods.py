"""The pod of a job. Pure: `pod_manifest` and its parts, with golden files that docs/kubernetes.md shows.

What policy says of pods arrives merged in `Job.overlay`; the keys of `PodSettings` make the pod, `pod` and
`container` are laid over that, and what is ours is set last, so that no overlay takes it away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from ....wire.launch import LAST_WORDS_VARIABLE, LAUNCH_VARIABLE, VARIABLES_VARIABLE
from ...merging import Layer, merge
from ..protocol import Job, JobKind, Refused, Size
from . import names, placement
from .objects import (
    AGENT_FILE,
    AGENT_PATH,
    DASHBOARD_PORT,
    LAUNCH_FILE,
    LAUNCH_PATH,
    NANNY_PORT,
    SCHEDULER_PORT,
    SCRATCH_PATH,
    VARIABLES_FILE,
    WORKER_PORT,
)
from .overlay import list_key
from .settings import KubernetesSettings, PodSettings

TERMINATION_PATH = "/dev/termination-log"
_PORTS = {
    JobKind.SCHEDULER: {"dask": SCHEDULER_PORT, "dashboard": DASHBOARD_PORT},
    JobKind.WORKER: {"dask": WORKER_PORT, "nanny": NANNY_PORT},
}


def pod_manifest(
    job: Job,
    settings: KubernetesSettings,
    *,
    namespace: str,
    agent: str,
    owner: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The pod that runs the job.

    agent   name of the ConfigMap with the agent
    owner   see `objects.owner_reference`
    raises  Refused where policy came to something that is no pod
    """
    role = role_settings(job)
    image = job.image or settings.image
    if not image:
        raise Refused("no image is set for clusters: set backend.kubernetes.image, or policy.defaults.image")
    spec = _laid(_spec(job, role, settings), role.pod)
    container = _laid(_container(job, role, settings, image), role.container)
    _set_ours(spec, container, job, settings, agent)
    metadata: dict[str, Any] = {
        "name": names.object_name(job.id),
        "namespace": namespace,
        "labels": {**role.labels, **names.labels_of(job, settings)},
        "annotations": {**_prometheus(role), **role.annotations, **names.annotations_of(job, settings)},
    }
    if owner:
        metadata["ownerReferences"] = [dict(owner)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def role_settings(job: Job) -> PodSettings:
    """What policy says of this job's pod; defaults where it says nothing."""
    return PodSettings.model_validate(job.overlay.get(job.kind.value) or {})


def resources(size: Size, gpu_resource: str) -> dict[str, dict[str, str]]:
    """Requests and limits: cores to the thousandth, memory in bytes."""
    limits = {"cpu": millicores(size.cores)}
    requests = {"cpu": millicores(size.cores_request or size.cores)}
    if size.memory_bytes:
        limits["memory"] = str(size.memory_bytes)
        requests["memory"] = str(size.memory_request_bytes or size.memory_bytes)
    elif size.memory_request_bytes:
        requests["memory"] = str(size.memory_request_bytes)
    if size.gpus:
        limits[gpu_resource] = requests[gpu_resource] = str(size.gpus)
    return {"requests": requests, "limits": limits}


def millicores(cores: float) -> str:
    """`1500m`. Rounded down, as parts of a node are, so that as many fit as were reckoned; at least 1m."""
    return f"{max(1, int(Fraction(str(cores)) * 1000))}m"


def _spec(job: Job, role: PodSettings, settings: KubernetesSettings) -> dict[str, Any]:
    gpu = settings.gpu if job.size.gpus else None
    security = {
        "runAsNonRoot": True,
        "runAsUser": role.run_as_user,
        "runAsGroup": role.run_as_group,
        "fsGroup": role.fs_group,
    }
    if role.run_as_user == 0:
        security["runAsNonRoot"] = False
    given: dict[str, Any] = {
        "automountServiceAccountToken": role.automount_service_account_token,
        "serviceAccountName": role.service_account_name,
        "securityContext": {
            **{key: value for key, value in security.items() if value != "none"},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "enableServiceLinks": False,
        "nodeSelector": {**role.node_selector, **(gpu.node_selector if gpu else {})},
        "tolerations": placement.tolerations(job, role, settings),
        "affinity": placement.affinity(job, role),
        "schedulerName": role.scheduler_name,
        "priorityClassName": role.priority_class_name,
        "imagePullSecrets": [{"name": name} for name in role.image_pull_secrets],
        "terminationGracePeriodSeconds": role.stop_grace_s,
        "initContainers": list(role.init_containers),
        "volumes": [*_writable_volumes(role), *role.volumes],
    }
    return {key: value for key, value in given.items() if value not in ("", [], {})} | {
        "containers": list(role.containers)
    }


def _container(job: Job, role: PodSettings, settings: KubernetesSettings, image: str) -> dict[str, Any]:
    gpu = settings.gpu
    mounts = [{"name": _volume_name(index), "mountPath": path} for index, path in enumerate(_writable(role))]
    variables = gpu.variables if job.size.gpus else gpu.variables_without
    given: dict[str, Any] = {
        "image": image,
        "imagePullPolicy": role.image_pull_policy or "",
        "args" if role.keep_entrypoint else "command": [
            python_of(job, role),
            f"{AGENT_PATH}/{AGENT_FILE}",
            job.kind.value,
        ],
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "envFrom": list(role.env_from),
        "resources": resources(job.size, gpu.resource),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": role.read_only_root,
        },
        "startupProbe": role.startup_probe,
        "readinessProbe": role.readiness_probe,
        "livenessProbe": role.liveness_probe,
        "volumeMounts": [*mounts, *role.volume_mounts],
    }
    return {key: value for key, value in given.items() if value not in ("", [], {})}


def python_of(job: Job, role: PodSettings) -> str:
    """The interpreter of the job's environment, a path in the image or on a volume."""
    if not job.environment:
        return role.python
    last = job.environment.rstrip("/").rpartition("/")[2]
    return job.environment if last.startswith("python") else f"{job.environment.rstrip('/')}/bin/python"


def _set_ours(
    spec: dict[str, Any], container: dict[str, Any], job: Job, settings: KubernetesSettings, agent: str
) -> None:
    """What no overlay takes away: our container, its ports, its files, and that it is not started twice."""
    ports = [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in _PORTS[job.kind].items()]
    ours = {
        LAUNCH_VARIABLE: f"{LAUNCH_PATH}/{LAUNCH_FILE}",
        VARIABLES_VARIABLE: f"{LAUNCH_PATH}/{VARIABLES_FILE}",
        LAST_WORDS_VARIABLE: TERMINATION_PATH,
    }
    env = [{"name": name, "value": value} for name, value in ours.items()]
    mounts = [
        {"name": "sluice-agent", "mountPath": AGENT_PATH, "readOnly": True},
        {"name": "sluice-launch", "mountPath": LAUNCH_PATH, "readOnly": True},
        {"name": "sluice-scratch", "mountPath": SCRATCH_PATH},
    ]
    mode = _secret_mode({**spec.get("securityContext", {}), **container.get("securityContext", {})})
    volumes = [
        {"name": "sluice-agent", "configMap": {"name": agent}},
        {"name": "sluice-launch", "secret": {"secretName": names.object_name(job.id), "defaultMode": mode}},
        {"name": "sluice-scratch", "emptyDir": {}},
    ]
    whole = {"env": env, "ports": ports, "volumeMounts": mounts}
    laid = _laid(container, whole) | {
        "terminationMessagePath": TERMINATION_PATH,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    others = [each for each in spec.get("containers", []) if each.get("name") != names.COMPONENTS[job.kind]]
    spec |= {
        "restartPolicy": "Never",
        "volumes": _laid(spec, {"volumes": volumes})["volumes"],
        "containers": [{"name": names.COMPONENTS[job.kind], **laid}, *others],
    }


def _laid(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    return merge([Layer("", below), Layer("", above)], list_key).values


def _secret_mode(security: Mapping[str, Any]) -> int:
    """As few as possible may read the launch document: the kubelet writes it as root and gives it to `fsGroup`."""
    return 0o400 if security.get("runAsUser") == 0 or "fsGroup" in security else 0o444


def _writable(role: PodSettings) -> tuple[str, ...]:
    return role.writable if role.read_only_root else ()


def _volume_name(index: int) -> str:
    return f"writable-{index}"


def _writable_volumes(role: PodSettings) -> Iterator[dict[str, Any]]:
    for index, _ in enumerate(_writable(role)):
        yield {"name": _volume_name(index), "emptyDir": {}}


def _prometheus(role: PodSettings) -> dict[str, str]:
    if not role.prometheus_port:
        return {}
    return {"prometheus.io/scrape": "true", "prometheus.io/port": str(role.prometheus_port)}
