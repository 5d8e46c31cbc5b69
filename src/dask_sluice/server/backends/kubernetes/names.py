"""Names, labels and annotations of the objects of a cluster. Pure.

Labels are an interface: network policies, dashboards and cost reports of sites that run dask-gateway go by them, so
its keys are kept, and the user's label has the form that kubespawner gives it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from ...identity.names import escaped
from ..protocol import Job, JobKind
from .settings import KubernetesSettings
from .syntax import LONGEST, is_label_value, is_name

NAME_LABEL = "app.kubernetes.io/name"
COMPONENT_LABEL = "app.kubernetes.io/component"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
INSTANCE_LABEL = "gateway.dask.org/instance"
CLUSTER_LABEL = "gateway.dask.org/cluster"
JOB_LABEL = "dask-sluice/job"
WARM_LABEL = "dask-sluice/warm"
"""On pods that wait for somebody who needs a scheduler, and on those that did: `warm/pods.py`."""
SHAPE_LABEL = "dask-sluice/shape"
WARM_PREFIX = "dask-warm-"
MANAGED_BY = "dask-sluice"
COMPONENTS = {JobKind.SCHEDULER: "dask-scheduler", JobKind.WORKER: "dask-worker"}
"""Also what our container is called in its pod."""
OUR_PREFIXES = ("app.kubernetes.io/", "gateway.dask.org/", "dask-sluice/")
"""Keys of labels and annotations that only we set: objects are found by them."""


def object_name(job_id: str) -> str:
    """The name of a job's pod and of its Secret: a DNS label, another one for every job."""
    return fitted(f"dask-{job_id}")


def fitted(name: str) -> str:
    """`name` where it is a DNS label, else one made from it and its digest, so that no two names become one."""
    if is_name(name):
        return name
    kept = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[: LONGEST - 18].strip("-")
    return f"{kept or 'x'}--{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def slug(name: str) -> str:
    """A user's name as a label: as it is where that can be, else what is left of it and a digest.

    source  kubespawner 7, so that the pods of one person bear one label whoever made them
    """
    if "--" not in name and name and is_label_value(name):
        return name
    kept = re.sub(r"[^a-z0-9]+", "-", name.lower()).lstrip("-")[:21].rstrip("-") or "x"
    kept = kept if kept[0].isalpha() else f"x-{kept[:19]}"
    return f"{kept}---{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def agent_config_map(fingerprint: str) -> str:
    """The name of the ConfigMap that holds the agent of this content."""
    return f"sluice-agent-{fingerprint}"


def namespace_of(job: Job, settings: KubernetesSettings, own: str) -> str:
    """The namespace of a job's objects. `own`: that of the server.

    What policy says goes before the settings; whether it may, `overlay.problems` has told.
    """
    said = job.overlay.get("namespace")
    if said:
        return str(said)
    return fitted(settings.namespace.replace("{user.escaped}", escaped(job.owner))) if settings.namespace else own


def selector(settings: KubernetesSettings) -> str:
    """The label selector of all our objects."""
    return _joined(_ours(settings))


def labels_of_cluster(cluster: str, settings: KubernetesSettings) -> dict[str, str]:
    """The labels that all pods of a cluster have, and no others."""
    return {**_ours(settings), CLUSTER_LABEL: cluster}


def _ours(settings: KubernetesSettings) -> dict[str, str]:
    return {NAME_LABEL: settings.app_name, INSTANCE_LABEL: settings.instance, MANAGED_BY_LABEL: MANAGED_BY}


def _joined(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())


def agent_labels(settings: KubernetesSettings) -> dict[str, str]:
    """The labels of the ConfigMaps with the agent."""
    return {
        NAME_LABEL: settings.app_name,
        COMPONENT_LABEL: "agent",
        MANAGED_BY_LABEL: MANAGED_BY,
        INSTANCE_LABEL: settings.instance,
    }


def agent_selector(settings: KubernetesSettings) -> str:
    """The label selector of the ConfigMaps with the agent, of this release and of others."""
    return _joined(agent_labels(settings))


def labels_of(job: Job, settings: KubernetesSettings) -> dict[str, str]:
    """The labels of every object of a job: whose it is, and where it belongs."""
    name = escaped(job.owner) if settings.user_label_form == "escaped" else slug(job.owner)
    user = {settings.user_label: name} if settings.user_label else {}
    return {
        **user,
        **labels_of_cluster(job.cluster, settings),
        COMPONENT_LABEL: COMPONENTS[job.kind],
        JOB_LABEL: job.id,
    }


def annotations_of(job: Job, settings: KubernetesSettings) -> Mapping[str, str]:
    """The owner's name as it is, which a label may not have."""
    return {settings.user_label: job.owner} if settings.user_label else {}
