"""What no overlay may say, because it is ours or is said elsewhere. Pure.

Our labels find a cluster's objects, our files start it, its size is what limits and prices go by: an overlay that
changed them would break the promise that somebody else was given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...settings_policy import is_template
from .names import OUR_PREFIXES
from .placement import SPOT_LABELS
from .schema import Place, Problem
from .syntax import FOLDER, is_folder

PREFIX = "sluice-"
VARIABLES = "SLUICE_"

_OF_POD = {
    "containers": "ours is described by 'container', further ones by 'containers' beside 'pod'",
    "ephemeralContainers": "Kubernetes takes none in a new pod",
    "restartPolicy": "is always Never: what has ended is looked at, and replaced by dask-sluice",
    "activeDeadlineSeconds": "would end clusters without a reason: set age_s",
    "hostNetwork": "cannot be: two pods on one node would want the same ports",
    "resources": "the size of a pod is set by 'worker' and 'scheduler' of a profile or an option",
}
_OF_CONTAINER = {
    "name": "is the name of the component",
    "image": "is set by 'image' of a profile or an option, where rules for images count",
    "terminationMessagePath": "carries the reasons that dask-sluice tells",
    "terminationMessagePolicy": "carries the reasons that dask-sluice tells",
    "ports": "are fixed, so that network policies can name them",
    "restartPolicy": "is always Never: what has ended is looked at, and replaced by dask-sluice",
}
_SIZES = ("cpu", "memory")
_NEVER_SPOT = "schedulers never run on spot nodes: what a cluster has computed ends with its scheduler"


def problems(role: str, given: Mapping[str, Any], user_label: str) -> Iterator[Problem]:
    """What the settings of a role say that they may not, by place."""
    if role == "scheduler" and given.get("spot") not in (None, "never"):
        yield (role, "spot"), _NEVER_SPOT
    if role != "worker":  # the pod would wait for a node for ever: it is kept off those that it asks for
        selector: Any = given.get("node_selector")
        for name in SPOT_LABELS.keys() & _keys(selector):
            if selector[name] == SPOT_LABELS[name]:
                yield (role, "node_selector", name), f"{_NEVER_SPOT}. For workers: 'spot: require' under 'worker'"
    for key in ("labels", "annotations"):
        for name in _keys(given.get(key)):
            if str(name).startswith(OUR_PREFIXES) or name == user_label:
                yield (role, key, str(name)), "is a key that dask-sluice sets itself"
    for index, folder in enumerate(_listed(given.get("writable"))):
        if isinstance(folder, str) and not is_template(folder) and not is_folder(folder):
            yield (role, "writable", index), f"must be an absolute path, neither / nor in {FOLDER}; got {folder!r}"
    for key, reasons in (("pod", _OF_POD), ("container", _OF_CONTAINER)):
        for name in _keys(given.get(key)):
            if name in reasons:
                yield (role, key, name), reasons[name]
    container = given.get("container")
    yield from _of_sizes((role, "container"), container)
    pod = given.get("pod")
    for place, things in _lists(role, given, pod, container):
        yield from _of_things(place, things)


def _lists(role: str, given: Mapping[str, Any], pod: Any, container: Any) -> Iterator[tuple[Place, Any]]:
    yield (role, "volumes"), given.get("volumes")
    yield (role, "volume_mounts"), given.get("volume_mounts")
    if isinstance(pod, Mapping):
        yield (role, "pod", "volumes"), pod.get("volumes")
    if isinstance(container, Mapping):
        yield (role, "container", "volumeMounts"), container.get("volumeMounts")
        yield (role, "container", "env"), container.get("env")


def _of_things(place: Place, things: Any) -> Iterator[Problem]:
    place = (*place, "append") if isinstance(things, Mapping) else place
    for index, thing in enumerate(_listed(things)):
        if not isinstance(thing, Mapping):
            continue
        name, path = str(thing.get("name", "")), str(thing.get("mountPath", ""))
        if "env" in place:
            if name.startswith(VARIABLES):
                yield (*place, index, "name"), f"{name} belongs to dask-sluice"
        elif f"{path}/".startswith(f"{FOLDER}/"):
            yield (*place, index, "mountPath"), f"{FOLDER} belongs to dask-sluice"
        elif "volumes" in place and name.startswith(PREFIX):
            yield (*place, index, "name"), f"names with {PREFIX} belong to dask-sluice"


def _of_sizes(place: Place, container: Any) -> Iterator[Problem]:
    resources = container.get("resources") if isinstance(container, Mapping) else None
    for key in ("requests", "limits"):
        for name in _keys(resources.get(key) if isinstance(resources, Mapping) else None):
            if name in _SIZES:
                said = f"{'cores' if name == 'cpu' else 'memory'}{'_request' if key == 'requests' else ''}"
                what = f"is set by {said!r} of a profile or an option, beside 'backend', where limits count"
                yield (*place, "resources", key, name), what


def _listed(value: Any) -> Sequence[Any]:
    """The items of a list, also of one that is to be appended."""
    items = value.get("append") if isinstance(value, Mapping) else value
    return items if isinstance(items, (list, tuple)) else ()


def _keys(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Mapping) else []
