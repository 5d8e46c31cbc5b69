"""`KubeCluster` as dask-kubernetes calls it, for notebooks that come from there.

What a server does for everybody alike, or what only an administrator may say, is no keyword here: it is refused with
what takes its place, never ignored. The table is also that of `dask-sluice migrate dask-kubernetes` and of
docs/coming-from-dask-kubernetes.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from ..wire.api import ClusterView
from ..wire.options import Option, OptionType
from .cluster import GatewayCluster

_UNITS = {
    "": 1.0,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2.0**10,
    "Mi": 2.0**20,
    "Gi": 2.0**30,
    "Ti": 2.0**40,
}
_QUANTITY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
IMAGES = ("image", "worker_image")
VARIABLES = ("environment_variables", "environment", "variables", "environment_vars", "env", "env_items")
"""What sites call their options for these, the most common first."""
DEFAULT_GROUP = "default"
_ONE_GROUP = (
    "the workers of a cluster here are all of one kind, the group 'default'. Take two clusters, each with a profile of "
    "its own, or a profile that fits both"
)
PLAIN_COMMANDS = (["dask-worker"], ["dask", "worker"])


@dataclass(frozen=True)
class Keyword:
    """One keyword of dask-kubernetes: what to write here (empty: nothing), and whether our `KubeCluster` takes it."""

    ours: str
    what: str
    works: bool = False


KEYWORDS: Mapping[str, Keyword] = {
    "image": Keyword(
        "image=...", "where the site lets users choose one; the default is usually that of the notebook", True
    ),
    "n_workers": Keyword("cluster.scale(n)", "or cluster.adapt(minimum=0, maximum=n)", True),
    "resources": Keyword(
        "worker_cores=..., worker_memory=...",
        "the limits, memory in GiB; what is set aside for a worker is up to the site (`cores_request`)",
        True,
    ),
    "env": Keyword("variables=...", "or whatever else the site calls its option for variables", True),
    "idle_timeout": Keyword("idle_timeout=...", "the same; within what the site allows", True),
    "shutdown_on_close": Keyword("shutdown_on_close=...", "the same", True),
    "quiet": Keyword("quiet=...", "the same", True),
    "asynchronous": Keyword("Gateway(..., asynchronous=True)", "the same", True),
    "loop": Keyword("Gateway(..., loop=...)", "the same", True),
    "resource_timeout": Keyword(
        "timeout=...", "seconds for the whole start; without it until the server gives up, with the reason", True
    ),
    "worker_command": Keyword(
        "worker_threads=...",
        "workers are started for you, `--nthreads` is the option worker_threads; another program than dask-worker is "
        "not run. What it does, a preload can do: dask_config={'distributed.worker.preload': [...]}",
    ),
    "name": Keyword(
        "", "the server names clusters; Gateway().connect(NAME) finds one again, from another notebook too"
    ),
    "namespace": Keyword("", "the site decides where clusters run: backend.kubernetes.namespace"),
    "create_mode": Keyword("gateway.connect(NAME)", "new_cluster always makes a new one"),
    "custom_cluster_spec": Keyword(
        "profile=...",
        "pods are made by the site; what yours need goes into a profile: dask-sluice migrate dask-kubernetes FILE",
    ),
    "pod_template": Keyword(
        "profile=...",
        "pods are made by the site; what yours need goes into a profile: dask-sluice migrate dask-kubernetes FILE",
    ),
    "scheduler_pod_template": Keyword("profile=...", "as pod_template"),
    "scheduler_service_type": Keyword(
        "", "clients reach schedulers through the gateway's one address; there are no services"
    ),
    "scheduler_service_wait_timeout": Keyword(
        "timeout=...", "there are no services to wait for, only the start as a whole"
    ),
    "scheduler_service_name_resolution_retries": Keyword("", "there are no services"),
    "port_forward_cluster_ip": Keyword(
        "", "nothing is forwarded: clients reach everything through the gateway's address"
    ),
    "scheduler_forward_port": Keyword("", "nothing is forwarded: cluster.dashboard_link works as it is"),
    "jupyter": Keyword("", "the notebook you are in; there is none beside the scheduler"),
    "deploy_mode": Keyword(
        "", "the scheduler always runs on the site, and outlives your notebook if you like: shutdown_on_close=False"
    ),
    "host": Keyword("", "the scheduler runs on the site"),
    "port": Keyword("", "the scheduler runs on the site"),
    "interface": Keyword("", "the scheduler runs on the site"),
    "protocol": Keyword("", "traffic is always encrypted"),
    "security": Keyword("", "traffic is always encrypted, with keys of the cluster's own"),
    "dashboard_address": Keyword("", "cluster.dashboard_link"),
    "apply_default_affinity": Keyword("", "where pods run is up to the site: backend.kubernetes.worker.affinity"),
    "scheduler_options": Keyword(
        "", "Dask's configuration of the scheduler is the option dask_config: {'distributed.scheduler...': ...}"
    ),
}


def quantity(value: Any) -> float:
    """A quantity of Kubernetes: `500m` is 0.5, `6G` 6 x 10^9, `6Gi` 6 x 2^30.

    raises  ValueError
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    found = _QUANTITY.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"must be a quantity of Kubernetes such as '500m' or '6Gi', got {value!r}")
    return float(found[1]) * _UNITS[found[2] or ""]


