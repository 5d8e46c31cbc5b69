"""What policy says of pods, `backend:` in defaults, profiles, options and rules: its shape, and what is wrong with it.

    namespace: dask-heavy        # where the cluster's objects go
    pods: {...}                  # the keys of `backend.kubernetes.pods`, for schedulers and workers
    scheduler: {...}             # the same for one of them, over `pods`
    worker: {...}

Layers lie over one another as everywhere in policy (`merging.py`); `pods` of a layer lies under its `scheduler` and
`worker`, and over all that lower layers say. The settings of the backend are the lowest layer. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from ...merging import Path
from ...settings_policy import is_template
from . import reserved
from .schema import Checker, Place, Problem, Schema, kubernetes, merge_keys, same, unknown
from .settings import KubernetesSettings, PodSettings
from .syntax import is_label_key, is_label_value, is_name

NAMESPACE = "namespace"
BOTH = "pods"
ROLES = ("scheduler", "worker")


def list_key(path: Path) -> str:
    """By which key the items of a list are told apart; empty: they are not. Kubernetes' own rule, for our keys too."""
    return merge_keys().get(_camel(path[-1]), "") if path else ""


def spread(overlay: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The overlay as layers that say everything by role, lower ones first."""
    if both := overlay.get(BOTH):
        yield dict.fromkeys(ROLES, both)
    if rest := {key: value for key, value in overlay.items() if key != BOTH}:
        yield rest


def problems(overlay: Mapping[str, Any], settings: KubernetesSettings, *, filled: bool = False) -> Iterator[Problem]:
    """What is wrong with what policy says, by place.

    filled  its templates have been filled in
    """
    for key, value in overlay.items():
        if key == NAMESPACE:
            yield from _of_namespace(value, settings, filled)
        elif key in (BOTH, *ROLES):
            found = list(_of_role(key, value, settings, filled))
            yield from found
            if filled and value and not found:
                yield from _of_mounts(key, value)
        else:
            yield (key,), _elsewhere((key,), unknown(key, (NAMESPACE, BOTH, *ROLES)))


def problems_of_settings(settings: KubernetesSettings) -> Iterator[Problem]:
    """What is wrong with the backend's own settings, beyond what their types tell, by place."""
    given = settings.model_dump(mode="json", exclude_unset=True)
    for role in (BOTH, *ROLES):
        if role in given:
            yield from _of_role(role, given.pop(role), settings, filled=False)
    yield from Checker(_definitions(), filled=True).problems(given, _schema())
    yield from _of_labels("gpu", given.get("gpu", {}), filled=True)


def sentences(overlay: Mapping[str, Any], settings: KubernetesSettings) -> Sequence[str]:
    """The problems of an overlay, each with its key: what `ChecksOverlays` asks for."""
    return [f"{'.'.join(map(str, place))}: {what}" for place, what in problems(overlay, settings)]


def _of_role(role: str, value: Any, settings: KubernetesSettings, filled: bool) -> Iterator[Problem]:
    if value is None or (not filled and is_template(value)):
        return
    if not isinstance(value, Mapping):
        yield (role,), f"must be keys with values; got {value!r}"
        return
    found = Checker(_definitions(), filled).problems(value, _definitions()["PodSettings"], (role,))
    yield from ((place, _elsewhere(place, what)) for place, what in found)
    yield from _of_labels(role, value, filled)
    yield from reserved.problems(role, value, settings.user_label)


def _of_namespace(value: Any, settings: KubernetesSettings, filled: bool) -> Iterator[Problem]:
    if value is None or (not filled and is_template(value)):
        return
    if not isinstance(value, str) or not is_name(value):
        yield (NAMESPACE,), f"must be a namespace: a-z, 0-9 and - only, at most 63 of them; got {value!r}"
    elif value != settings.namespace and not any(fnmatchcase(value, each) for each in settings.other_namespaces):
        allowed = ", ".join(settings.other_namespaces) or "none"
        yield (NAMESPACE,), f"{value!r} is not among backend.kubernetes.other_namespaces ({allowed})"


def _of_labels(role: str, given: Mapping[str, Any], filled: bool) -> Iterator[Problem]:
    """Keys and values that Kubernetes would refuse only when a user's pod is made."""
    for kind in ("labels", "annotations", "node_selector"):
        for key, value in _items(given.get(kind)):
            if not is_label_key(str(key)):
                yield (role, kind, str(key)), "cannot be a key: it must look like 'team' or 'example.org/team'"
            final = filled or not is_template(value)
            if kind != "annotations" and isinstance(value, str) and final and not is_label_value(value):
                yield (
                    (role, kind, str(key)),
                    f"must be letters, digits and - _ . only, at most 63 of them; got {value!r}",
                )


def _of_mounts(role: str, given: Mapping[str, Any]) -> Iterator[Problem]:
    """Mounts of volumes that are not there, once all layers are together."""
    pod, container = given.get("pod") or {}, given.get("container") or {}
    volumes = [each.get("name") for each in _things(given.get("volumes"), pod.get("volumes"))]
    for mount in _things(given.get("volume_mounts"), container.get("volumeMounts")):
        if mount.get("name") not in volumes:
            named = ", ".join(map(str, volumes)) or "none"
            what = f"mounts a volume {mount.get('name')!r} that the pod does not have; it has: {named}"
            yield (role, "volume_mounts"), what


def _things(*lists: Sequence[Mapping[str, Any] | None] | None) -> Iterator[Mapping[str, Any]]:
    yield from (each for things in lists for each in things or () if each is not None)


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        yield from value.items()


def _elsewhere(place: Place, what: str) -> str:
    """The sentence for what is wrong at a place; one for a key that is known elsewhere says where."""
    key = str(place[-1])
    if not what.startswith("unknown key"):
        return what
    here = kubernetes()["PodSpec" if place[1:2] == ("pod",) else "Container"]["properties"]
    if (len(place) == 3 and same(key, here)) or (len(place) == 2 and same(key, PodSettings.model_fields)):
        return what
    if ours := same(key, PodSettings.model_fields):
        return f"unknown key {key!r}. It belongs under 'pods', 'scheduler' or 'worker', written {ours!r}."
    homes = [f"'{home}'" for home in _homes(key)]
    return f"unknown key {key!r}. It belongs under {' or '.join(homes)}." if homes else what


def _homes(key: str) -> Iterator[str]:
    """The parts of an overlay, as Kubernetes writes them, that know this key."""
    kinds = {"pod": ("PodSpec", "PodSecurityContext"), "container": ("Container", "SecurityContext")}
    for part, (kind, security) in kinds.items():
        if key in kubernetes()[kind]["properties"]:
            yield part
        if key in kubernetes()[security]["properties"]:
            yield f"{part}.securityContext"


@cache
def _schema() -> Schema:
    return KubernetesSettings.model_json_schema()


def _definitions() -> Mapping[str, Schema]:
    found: Mapping[str, Schema] = _schema()["$defs"]
    return found


def _camel(key: str) -> str:
    return re.sub(r"_(\w)", lambda found: found[1].upper(), key)
