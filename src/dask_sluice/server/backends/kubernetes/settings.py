"""What an administrator can set for the Kubernetes backend.

Our own keys are written with underscores; what is Kubernetes' own (a volume, a toleration, `pod`, `container`) keeps
its camelCase and is checked against the schema of Kubernetes.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from ...settings_parts import Section
from .syntax import FOLDER, is_folder, is_label_key, is_label_value, is_name

_NAMESPACE = re.compile(r"(?:[a-z0-9-]|\{user\.escaped\})*")


def _namespace(value: str) -> str:
    if not _NAMESPACE.fullmatch(value) or ("{" not in value and value and not is_name(value)):
        raise ValueError(f"must be a namespace such as 'dask', or 'dask-{{user.escaped}}'; got {value!r}")
    return value


def _one_namespace(value: str) -> str:
    if not is_name(value):
        raise ValueError(f"must be a namespace such as 'dask-ada'; got {value!r}")
    return value


def _label_value(value: str) -> str:
    if not value or not is_label_value(value):
        raise ValueError(f"must be the value of a label: letters, digits and - _ . only, at most 63; got {value!r}")
    return value


def _label_key(value: str) -> str:
    if value and not is_label_key(value):
        raise ValueError(f"must be the key of a label such as 'hub.jupyter.org/username'; got {value!r}")
    return value


def _folder(value: str) -> str:
    if not is_folder(value):
        raise ValueError(f"must be an absolute path, neither / nor in {FOLDER}; got {value!r}")
    return value.rstrip("/")


LabelKey = Annotated[str, AfterValidator(_label_key)]
Folder = Annotated[str, AfterValidator(_folder)]
LabelValue = Annotated[str, AfterValidator(_label_value)]
OF_KUBERNETES = "x-kubernetes"
"""In the schema of settings: the name of the Kubernetes type that a value must be of."""


def _of(kind: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "object", OF_KUBERNETES: kind})


def _part_of(kind: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "object", OF_KUBERNETES: kind, "required": []})


def _list_of(kind: str, by: str = "") -> WithJsonSchema:
    named = {"by": by} if by else {}
    return WithJsonSchema({"type": "array", "items": {"type": "object", OF_KUBERNETES: kind}, **named})


Object = dict[str, Any]
Objects = tuple[dict[str, Any], ...]
Tolerations = Annotated[Objects, _list_of("Toleration")]
Probe = Annotated[Object, _of("Probe")]
Containers = Annotated[Objects, _list_of("Container", "name")]
Identity = Annotated[int, Field(ge=0)] | Literal["none"]
Preset = Literal["hub_user", "gke_spot", "aks_spot", "eks_spot"]

Spot = Literal["never", "allow", "prefer", "require"]


class PodSettings(Section):
    """What a pod gets. `pods` is for schedulers and workers, `scheduler` and `worker` for the one or the other."""

    labels: dict[str, str] = {}
    """Labels of the pod, beside ours."""
    annotations: dict[str, str] = {}
    """Annotations of the pod."""
    prometheus_port: int = Field(0, ge=0, le=65535)
    """Port at which Prometheus is to scrape the pod, told by the usual annotations; 0: none. Schedulers answer at
    8787."""
    node_selector: dict[str, str] = {}
    """Labels that a node must have."""
    tolerate: tuple[Preset, ...] = ()
    """Kinds of taints that the pod tolerates: `hub_user` (nodes of JupyterHub's users), `gke_spot`, `aks_spot`,
    `eks_spot` (spot nodes of three clouds). Those of Dask's own nodes, `k8s.dask.org/dedicated` and the same with `_`,
    it always does."""
    tolerations: Tolerations = ()
    """Further tolerations, as Kubernetes writes them."""
    spot: Spot = "allow"
    """Whether workers run on spot (preemptible) nodes. `allow`: where there is room, their taints tolerated. Schedulers
    never do: what a cluster has computed ends with its scheduler."""
    affinity: Annotated[Object, _of("Affinity")] = {}
    """Affinity, as Kubernetes writes it."""
    service_account_name: str = ""
    """Service account of the pod. Empty: the namespace's default, which can do nothing without its token."""
    automount_service_account_token: bool = False
    """Whether the pod gets its service account's token, and with it that account's rights to the Kubernetes API."""
    run_as_user: Identity = 1000
    """User id of the processes. 1000: what most notebook images have. `none`: as the image says."""
    run_as_group: Identity = 1000
    """Group id of the processes. `none`: as the image says."""
    fs_group: Identity = 1000
    """Group that may read and write the pod's volumes. `none`: no such group."""
    read_only_root: bool = True
    """Whether the image's files cannot be written. What must be writable is in `writable`."""
    writable: tuple[Folder, ...] = ()
    """Folders that are writable all the same, beside `/tmp`: empty at first, gone with the pod."""
    scheduler_name: str = ""
    """Which scheduler of Kubernetes places the pod. Empty: the default one."""
    priority_class_name: str = ""
    """Priority class of the pod."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When the image is pulled. Null: as Kubernetes has it, by the tag."""
    image_pull_secrets: tuple[str, ...] = ()
    """Names of Secrets with which images are pulled."""
    volumes: Annotated[Objects, _list_of("Volume", "name")] = ()
    """Volumes, as Kubernetes writes them."""
    volume_mounts: Annotated[Objects, _list_of("VolumeMount", "mountPath")] = ()
    """Where they are mounted in the container, as Kubernetes writes it."""
    env_from: Annotated[Objects, _list_of("EnvFromSource")] = ()
    """Secrets and ConfigMaps whose keys become environment variables, as Kubernetes writes it."""
    startup_probe: Probe = {}
    """Startup probe of the container, as Kubernetes writes it."""
    readiness_probe: Probe = {}
    """Readiness probe of the container."""
    liveness_probe: Probe = {}
    """Liveness probe of the container."""
    containers: Containers = ()
    """Further containers of the pod, as Kubernetes writes them."""
    init_containers: Containers = ()
    """Containers that run to their end before ours starts."""
    python: str = "python"
    """The Python that runs the agent, where a cluster has no `environment`."""
    entrypoint: tuple[str, ...] | Literal["image"] = "image"
    """What starts our command: `image`, the image's own entry point, as conda images need it; or a command of the
    site's, such as `[/opt/run-in, "{options.environment}"]` in a profile; empty: nothing."""
    stop_grace_s: int = Field(30, ge=1)
    """Seconds that the pod's processes have to end before they are killed. A worker whose node is drained or taken back
    hands over what it holds in all but the last five of them."""
    pod: Annotated[Object, _part_of("PodSpec")] = {}
    """Anything else of the pod's `spec`, as Kubernetes writes it, laid over what the keys above come to."""
    container: Annotated[Object, _part_of("Container")] = {}
    """Anything else of our container, likewise."""


class GPUSettings(Section):
    """What pods get that ask for GPUs, beside the number."""

    resource: str = "nvidia.com/gpu"
    """The resource that counts GPUs."""
    node_selector: dict[str, str] = {}
    """Labels that a node must have."""
    tolerations: Tolerations = ({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},)
    """Tolerations, as Kubernetes writes them."""
    variables: dict[str, str] = {"NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
    """Environment variables of the container."""
    variables_without: dict[str, str] = {"NVIDIA_VISIBLE_DEVICES": "void"}
    """Those of pods without GPUs. By default: an image that asks for all GPUs of the node does not get them."""


class WarmSchedulers(Section):
    """Schedulers that wait, as nobody's, for the next cluster of a kind."""

    count: int = Field(ge=0, le=100)
    """How many wait."""
    profile: str = ""
    """For clusters of which profile. Empty: the one that counts where none is chosen."""
    options: dict[str, Any] = {}
    """For clusters with which options. Those not named have their defaults."""


class KubernetesSettings(Section):
    """Clusters as pods."""

    namespace: Annotated[str, AfterValidator(_namespace)] = ""
    """Namespace of the clusters' objects; it must exist. `{user.escaped}` stands for the user's name, for a namespace
    per user. Empty: the server's own."""
    other_namespaces: tuple[str, ...] = ()
    """Further namespaces that `backend.namespace` of profiles and rules may name; patterns, `*` standing for
    anything."""
    namespaces: tuple[Annotated[str, AfterValidator(_one_namespace)], ...] = ()
    """Where `namespace` or `other_namespaces` leave open which: the namespaces that clusters may be in, one by one.
    Empty: all, into which the server must then be allowed to look. The chart fills in its `rbac.namespaces`."""
    instance: LabelValue = "dask-sluice"
    """The label `gateway.dask.org/instance`: tells this server's objects from another one's in the same namespace."""
    app_name: LabelValue = "dask-gateway"
    """The label `app.kubernetes.io/name`, by which network policies know Dask's pods."""
    user_label: LabelKey = "hub.jupyter.org/username"
    """Label that holds the user's name, and annotation that holds it as it is. Empty: neither."""
    user_label_form: Literal["kubespawner", "escaped"] = "kubespawner"
    """How a name that labels cannot hold becomes one: as kubespawner has it since version 7, shortened with a digest
    behind it; or as `{user.escaped}`, kubespawner's way before. Take the one that your hub has."""
    image: str = ""
    """Container image of clusters for which policy names none."""
    kubeconfig: str = ""
    """File by which the API server is reached. Empty: as a pod, by its service account; else `~/.kube/config`."""
    context: str = ""
    """Context in that file. Empty: its current one."""
    isolate_clusters: bool = False
    """Whether each cluster gets a network policy of its own, by which its pods reach one another: made with its
    scheduler, gone with it. For a network that enforces policies, beside such as let the rest through; the chart, which
    has those, sets it."""
    gpu: GPUSettings = GPUSettings()
    """What pods get that ask for GPUs."""
    warm_schedulers: tuple[WarmSchedulers, ...] = ()
    """Schedulers that wait, so that clusters start in less than a second. Each takes up its requests while it waits."""
    pods: PodSettings = PodSettings()
    """What schedulers and workers get."""
    scheduler: PodSettings = PodSettings()
    """What schedulers get, over `pods`."""
    worker: PodSettings = PodSettings()
    """What workers get, over `pods`."""

    @property
    def is_per_user(self) -> bool:
        """Whether users have namespaces of their own."""
        return "{" in self.namespace

    def overlay(self) -> dict[str, Any]:
        """What the file says of pods, in the shape of policy's `backend`."""
        given = self.model_dump(mode="json", include={"pods", "scheduler", "worker"}, exclude_unset=True)
        return {key: value for key, value in given.items() if value}