def size_of(resources: Mapping[str, Any]) -> dict[str, float]:
    """`{"worker_cores": 2.0, "worker_memory": 6.0}` (GiB) of `{"requests": {...}, "limits": {...}}`.

    raises  ValueError where a limit is other than the request, which only a site can allow
    """
    if set(resources) - {"requests", "limits"}:
        raise ValueError(f"resources has 'requests' and 'limits', got {', '.join(map(repr, resources))}")
    limits, requests = (dict(resources.get(key) or {}) for key in ("limits", "requests"))
    found: dict[str, float] = {}
    for name, option, unit in (("cpu", "worker_cores", 1.0), ("memory", "worker_memory", 2.0**30)):
        most, least = limits.pop(name, None), requests.pop(name, None)
        if most is not None and least is not None and quantity(most) != quantity(least):
            raise ValueError(
                f"resources: a request for {name} of {least} below the limit of {most}: give the limit only. What is "
                "set aside for a worker is up to the site, in a profile's cores_request and memory_request"
            )
        if most is not None or least is not None:
            found[option] = quantity(most if most is not None else least) / unit
    if rest := {**requests, **limits}:
        raise ValueError(
            f"resources: {', '.join(rest)} cannot be asked for here; a profile of the site may have it (`gpus`)"
        )
    return found


def variables_of(env: Any) -> dict[str, str]:
    """A mapping, or Kubernetes' list of names and values, as a mapping.

    raises  ValueError where a value comes from elsewhere in Kubernetes
    """
    if isinstance(env, Mapping):
        return {str(name): str(value) for name, value in env.items()}
    found = {}
    for each in env or ():
        if not isinstance(each, Mapping) or "name" not in each or not {*each} <= {"name", "value"}:
            raise ValueError(
                f"env: {each!r} takes its value from Kubernetes, which only the site can: env_from of a profile"
            )
        found[str(each["name"])] = str(each.get("value", ""))
    return found


