"""Pods that wait: what makes one fit for a job, which are too many or too few, how one is claimed. Pure.

A waiting pod is the pod that the job would have been given anyway, but for whose it is: the digest of all the rest
is its shape, and only a job of the same shape can have it.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ...protocol import Job, JobKind
from .. import names
from ..api import Object
from ..objects import SCHEDULER_PORT
from ..pods import pod_manifest, role_settings
from ..settings import KubernetesSettings

WAITING, CLAIMED, SPOILT = "waiting", "claimed", "spoilt"
READY_WITHIN_S = 300.0
"""A waiting pod that is not ready by then is tried anew: somewhere else, perhaps."""
STARTUP_PROBE = {"tcpSocket": {"port": SCHEDULER_PORT}, "periodSeconds": 1, "failureThreshold": 600}
"""Ready is what has imported everything and listens. A startup probe asks no more once it has succeeded."""
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


@dataclass(frozen=True)
class Wish:
    """So many pods are to wait that fit this job; `job` is nobody's."""

    job: Job
    count: int


@dataclass(frozen=True)
class Pool:
    """A wish as it is in Kubernetes."""

    job: Job
    count: int
    namespace: str
    shape: str


def cannot_wait(job: Job, settings: KubernetesSettings) -> str:
    """Why no pod of this job can wait; empty: it can."""
    if settings.is_per_user and not job.overlay.get("namespace"):
        return "each user has a namespace of their own, and what waits would be in nobody's"
    role = role_settings(job)
    keys = {"startup_probe": role.startup_probe, "readiness_probe": role.readiness_probe}
    given = [key for key, probe in {**keys, "liveness_probe": role.liveness_probe}.items() if probe]
    given += [f"container.{key}" for key in _PROBES if key in role.container]
    return f"{given[0]} asks a scheduler, and one that waits is none yet: leave it out" if given else ""


def waiting_manifest(
    job: Job, settings: KubernetesSettings, *, namespace: str, agent: str, shape: str
) -> dict[str, Any]:
    """The pod that waits. `job.id` names it."""
    manifest = _anonymous(job, settings, namespace, agent)
    container = manifest["spec"]["containers"][0]
    container["startupProbe"] = STARTUP_PROBE
    manifest["metadata"]["labels"] |= {names.WARM_LABEL: WAITING, names.SHAPE_LABEL: shape}
    return manifest


def shape_of(job: Job, settings: KubernetesSettings, *, namespace: str, agent: str, key: bytes) -> str:
    """What a waiting pod and the job's own pod must have in common: all but whose it is.

    agent   name of the ConfigMap with the agent
    key     of the servers that may claim: pods of others are of another shape
    """
    manifest = _anonymous(replace(job, id="warm"), settings, namespace, agent)
    told = json.dumps([manifest, hashlib.sha256(key).hexdigest()], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _anonymous(job: Job, settings: KubernetesSettings, namespace: str, agent: str) -> dict[str, Any]:
    manifest = pod_manifest(job, settings, namespace=namespace, agent=agent)
    metadata = manifest["metadata"]
    for key in _owners(job, settings):
        metadata["labels"].pop(key, None)
        metadata["annotations"].pop(key, None)
    return manifest


def _owners(job: Job, settings: KubernetesSettings) -> set[str]:
    """Keys of the labels and annotations that say whose a pod is."""
    return {names.CLUSTER_LABEL, names.JOB_LABEL, *names.annotations_of(job, settings)}


def claim(job: Job, pod: Object, settings: KubernetesSettings) -> dict[str, Any]:
    """The merge patch that makes a waiting pod the job's; refused by Kubernetes if anything of the pod has changed."""
    about = pod["metadata"]
    return {
        "metadata": {
            "uid": about["uid"],
            "resourceVersion": about["resourceVersion"],
            "labels": {**names.labels_of(job, settings), names.WARM_LABEL: CLAIMED},
            "annotations": dict(names.annotations_of(job, settings)),
        }
    }


def spoil(job: Job, settings: KubernetesSettings) -> dict[str, Any]:
    """The merge patch that takes a claimed pod from its job: it is nobody's again, and for nobody."""
    keys = _owners(job, settings)
    labels: dict[str, str | None] = dict.fromkeys(keys | {names.SHAPE_LABEL})
    return {"metadata": {"labels": {**labels, names.WARM_LABEL: SPOILT}, "annotations": dict.fromkeys(keys)}}


def claimable(pods: Iterable[Object], namespace: str, shape: str) -> list[Object]:
    """Those that a job of this shape can have, the one that has waited longest first."""
    found = [pod for pod in pods if _state(pod) == WAITING and _shape(pod) == (namespace, shape) and is_ready(pod)]
    return sorted(found, key=_made)


def is_ready(pod: Object) -> bool:
    """Whether it listens, and is not about to go."""
    status = pod.get("status", {})
    containers = status.get("containerStatuses", ())
    ready = bool(containers) and all(each.get("ready") and "running" in each["state"] for each in containers)
    return ready and status.get("podIP") is not None and "deletionTimestamp" not in pod["metadata"]


@dataclass(frozen=True)
class Plan:
    """What is to be done so that as many wait as are wished."""

    delete: Sequence[Object]
    make: Mapping[int, int]
    """How many of each pool, by its place in the list."""
    failed: bool
    """Whether a pod ended before it was ready, or did not get so in time."""
    settled: bool
    """Whether all that are wished wait, ready."""


def plan(pods: Iterable[Object], pools: Sequence[Pool], now: float) -> Plan:
    """Delete what nobody wishes any more, has ended or did not get ready; make what is missing.

    now   seconds since the epoch
    """
    wished = {(pool.namespace, pool.shape): pool.count for pool in pools}
    delete: list[Object] = []
    there: Counter[tuple[str, str]] = Counter()
    failed = False
    ours = [pod for pod in pods if _state(pod) in (WAITING, SPOILT) and "deletionTimestamp" not in pod["metadata"]]
    # Those that are ready stay before those that are not yet.
    for pod in sorted(ours, key=lambda pod: (not is_ready(pod), _made(pod), pod["metadata"]["name"])):
        place = _shape(pod)
        late = not is_ready(pod) and now - _made(pod) > READY_WITHIN_S
        ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
        failed = failed or late or pod.get("status", {}).get("phase") == "Failed"
        if late or ended or _state(pod) == SPOILT or there[place] >= wished.get(place, 0):
            delete.append(pod)
        else:
            there[place] += 1
    counted = {index: pool.count - there[pool.namespace, pool.shape] for index, pool in enumerate(pools)}
    missing = {index: count for index, count in counted.items() if count > 0}
    return Plan(delete, missing, failed, settled=not missing and all(map(is_ready, ours)))


def _state(pod: Object) -> str:
    return str(pod["metadata"].get("labels", {}).get(names.WARM_LABEL, ""))


def _shape(pod: Object) -> tuple[str, str]:
    return str(pod["metadata"]["namespace"]), str(pod["metadata"]["labels"].get(names.SHAPE_LABEL, ""))


def _made(pod: Object) -> float:
    return datetime.fromisoformat(pod["metadata"]["creationTimestamp"]).timestamp()


def template(job: Job, number: str) -> Job:
    """The job of one waiting pod."""
    return replace(job, id=f"warm-{number}", kind=JobKind.SCHEDULER, cluster="", variables={})
