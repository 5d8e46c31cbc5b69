"""The pod of a job. Pure: `pod_manifest` and its parts, with golden files that docs/kubernetes.md shows.

What policy says of pods arrives merged in `Job.overlay`; the keys of `PodSettings` make the pod, `pod` and
`container` are laid over that, and what is ours is set last, so that no overlay takes it away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from pydantic import ValidationError

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
    LAUNCH_VOLUME,
    NANNY_PORT,
    SCHEDULER_PORT,
    SCRATCH_PATH,
    VARIABLES_FILE,
    WORKER_PORT,
)
from .overlay import list_key
from .settings import GPUSettings, KubernetesSettings, PodSettings

TERMINATION_PATH = "/dev/termination-log"
TEMPORARY = "/tmp"
_PORTS = {
    JobKind.SCHEDULER: {"dask": SCHEDULER_PORT, "dashboard": DASHBOARD_PORT},
    JobKind.WORKER: {"dask": WORKER_PORT, "nanny": NANNY_PORT},
}
_FILES = {
    LAUNCH_VARIABLE: f"{LAUNCH_PATH}/{LAUNCH_FILE}",
    VARIABLES_VARIABLE: f"{LAUNCH_PATH}/{VARIABLES_FILE}",
    LAST_WORDS_VARIABLE: TERMINATION_PATH,
}
_AGENT, _LAUNCH, _SCRATCH, _WRITABLE = "sluice-agent", LAUNCH_VOLUME, "sluice-scratch", "sluice-writable-{}"
_MOUNTS = (
    {"name": _AGENT, "mountPath": AGENT_PATH, "readOnly": True},
    {"name": _LAUNCH, "mountPath": LAUNCH_PATH, "readOnly": True},
    {"name": _SCRATCH, "mountPath": SCRATCH_PATH},
)


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
    role, gpu = role_settings(job), settings.gpu if job.size.gpus else None
    spec = _laid(_spec(job, role, gpu), role.pod)
    container = _laid(_container(job, role, settings), role.container)
    metadata: dict[str, Any] = {
        "name": names.object_name(job.id),
        "namespace": namespace,
        "labels": {**role.labels, **names.labels_of(job, settings)},
        "annotations": {**_prometheus(role), **role.annotations, **names.annotations_of(job, settings)},
    }
    if owner:
        metadata["ownerReferences"] = [dict(owner)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": _with_ours(spec, container, job, role, agent),
    }


def role_settings(job: Job) -> PodSettings:
    """What policy says of this job's pod; defaults where it says nothing.

    raises  Refused, for a cluster whose settings an older release has checked
    """
    try:
        return PodSettings.model_validate(job.overlay.get(job.kind.value) or {})
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise Refused(f"backend.{job.kind.value} is not what a pod can have: {wrong}") from error


def resources(size: Size, gpu_resource: str) -> dict[str, dict[str, str]]:
    """Requests and limits: cores to the thousandth, memory in bytes."""
    limits = {"cpu": millicores(size.cores)}
    requests = {"cpu": millicores(size.cores_request or size.cores)}
    if memory := size.memory_bytes:
        limits["memory"] = str(memory)
    if memory := size.memory_request_bytes or size.memory_bytes:
        requests["memory"] = str(memory)
    if size.gpus:
        limits[gpu_resource] = requests[gpu_resource] = str(size.gpus)
    return {"requests": requests, "limits": limits}


def millicores(cores: float) -> str:
    """`1500m`. Rounded down, as parts of a node are, so that as many fit as were reckoned; at least 1m."""
    return f"{max(1, int(Fraction(str(cores)) * 1000))}m"


def python_of(job: Job, role: PodSettings) -> str:
    """The interpreter of the job's environment: a path in the image, or on a volume."""
    environment = job.environment.rstrip("/")
    if not environment:
        return role.python
    return environment if environment.rpartition("/")[2].startswith("python") else f"{environment}/bin/python"