def chosen(offered: Sequence[Option], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the site's own options for `image`, `variables` and sizes.

    raises  ValueError where the site lets nobody choose that
    """
    by_name = {option.name: option for option in offered}
    result = {}
    for what, value in wanted.items():
        names = {"image": IMAGES, "variables": VARIABLES}.get(what, (what,))
        mapping = what == "variables"
        name = next(
            (each for each in names if each in by_name and (by_name[each].type is OptionType.MAPPING) == mapping), None
        )
        if name is None:
            raise ValueError(
                f"nobody chooses {what.replace('_', ' ')} here: this site's options are "
                f"{', '.join(by_name) or 'none'}. Its administrator can add one"
            )
        whole = by_name[name].type is OptionType.INT and isinstance(value, float) and value.is_integer()
        result[name] = int(value) if whole else value
    return result


class KubeCluster(GatewayCluster):
    """A new cluster, asked for in dask-kubernetes' words.

    image, env   where the site has options for them
    resources    `{"limits": {"cpu": "2", "memory": "6Gi"}}`
    n_workers    workers at the start; 3, as there
    address      of the gateway, auth and the rest as for `GatewayCluster`
    raises       TypeError for a keyword of dask-kubernetes that means nothing here, with what takes its place
    """

    def __init__(
        self,
        *,
        image: str | None = None,
        n_workers: int | None = 3,
        resources: Mapping[str, Any] | None = None,
        env: Any = None,
        worker_command: str | Sequence[str] | None = None,
        idle_timeout: float | str | None = None,
        shutdown_on_close: bool | None = None,
        resource_timeout: float | None = None,
        quiet: bool = False,
        asynchronous: bool = False,
        loop: Any = None,
        address: str | None = None,
        auth: Any = None,
        _name: str | None = None,
        **others: Any,
    ) -> None:
        for name in others:
            raise TypeError(refusal(name))
        command = (
            worker_command.split() if isinstance(worker_command, str) else list(worker_command or PLAIN_COMMANDS[0])
        )
        if command not in PLAIN_COMMANDS:
            raise TypeError(refusal("worker_command"))
        self._wanted: dict[str, Any] = {**size_of(resources or {})}
        if image is not None:
            self._wanted["image"] = image
        if env:
            self._wanted["variables"] = variables_of(env)
        self._workers = 0 if _name else n_workers or 0
        super().__init__(
            address,
            auth=auth,
            shutdown_on_close=_name is None if shutdown_on_close is None else shutdown_on_close,
            asynchronous=asynchronous,
            loop=loop,
            timeout=resource_timeout,
            quiet=quiet,
            idle_timeout=idle_timeout,
            _name=_name,
        )

    def scale(self, n: int, worker_group: str = DEFAULT_GROUP) -> Any:
        """Want `n` workers from now on; adaptive scaling ends."""
        if worker_group != DEFAULT_GROUP:
            raise ValueError(f"worker_group={worker_group!r}: {_ONE_GROUP}")
        return super().scale(n)

    def add_worker_group(self, name: str, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused, with what takes its place."""
        raise NotImplementedError(f"add_worker_group({name!r}): {_ONE_GROUP}")

    def delete_worker_group(self, name: str, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused, with what takes its place."""
        raise NotImplementedError(f"delete_worker_group({name!r}): {_ONE_GROUP}")

    async def _obtain(self) -> ClusterView:
        if self._from_name is None:
            options = await self._gateway.cluster_options()
            for name, value in chosen(options.specification, self._wanted).items():
                options[name] = {**options[name], **value} if isinstance(value, dict) else value
            self._wish = (options, {})
        return await super()._obtain()

    async def _start_once(self) -> None:
        await super()._start_once()
        if self._workers:
            await self._gateway.scale_cluster(self.name, self._workers)


def refusal(name: str) -> str:
    """Why a keyword is not taken, and what to write instead."""
    keyword = KEYWORDS.get(name)
    if keyword is None:
        works = ", ".join(each for each, keyword in KEYWORDS.items() if keyword.works)
        return f"KubeCluster has no keyword {name!r}; those that work here: {works}"
    instead = (
        f"Instead: {keyword.ours} of Gateway().new_cluster()"
        if keyword.ours.endswith("=...")
        else f"Instead: {keyword.ours}"
    )
    return f"KubeCluster(..., {name}=...): {keyword.what}. {instead if keyword.ours else 'Leave it out'}"
