"""Raw parts of pods, as dask-gateway's sites write them, as the keys of `backend.kubernetes.worker` and the like. Pure.

What has a key of its own gets it; what is there anyway is left out; the rest stays Kubernetes' own, under `pod` and
`container`, where its schema is checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .draft import Place
from .report import Kind
from .symbols import ByChoice, Template, opened

_POD: Mapping[str, Place] = {
    "nodeSelector": ("node_selector",),
    "affinity": ("affinity",),
    "serviceAccountName": ("service_account_name",),
    "serviceAccount": ("service_account_name",),
    "automountServiceAccountToken": ("automount_service_account_token",),
    "schedulerName": ("scheduler_name",),
    "priorityClassName": ("priority_class_name",),
    "volumes": ("volumes",),
    "containers": ("containers",),
    "initContainers": ("init_containers",),
    "terminationGracePeriodSeconds": ("stop_grace_s",),
}
_CONTAINER: Mapping[str, Place] = {
    "imagePullPolicy": ("image_pull_policy",),
    "volumeMounts": ("volume_mounts",),
    "envFrom": ("env_from",),
    "startupProbe": ("startup_probe",),
    "readinessProbe": ("readiness_probe",),
    "livenessProbe": ("liveness_probe",),
}
_SECURITY = {
    "runAsUser": "run_as_user",
    "runAsGroup": "run_as_group",
    "fsGroup": "fs_group",
    "readOnlyRootFilesystem": "read_only_root",
}
_APPENDED = ("tolerations", "env_from")
"""Lists without names: dask-gateway put what a handler gave behind what the values said."""
SPOT = (
    "cloud.google.com/gke-preemptible",
    "cloud.google.com/gke-spot",
    "kubernetes.azure.com/scalesetpriority",
    "eks.amazonaws.com/capacityType",
    "karpenter.sh/capacity-type",
)
_SNAKE = re.compile(r"[a-z]+(_[a-z]+)+")
Say = Callable[[Kind, str], None]
"""Takes `wrong`, `changes`, ... and a sentence."""


def typed(
    role: str, kind: str, raw: Mapping[str, Any], say: Say, *, appends: bool = False
) -> Iterator[tuple[Place, Any]]:
    """Keys and values for `raw`, the `pod` or `container` part of a role.

    appends  whether lists go behind those of lower layers, as those of a handler did
    """
    for key, value in raw.items():
        if value is None:
            continue
        name = _right_case(str(key), say)
        value = opened(value) if name in ("securityContext", "resources") else value
        if name.startswith("**"):
            yield (kind,), value
        elif name == "tolerations":
            left = _without_presets(role, value, say)
            if left:
                yield ("tolerations",), _appended(left, appends)
        elif name == "securityContext" and isinstance(value, Mapping):
            yield from _security(kind, value)
        elif name == "imagePullSecrets" and isinstance(value, list):
            yield ("image_pull_secrets",), [each.get("name") if isinstance(each, Mapping) else each for each in value]
        elif name == "resources" and isinstance(value, Mapping):
            yield from _resources(value)
        elif kind == "container" and name == "image":
            yield ("image",), value
        elif kind == "container" and name == "env" and (variables := _variables(value)):
            yield ("variables",), variables
        elif place := (_POD if kind == "pod" else _CONTAINER).get(name):
            yield place, _appended(value, appends and place[0] in _APPENDED)
        else:
            yield (kind, name), value


def place_in_setup(role: str, place: Place) -> Place:
    """Where a key of `typed` stands in what a cluster gets: what is not of Kubernetes alone has a place of its own."""
    match place[0]:
        case "gpus":
            return role, "gpus"
        case "variables":
            return ("variables",)
        case "image":
            return ("scheduler_image" if role == "scheduler" else "image",)
    return ("backend", role, *place)


def _right_case(key: str, say: Say) -> str:
    if not _SNAKE.fullmatch(key):
        return key
    name = re.sub(r"_(\w)", lambda match: match[1].upper(), key)
    say(
        "wrong",
        f"Kubernetes has no {key}, and dropped it without a word. {name} is carried over, and has an effect from now "
        "on: see whether it is still wanted",
    )
    return name


def _appended(value: Any, append: bool) -> Any:
    if isinstance(value, ByChoice):
        return ByChoice(value.option, {choice: _appended(inner, append) for choice, inner in value.values.items()})
    return {"append": value} if append and isinstance(value, list) else value


def _security(kind: str, value: Mapping[str, Any]) -> Iterator[tuple[Place, Any]]:
    for key, inner in value.items():
        if key in _SECURITY:
            yield (_SECURITY[key],), inner
        else:
            yield (kind, "securityContext", key), inner


def _resources(value: Mapping[str, Any]) -> Iterator[tuple[Place, Any]]:
    """A GPU is a number here, not a limit among others."""
    limits = value.get("limits", {})
    for part, amounts in value.items():
        for name, amount in amounts.items() if isinstance(amounts, Mapping) else ():
            if name == "nvidia.com/gpu":
                yield ("gpus",), _whole(limits.get(name, amount))
            else:
                yield ("container", "resources", part, name), amount


def _whole(value: Any) -> Any:
    if isinstance(value, ByChoice):
        return ByChoice(value.option, {choice: _whole(inner) for choice, inner in value.values.items()})
    return int(value) if isinstance(value, str) and value.isdigit() else value


def _variables(value: Any) -> dict[str, Any]:
    """A list of names and values as a mapping; nothing where one of them comes from elsewhere in Kubernetes."""
    if not isinstance(value, list) or not all(
        isinstance(each, Mapping) and set(each) == {"name", "value"} and isinstance(each["name"], str) for each in value
    ):
        return {}
    return {each["name"]: each["value"] for each in value}


def _without_presets(role: str, value: Any, say: Say) -> Any:
    """Tolerations without those that our pods have anyway: Dask's own nodes, and for workers spot nodes."""
    if isinstance(value, ByChoice):
        return ByChoice(
            value.option, {choice: _without_presets(role, inner, say) for choice, inner in value.values.items()}
        )
    if not isinstance(value, list):
        return value
    left = []
    for each in value:
        key = each.get("key", "") if isinstance(each, Mapping) else ""
        if (
            isinstance(key, str)
            and key in ("k8s.dask.org/dedicated", "k8s.dask.org_dedicated")
            and each.get("value") == role
        ):
            continue
        if isinstance(key, str) and key in SPOT:
            if role == "scheduler":
                say(
                    "changes",
                    f"schedulers tolerated {key}, nodes that may be taken away at any moment, and their clusters with "
                    "them. Here they never run there, and the toleration is left out",
                )
            continue
        if key == "nvidia.com/gpu" and each.get("operator") == "Exists":
            continue
        left.append(each)
    return left


def is_environment(value: Any) -> Any:
    """The environment of a command such as `[/opt/envs/x/bin/dask-worker, ...]`, a path; None where it has none."""
    first = value[0] if isinstance(value, list) and value else value
    text = first.text if isinstance(first, Template) else first
    if isinstance(text, str) and (
        found := re.fullmatch(r"(.+)/bin/(dask|dask-worker|dask-scheduler|dask-cuda-worker|python3?)", text)
    ):
        whole = found[1]
        return (
            Template(whole, alone=whole.startswith("{") and whole.endswith("}") and whole.count("{") == 1)
            if "{" in whole
            else whole
        )
    return None
