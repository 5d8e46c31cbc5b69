"""On which nodes a pod may run: taints of three clouds and of Dask's own nodes, and spot nodes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..protocol import JobKind
from .settings import GPUSettings, PodSettings, Spot

_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
SPOT_LABELS = {
    "cloud.google.com/gke-spot": "true",
    "cloud.google.com/gke-preemptible": "true",
    "kubernetes.azure.com/scalesetpriority": "spot",
    "eks.amazonaws.com/capacityType": "SPOT",
    "karpenter.sh/capacity-type": "spot",
}
"""Labels by which clouds mark their spot nodes: GKE (and its older preemptible ones), AKS, EKS, Karpenter."""
_DEDICATED = "dedicated"
_SPOT_TAINTS = {
    "gke_spot": ("cloud.google.com/gke-spot", "cloud.google.com/gke-preemptible"),
    "aks_spot": ("kubernetes.azure.com/scalesetpriority",),
    "eks_spot": ("eks.amazonaws.com/capacityType", "karpenter.sh/capacity-type"),
}


def tolerations(kind: JobKind, role: PodSettings, gpu: GPUSettings | None) -> list[dict[str, Any]]:
    """All tolerations of the pod, each once. `gpu`: what pods with GPUs get, None for others."""
    presets: list[str] = [_DEDICATED, *role.tolerate]
    if kind is JobKind.WORKER and role.spot != "never":
        presets += _SPOT_TAINTS
    wanted = [each for preset in presets for each in _preset(preset, kind)]
    found: list[dict[str, Any]] = []
    for each in (*wanted, *(gpu.tolerations if gpu else ()), *role.tolerations):
        if each not in found:
            found.append(dict(each))
    return found


def _preset(preset: str, kind: JobKind) -> Iterator[dict[str, Any]]:
    if preset in (_DEDICATED, "hub_user"):
        prefix, value = ("k8s.dask.org", kind.value) if preset == _DEDICATED else ("hub.jupyter.org", "user")
        for between in "/_":  # some clouds forbid a slash in the key of a taint
            yield _equal(f"{prefix}{between}dedicated", value)
    for key in _SPOT_TAINTS.get(preset, ()):
        yield _equal(key, SPOT_LABELS[key])


def _equal(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"}


def affinity(kind: JobKind, spot: Spot, given: Mapping[str, Any]) -> dict[str, Any]:
    """The affinity that was given, with what is wanted of spot nodes; schedulers are kept off them whatever it says."""
    spot = "never" if kind is JobKind.SCHEDULER else spot
    if spot == "allow":
        return dict(given)
    node = dict(given.get("nodeAffinity") or {})
    if spot == "prefer":
        wished = [{"weight": 100, "preference": {"matchExpressions": [each]}} for each in _expressions("In")]
        node[_PREFERRED] = [*node.get(_PREFERRED, ()), *wished]
    else:
        terms = node.get(_REQUIRED, {}).get("nodeSelectorTerms") or [{}]
        ways = [list(_expressions("NotIn"))] if spot == "never" else [[each] for each in _expressions("In")]
        # Terms are alternatives: what holds for all of them has to stand in each.
        node[_REQUIRED] = {"nodeSelectorTerms": [_narrowed(term, way) for term in terms for way in ways]}
    return {**given, "nodeAffinity": node}


def _narrowed(term: Mapping[str, Any], more: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {**term, "matchExpressions": [*term.get("matchExpressions", ()), *more]}


def _expressions(operator: str) -> Iterator[dict[str, Any]]:
    for key, value in SPOT_LABELS.items():
        yield {"key": key, "operator": operator, "values": [value]}
