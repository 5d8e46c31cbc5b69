"""On which nodes a pod may run: taints of three clouds and of Dask's own nodes, and spot nodes. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..protocol import Job, JobKind
from .settings import KubernetesSettings, PodSettings

_SPOT_LABELS = {
    "cloud.google.com/gke-spot": "true",
    "cloud.google.com/gke-preemptible": "true",
    "kubernetes.azure.com/scalesetpriority": "spot",
    "eks.amazonaws.com/capacityType": "SPOT",
    "karpenter.sh/capacity-type": "spot",
}
"""Labels by which clouds mark their spot nodes: GKE (and its older preemptible ones), AKS, EKS, Karpenter."""
_SPOT_TAINTS = {
    "gke_spot": ("cloud.google.com/gke-spot", "cloud.google.com/gke-preemptible"),
    "aks_spot": ("kubernetes.azure.com/scalesetpriority",),
    "eks_spot": ("eks.amazonaws.com/capacityType", "karpenter.sh/capacity-type"),
}


def tolerations(job: Job, role: PodSettings, settings: KubernetesSettings) -> list[dict[str, Any]]:
    """All tolerations of the pod, each once."""
    presets: list[str] = [*role.tolerate]
    if job.kind is JobKind.WORKER and role.spot != "never":
        presets += [preset for preset in _SPOT_TAINTS if preset not in presets]
    found: list[dict[str, Any]] = []
    for preset in presets:
        found += (each for each in _preset(preset, job.kind) if each not in found)
    if job.size.gpus:
        found += (dict(each) for each in settings.gpu.tolerations if each not in found)
    return [*found, *(dict(each) for each in role.tolerations if each not in found)]


def _preset(preset: str, kind: JobKind) -> Iterator[dict[str, Any]]:
    if preset in ("dedicated", "hub_user"):
        prefix, value = ("k8s.dask.org", kind.value) if preset == "dedicated" else ("hub.jupyter.org", "user")
        for between in "/_":  # some clouds forbid a slash in the key of a taint
            yield _equal(f"{prefix}{between}dedicated", value)
    for key in _SPOT_TAINTS.get(preset, ()):
        yield _equal(key, _SPOT_LABELS[key])


def _equal(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"}


def affinity(job: Job, role: PodSettings) -> dict[str, Any]:
    """The pod's affinity, with what keeps schedulers off spot nodes."""
    spot = "never" if job.kind is JobKind.SCHEDULER else role.spot
    if spot == "allow":
        return dict(role.affinity)
    node = dict(role.affinity.get("nodeAffinity", {}))
    if spot == "prefer":
        key = "preferredDuringSchedulingIgnoredDuringExecution"
        wished = [{"weight": 100, "preference": {"matchExpressions": [each]}} for each in _expressions("In")]
        node[key] = [*node.get(key, []), *wished]
    else:
        key = "requiredDuringSchedulingIgnoredDuringExecution"
        terms = node.get(key, {}).get("nodeSelectorTerms", []) or [{}]
        # Terms are alternatives: what holds for all of them has to stand in each.
        added = [list(_expressions("NotIn"))] if spot == "never" else [[each] for each in _expressions("In")]
        node[key] = {
            "nodeSelectorTerms": [
                {**term, "matchExpressions": [*term.get("matchExpressions", []), *more]}
                for term in terms
                for more in added
            ]
        }
    return {**role.affinity, "nodeAffinity": node}


def _expressions(operator: str) -> Iterator[dict[str, Any]]:
    for key, value in _SPOT_LABELS.items():
        yield {"key": key, "operator": operator, "values": [value]}
