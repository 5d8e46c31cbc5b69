"""Rules of the move that take more than one key: sizes, images, login, and what nobody had set.

`write` goes over what the configuration says, before the handler; `finish` looks at the whole afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING, Any

from ...server.memory import parse_memory, shown
from . import chart, login, pods
from .symbols import Opaque, is_plain, literally

if TYPE_CHECKING:
    from .draft import Draft, Place
    from .gateway import Migration, Old

ROLES = ("scheduler", "worker")
PODS = "backend.kubernetes"
_OLD_MEMORY = "2 GiB"
"""The old server's default for scheduler and worker."""


def limit_keys(role: str, what: str) -> tuple[str, ...]:
    """Old keys of a role's limit; Python goes before values."""
    return f"KubeClusterConfig.{role}_{what}_limit", f"gateway.backend.{role}.{what}.limit"


def request_keys(role: str, what: str) -> tuple[str, ...]:
    """Old keys of what is set aside."""
    return f"ClusterConfig.{role}_{what}", f"gateway.backend.{role}.{what}.request"


def write(migration: Migration) -> None:
    """Everything that the table leaves to a rule."""
    for role in ROLES:
        for what in ("cores", "memory"):
            _size(migration, role, what)
        _pods(migration, role)
    _image(migration)
    _idle(migration)
    login.write(migration)
    threads = migration.take("ClusterConfig.worker_threads", "gateway.backend.worker.threads")
    if threads and threads.value is not None:
        migration.carry(threads, "policy.defaults.worker.threads")
    for new, *keys in (
        (
            "backend.kubernetes.pods.image_pull_secrets",
            "KubeClusterConfig.image_pull_secrets",
            "gateway.backend.imagePullSecrets",
        ),
        ("backend.kubernetes.pods.labels", "KubeBackend.common_labels", "KubeController.common_labels"),
        ("backend.kubernetes.pods.annotations", "KubeBackend.common_annotations", "KubeController.common_annotations"),
    ):
        if (old := migration.take(*keys)) and old.value:
            migration.carry(old, new, _names if new.endswith("mage_pull_secrets") else None)


def _names(value: Any) -> list[str]:
    """`[{name: x}]` and `[x]` are both in use."""
    names: list[Any] = [each.get("name") if isinstance(each, Mapping) else each for each in value]
    if not all(isinstance(each, str) for each in names):
        raise ValueError(f"must be a list of names of Secrets, got {value!r}")
    return names


def _size(migration: Migration, role: str, what: str) -> None:
    limit, request = migration.take(*limit_keys(role, what)), migration.take(*request_keys(role, what))
    limit, request = (each if each and each.value is not None else None for each in (limit, request))
    most, least = limit or request, request if limit else None
    if most is None:
        if what == "memory" and role == "scheduler":
            migration.settings.set("policy.defaults.scheduler.memory", _OLD_MEMORY, "dask-gateway's default")
        return
    convert = _memory if what == "memory" else _cores
    migration.carry(most, f"policy.defaults.{role}.{what}", convert)
    if least is not None and least.value != most.value:
        migration.carry(least, f"policy.defaults.{role}.{what}_request", convert)
    if what == "memory":
        _about_memory(migration, role, most)


