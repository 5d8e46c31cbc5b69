"""What policy says of pods, `backend:` in defaults, profiles, options and rules.

    namespace: dask-heavy        # where the cluster's objects go
    pods: {...}                  # the keys of `backend.kubernetes.pods`, for schedulers and workers
    scheduler: {...}             # the same for one of them, over `pods`
    worker: {...}

Layers lie over one another as everywhere in policy (`merging.py`); `pods` of a layer lies under its `scheduler` and
`worker`, and over all that lower layers say. The settings of the backend are the lowest layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...merging import Path

BOTH = "pods"
ROLES = ("scheduler", "worker")
_LIST_KEYS = {
    "containers": "name",
    "init_containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "env": "name",
    "resourceClaims": "name",
    "schedulingGates": "name",
    "imagePullSecrets": "name",
    "volume_mounts": "mountPath",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
}
"""The key by which Kubernetes itself tells the items of a list apart (`x-kubernetes-patch-merge-key`)."""


def list_key(path: Path) -> str:
    """By which key the items of a list are told apart; empty: they are not."""
    return _LIST_KEYS.get(path[-1], "") if path else ""


def spread(overlay: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The overlay as layers that say everything by role, lower ones first."""
    both = overlay.get(BOTH)
    if both:
        yield dict.fromkeys(ROLES, both)
    rest = {key: value for key, value in overlay.items() if key != BOTH}
    if rest:
        yield rest


def problems(overlay: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """What is wrong with an overlay, by place."""
    yield from ()