def _spec(job: Job, role: PodSettings, gpu: GPUSettings | None) -> dict[str, Any]:
    identity = {"runAsUser": role.run_as_user, "runAsGroup": role.run_as_group, "fsGroup": role.fs_group}
    security: dict[str, Any] = {
        "runAsNonRoot": role.run_as_user != 0,
        **{key: value for key, value in identity.items() if value != "none"},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if role.fs_group != "none":  # else the kubelet visits every file of a large volume at each start
        security["fsGroupChangePolicy"] = "OnRootMismatch"
    folders = enumerate(_writable(role))
    return _given(
        automountServiceAccountToken=role.automount_service_account_token,
        serviceAccountName=role.service_account_name,
        securityContext=security,
        enableServiceLinks=False,
        nodeSelector={**role.node_selector, **(gpu.node_selector if gpu else {})},
        tolerations=placement.tolerations(job.kind, role, gpu),
        affinity=role.affinity,
        schedulerName=role.scheduler_name,
        priorityClassName=role.priority_class_name,
        imagePullSecrets=[{"name": name} for name in role.image_pull_secrets],
        terminationGracePeriodSeconds=role.stop_grace_s,
        initContainers=role.init_containers,
        volumes=[*({"name": _WRITABLE.format(index), "emptyDir": {}} for index, _ in folders), *role.volumes],
    )


def _container(job: Job, role: PodSettings, settings: KubernetesSettings) -> dict[str, Any]:
    image, gpu = job.image or settings.image, settings.gpu
    if not image:
        raise Refused("no image is set for clusters: set backend.kubernetes.image, or image in a profile")
    variables = gpu.variables if job.size.gpus else gpu.variables_without
    folders = enumerate(_writable(role))
    return _given(
        image=image,
        imagePullPolicy=role.image_pull_policy,
        **_command(job, role),
        env=_variables(variables),
        envFrom=role.env_from,
        resources=resources(job.size, gpu.resource),
        securityContext={
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": role.read_only_root,
        },
        startupProbe=role.startup_probe,
        readinessProbe=role.readiness_probe,
        livenessProbe=role.liveness_probe,
        volumeMounts=[
            *({"name": _WRITABLE.format(index), "mountPath": path} for index, path in folders),
            *role.volume_mounts,
        ],
    )


def _command(job: Job, role: PodSettings) -> dict[str, list[str]]:
    """What Kubernetes calls `args` goes behind the image's entry point, or behind `command` where that is given."""
    ours = [python_of(job, role), f"{AGENT_PATH}/{AGENT_FILE}", job.kind.value]
    if role.entrypoint == "image":
        return {"args": ours}
    return {"command": list(role.entrypoint), "args": ours} if role.entrypoint else {"command": ours}


def _with_ours(
    spec: dict[str, Any], container: dict[str, Any], job: Job, role: PodSettings, agent: str
) -> dict[str, Any]:
    """The pod's spec with what no overlay takes away: our container, its ports and files, one start only."""
    name = names.COMPONENTS[job.kind]
    ports = [{"name": each, "containerPort": port, "protocol": "TCP"} for each, port in _PORTS[job.kind].items()]
    ours = _laid(container, {"env": _variables(_FILES), "ports": ports, "volumeMounts": _MOUNTS})
    ours |= {"terminationMessagePath": TERMINATION_PATH, "terminationMessagePolicy": "FallbackToLogsOnError"}
    mode = _secret_mode({**spec.get("securityContext", {}), **container.get("securityContext", {})})
    volumes = [
        {"name": _AGENT, "configMap": {"name": agent}},
        {"name": _LAUNCH, "secret": {"secretName": names.object_name(job.id), "defaultMode": mode}},
        {"name": _SCRATCH, "emptyDir": {}},
    ]
    others = [each for each in role.containers if each["name"] != name]
    placed = {"affinity": placement.affinity(job.kind, role.spot, spec.get("affinity") or {})}
    return {
        **_laid(spec, {"volumes": volumes}),
        **_given(**placed),
        "restartPolicy": "Never",
        "containers": [{"name": "", **ours} | {"name": name}, *others],
    }


def _laid(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    return merge([Layer("", below), Layer("", above)], list_key).values


def _given(**values: Any) -> dict[str, Any]:
    """Those that say something."""
    return {key: value for key, value in values.items() if value is not None and value not in ("", [], (), {})}


def _variables(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def _secret_mode(security: Mapping[str, Any]) -> int:
    """As few as possible may read the launch document: the kubelet writes it as root and gives it to `fsGroup`."""
    return 0o400 if security.get("runAsUser") == 0 or "fsGroup" in security else 0o444


def _writable(role: PodSettings) -> Sequence[str]:
    """Folders that need a volume of ours: those on which none of the site's is mounted."""
    taken = _paths(role.volume_mounts) | _paths(role.container.get("volumeMounts", ()))
    wanted = dict.fromkeys((TEMPORARY, *role.writable))
    return [path for path in wanted if path not in taken] if role.read_only_root else []


def _paths(mounts: Iterable[Mapping[str, Any]]) -> set[str]:
    return {str(each.get("mountPath", "")).rstrip("/") for each in mounts}


def _prometheus(role: PodSettings) -> dict[str, str]:
    if not role.prometheus_port:
        return {}
    return {"prometheus.io/scrape": "true", "prometheus.io/port": str(role.prometheus_port)}