def _cores(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
        raise ValueError(f"must be a number of cores above 0, got {value!r}")
    return value


def _memory(value: Any) -> Any:
    parse_memory(value)
    return value


def _about_memory(migration: Migration, role: str, old: Old) -> None:
    if isinstance(old.value, Opaque):
        return
    if isinstance(old.value, str) and re.search(r"[KMGT]i?B$", old.value.strip(), re.IGNORECASE):
        migration.report.add(
            "wrong",
            f"{old.value!r} is refused by dask-gateway, which takes 8G and '8 G'. Here GB is 10^9 and GiB 2^30 bytes",
            old.key,
            old.where,
        )
    try:
        size = parse_memory(old.value)
    except ValueError:
        return
    if role == "scheduler" and size < 2 * 2**30:
        migration.report.add(
            "decide",
            f"{shown(size)} is little for a scheduler: at several deployments large clusters died of it with odd "
            "errors, until it had 2 to 4 GiB",
            old.key,
            old.where,
        )


def _pods(migration: Migration, role: str) -> None:
    """Raw parts of a role's pods, and its labels and annotations."""
    for kind in ("pod", "container"):
        old = migration.take(
            f"KubeClusterConfig.{role}_extra_{kind}_config", f"gateway.backend.{role}.extra{kind.capitalize()}Config"
        )
        if old is None or not old.value:
            continue
        if not is_plain(old.value) or not isinstance(old.value, Mapping):
            migration.carry(old, f"{PODS}.{role}.{kind}")
            continue
        _of_kind(migration, role, kind, old)
    for kind in ("labels", "annotations"):
        if (old := migration.take(f"KubeClusterConfig.{role}_extra_pod_{kind}")) and old.value:
            migration.carry(old, f"{PODS}.{role}.{kind}")


def _of_kind(migration: Migration, role: str, kind: str, old: Old) -> None:
    for place, value in pods.typed(role, kind, old.value, migration.report.about(old.key, old.where)):
        inner = pods.place_in_setup(role, place)
        path = (*PODS.split("."), *inner[1:]) if inner[0] == "backend" else ("policy", "defaults", *inner)
        migration.settings.set(path, literally(value) if path[0] == "policy" else value, str(old.where))
        migration.report.add("maps", f"-> {'.'.join(path)}", old.key, old.where)
        if inner[0] == "variables":
            migration.report.add(
                "changes", f"variables of the {role}'s container are for scheduler and workers here", old.key, old.where
            )


def _with(old: Old, value: Any) -> Old:
    return type(old)(old.key, old.row, value, old.where)


def _image(migration: Migration) -> None:
    old = migration.take("KubeClusterConfig.image", "gateway.backend.image")
    if old is None or not old.value:
        migration.report.add(
            "decide",
            "no image is set for those who choose none: the old chart then took its own image, which is for the old"
            " server's release. Set backend.kubernetes.image, or leave it out where everybody chooses",
            "gateway.backend.image",
        )
        return
    if not isinstance(old.value, Mapping):
        migration.carry(old, "policy.defaults.image")
        return
    name, tag, pull = (old.value.get(key) for key in ("name", "tag", "pullPolicy"))
    if name and tag:
        joined = f"{name}@{tag}" if str(tag).startswith("sha256:") else f"{name}:{tag}"
        migration.carry(_with(old, joined), "policy.defaults.image")
    elif name:
        migration.report.add(
            "decide",
            f"the image {name} has no tag of its own, and the old chart's tag fits only the old image",
            old.key,
            old.where,
        )
    if pull:
        migration.carry(_with(old, pull), "backend.kubernetes.pods.image_pull_policy")


def _idle(migration: Migration) -> None:
    old = migration.take("ClusterConfig.idle_timeout")
    if old is None:
        return
    migration.carry(old, "leases.idle.default")
    if old.value == 0:
        migration.settings.set("leases.absent.default", 0, "as before: never")
        migration.report.add(
            "decide",
            "0 keeps forgotten clusters for ever; leave it out and they end after half an hour without work",
            f"c.{old.key}",
            old.where,
        )


def finish(migration: Migration) -> None:
    """What only the whole shows."""
    settings, report = migration.settings, migration.report
    _sizes(migration)
    if settings.get("leases.idle.default") is None and "'idle_s'" not in str(settings.data):
        report.add(
            "changes",
            "clusters without work were never stopped; here they are after half an hour (leases.idle.default; 0: "
            "never), and after a quarter of an hour without the notebook that made them (leases.absent.default)",
            "c.ClusterConfig.idle_timeout",
        )
    report.add(
        "changes",
        "users may set environment variables and Dask's configuration of their clusters (policy.variables says which; "
        "enabled: false takes the option away)",
        "options.variables, options.dask_config",
    )
    if settings.get("limits.user") is None:
        report.add(
            "decide",
            "nothing bounds what one user may take: dask-gateway could not (one user's adapt() made 8,766 pods). "
            "limits.user has clusters, workers, cores, memory and gpus, limits.site the same for all together",
            "limits",
        )
    if settings.get("authenticator.kind") != "jupyterhub":
        report.add(
            "decide",
            "dask-gateway read who is an administrator and never used it; here they see and stop everybody's clusters",
            "authenticator.admins",
        )
    if settings.get("backend.kind") == "kubernetes":
        _on_kubernetes(migration)


def _sizes(migration: Migration) -> None:
    """Sizes, where they count; requests that are no less than the limit are not said; threads, and tables by hand."""
    _said_anew(migration)
    workers = _workers(migration.settings.data)
    for _, worker in workers:
        for what in ("cores", "memory"):
            if worker.get(f"{what}_request", "") == worker.get(what):
                worker.pop(f"{what}_request", None)
    _threads(migration, workers)
    by_hand = [
        place
        for place, worker in workers
        if isinstance(worker.get("cores_request"), (int, float)) and (".when." in place or place.startswith("profiles"))
    ]
    if len(by_hand) > 1:
        migration.report.add(
            "maps",
            "sizes that were reckoned by hand so that they fit on a node: policy.nodes with 'node' and 'share' "
            "reckons them, to the thousandth of a core",
            ", ".join(by_hand),
        )


def _said_anew(migration: Migration) -> None:
    """What an option says for every cluster, the values say in vain; what it leaves out, limit or request, it gets."""
    settings = migration.settings
    for name, option in settings.data.get("options", {}).items():
        for role, what in product(ROLES, ("cores", "memory")):
            anew, pair = option.get("sets", {}).get(role, {}), (what, f"{what}_request")
            default: Place = ("policy", "defaults", role)
            said = [key for key in pair if key in anew]
            for key in pair if said else ():
                value = settings.get((*default, key))
                if value is not None and key not in said:
                    settings.move((*default, key), ("options", name, "sets", role, key))
                elif value is not None:
                    settings.remove((*default, key))
                    if value != _OLD_MEMORY:
                        told = f"{value}, which never counted: the option {name} says it for every cluster"
                        migration.report.add("dropped", told, f"{role}.{key}")


def _threads(migration: Migration, workers: list[tuple[str, dict[str, Any]]]) -> None:
    """The old server counted whole cores of the request, ours of the limit."""
    for place, worker in workers:
        cores, request = worker.get("cores"), worker.get("cores_request")
        if "threads" in worker or not request:
            continue
        if isinstance(cores, (int, float)) and isinstance(request, (int, float)):
            old, new = max(int(request), 1), max(int(cores), 1)
            if old != new:
                migration.report.add(
                    "changes",
                    f"{new} threads for each worker instead of {old}: whole cores of what it may use, not of what is "
                    f"set aside. As before: threads: {old}",
                    f"{place}.cores",
                )
        else:
            migration.report.add(
                "changes",
                "threads follow what a worker may use, where the old server took whole cores of the request. As "
                "before: "
                f'threads: "{{max(floor({str(request).strip("{}")}), 1)}}"',
                f"{place}.cores",
            )


def _workers(data: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Every place where a worker's size stands."""
    found = []
    for name, option in data.get("options", {}).items():
        found.append((f"options.{name}.sets.worker", option.get("sets", {}).get("worker", {})))
        found += [
            (f"options.{name}.when.{c}.worker", setup.get("worker", {})) for c, setup in option.get("when", {}).items()
        ]
    found += [(f"profiles.{name}.worker", setup.get("worker", {})) for name, setup in data.get("profiles", {}).items()]
    for name in ("defaults", "everyone"):
        found.append((f"policy.{name}.worker", data.get("policy", {}).get(name, {}).get("worker", {})))
    return [(place, worker) for place, worker in found if worker]


def _on_kubernetes(migration: Migration) -> None:
    settings, report = migration.settings, migration.report
    _shared(settings, ("backend", "kubernetes"))
    _shared(settings, ("policy", "everyone", "backend"))
    _security(migration)
    unset = [
        f"timeouts.{key}" for key in ("scheduler_start_s", "worker_start_s") if settings.get(f"timeouts.{key}") is None
    ]
    for key in unset:
        settings.set(key, 600, "nodes and images may take minutes")
    if unset:
        report.add(
            "changes",
            "the old controller waited for ever for pods that could not start. Here they are given up after ten "
            "minutes, which nodes that are ordered and large images need, with the reason",
            ", ".join(unset),
        )
    if migration.charted:
        chart.finish(migration)
        report.add(
            "dropped",
            "after the move, delete the old custom resources: kubectl delete crd daskclusters.gateway.dask.org, and "
            "Traefik's where nothing else uses them",
            "custom resources",
        )
    images = [option for option in settings.get("options", {}).values() if "image" in option.get("sets", {})]
    if images and settings.get("backend.kubernetes.pods.image_pull_secrets") is None:
        report.add(
            "decide",
            "users choose images; where those of their notebooks come from a private registry, workers need its "
            "secret too: backend.kubernetes.pods.image_pull_secrets",
            "image",
        )


def _shared(settings: Draft, above: Place) -> None:
    """What schedulers and workers both get is said once."""
    scheduler, worker = (dict(settings.get((*above, role), {})) for role in ROLES)
    for key in [key for key in scheduler if worker.get(key) == scheduler[key]]:
        settings.move((*above, "worker", key), (*above, "pods", key))
        settings.remove((*above, "scheduler", key))


def _security(migration: Migration) -> None:
    """Pods are restricted by default, which images may not be ready for."""
    report = migration.report
    given = {role: migration.settings.get((*PODS.split("."), role), {}) for role in ("pods", *ROLES)}
    if not all("run_as_user" in {**given["pods"], **given[role]} for role in ROLES):
        report.add(
            "changes",
            "pods ran as the user that the image says, and run as user 1000 where nothing else is said: "
            "pods.run_as_user: none is as before",
            "backend.kubernetes.pods.run_as_user",
        )
    if not any("read_only_root" in each for each in given.values()):
        report.add(
            "changes",
            "processes cannot write into their image but for /tmp: pods.writable names more folders, "
            "pods.read_only_root: false is as before",
            "backend.kubernetes.pods.read_only_root",
        )
    if not migration.tolerated_spot:
        report.add(
            "changes",
            "workers may run on spot nodes, whose taints they tolerate: worker.spot: never",
            "backend.kubernetes.worker.spot",
        )
