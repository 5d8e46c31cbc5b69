"""From what a user asks for to what the cluster gets: the administrator's settings as one decision.

Pure. Hooks are asked beforehand (`hooks.py`); what they said comes in as arguments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import SecretStr

from ...wire.api import LeaseRequest, PlanValue, PlanView, SizeView
from ...wire.errors import OptionInvalid, RequestInvalid
from ...wire.options import MASK, Option
from ..backends.overlays import OverlayRules, overlay_rules
from ..backends.protocol import Size
from ..budgets import Budgets
from ..leases import terms
from ..ledger import charged_group
from ..limits import LimitBook
from ..memory import parse_memory, shown
from ..merging import Layer, Merged, Path, leaves, merge
from ..model import DEFAULT_GROUP, Caller, ClusterSpec, Prices, WorkerGroup
from ..settings_leases import Leases
from ..settings_limits import Limits
from ..settings_policy import OptionSettings, PolicySettings, Profile, Setup
from ..settings_schema import Settings, Timeouts
from . import templates
from .images import wrong_with_image
from .layers import PROCESSES, layers, scope_of
from .options import Chosen, Machine, Offer, effective, offer
from .sizes import invalid, number, size_of, text
from .templates import Scope, TemplateError
from .variables import is_name, left_out

AS_SET = LeaseRequest()
"""A lease in which the administrator's settings decide everything."""
LEAST_FOR_A_SCHEDULER = 512 * 2**20
"""Sites that gave 128 MB, dask-gateway's default, all raised it (deployments.md, d.13)."""
MANY_CORES = 64
"""What a backend of more than one machine is taken to have, where nothing else bounds a cluster."""


@dataclass(frozen=True)
class Resolved:
    """What a cluster gets. `secret_variables` are no part of the spec, which is kept and shown."""

    spec: ClusterSpec
    secret_variables: Mapping[str, str]
    plan: PlanView


class Policy:
    """The administrator's settings as decisions. `machine` None: the backend has more than one."""

    def __init__(
        self,
        options: Mapping[str, OptionSettings] | None = None,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        machine: Machine | None = None,
        leases: Leases | None = None,
        *,
        profiles: Mapping[str, Profile] | None = None,
        rules: PolicySettings | None = None,
        prices: Prices | None = None,
        overlay: OverlayRules | None = None,
        budgets: Budgets | None = None,
    ) -> None:
        self.rules = rules or PolicySettings()
        self._profiles = profiles or {}
        self._settings = effective(options or {}, self._profiles)
        self._machine = machine
        cores = machine.cores if machine else MANY_CORES
        self.limits = LimitBook(limits)
        self._many_workers = max(16, 4 * cores)
        self._timeouts = timeouts or Timeouts()
        self._leases = leases or Leases()
        self._prices = prices or Prices()
        self._overlay = overlay or OverlayRules()
        self._budgets = budgets

    @classmethod
    def of(cls, settings: Settings, machine: Machine | None) -> Policy:
        """The policy that the settings come to."""
        return cls(
            settings.options,
            settings.limits,
            settings.timeouts,
            machine,
            settings.leases,
            profiles=settings.profiles,
            rules=settings.policy,
            prices=Prices(**settings.usage.prices.model_dump()),
            overlay=overlay_rules(settings.backend),
            budgets=Budgets(settings.usage),
        )

    @property
    def settings(self) -> Mapping[str, OptionSettings]:
        """Every option's settings, the built-in ones included."""
        return self._settings

    @property
    def profiles(self) -> Mapping[str, Profile]:
        """Every profile, by name."""
        return self._profiles

    def offer(self, caller: Caller, computed: Mapping[str, OptionSettings] | None = None) -> Offer:
        """What this caller may choose; `computed` are the options hook's changes for them."""
        settings = effective(computed, self._profiles, self._settings) if computed else self._settings
        return offer(caller, settings, self._profiles, self.rules, self._machine)

    def options(self, caller: Caller) -> Sequence[Option]:
        """The same as the wire describes it."""
        return self.offer(caller).options

    def resolve(self, caller: Caller, name: str, given: Mapping[str, Any], lease: LeaseRequest = AS_SET) -> ClusterSpec:
        """What the caller gets for these options, where no hook has a say.

        raises  OptionInvalid, naming the option
        """
        offered = self.offer(caller)
        return self.settle(caller, name, offered, offered.choose(given), lease).spec

    def settle(
        self,
        caller: Caller,
        name: str,
        offered: Offer,
        chosen: Chosen,
        lease: LeaseRequest = AS_SET,
        hook: Setup | None = None,
    ) -> Resolved:
        """What the caller gets, and why.

        hook    what the site's hook wants on top of all else
        raises  RequestInvalid, OptionInvalid where an option is to blame; ValueError where the hook is
        """
        granted = terms(self._leases, lease)
        asked = {key: value for key in ("idle_s", "age_s") if (value := getattr(lease, key)) is not None}
        asking = Layer("the lease asked for", asked)
        said = [
            *self._built_in(),
            *self._site(scope_of(caller, name, offered, chosen)),
            *layers(caller, name, offered, chosen, self.rules, hook, asking),
        ]
        merged = merge([plain for layer in said for plain in self._spread(layer)], self._list_key)
        scheduler, worker = size_of(merged, "scheduler"), size_of(merged, "worker")
        most, most_by, notes = self._most_workers(caller, scheduler, worker, merged)
        notes += _too_little(scheduler, merged.source("scheduler", "memory"))
        variables, unnameable = _variables(merged)
        notes += [left_out(unnameable).sentence] if unnameable else []
        spec = ClusterSpec(
            name=name,
            owner=caller.name,
            options=chosen.shown,
            environment=_environment(merged),
            scheduler=scheduler,
            worker_groups=(WorkerGroup(DEFAULT_GROUP, worker),),
            max_workers=most,
            max_workers_by=most_by,
            start_timeout_s=number(merged, "scheduler_start_s", above=0),
            worker_start_timeout_s=number(merged, "worker_start_s", above=0),
            lease=replace(granted, idle_s=number(merged, "idle_s", least=0), age_s=number(merged, "age_s", least=0)),
            groups=caller.groups,
            notebook=caller.notebook,
            profile=chosen.profile,
            prices=self._prices,
            image=self._image(merged, "image"),
            scheduler_image=self._image(merged, "scheduler_image"),
            variables={key: value for key, value in variables.items() if isinstance(value, str)},
            backend=self._checked_overlay(merged),
            left_out=unnameable,
        )
        secret = {k: v.get_secret_value() for k, v in variables.items() if isinstance(v, SecretStr)}
        return Resolved(spec, secret, replace(_plan(spec, secret, merged, notes), limits=tuple(self._told(spec))))

    def _told(self, spec: ClusterSpec) -> Iterator[str]:
        """Limits and budgets that the cluster is under."""
        yield from self.limits.told(spec.owner, spec.groups, self._many_workers)
        for budget in self._budgets.of(spec.owner, charged_group(spec)) if self._budgets else ():
            yield f"budget of {budget.scope}: {budget.amount:g} {budget.unit} each {budget.period} ({budget.set_by})"

    def _built_in(self) -> Sequence[Layer]:
        times = self._timeouts
        return (
            Layer("built in", {"scheduler": {"cores": 1.0, "memory": 0, "threads": 1}}),
            Layer("timeouts", {"scheduler_start_s": times.scheduler_start_s, "worker_start_s": times.worker_start_s}),
            Layer("leases.idle", {"idle_s": self._leases.idle.default}),
            Layer("leases.age", {"age_s": self._leases.age.default}),
        )

    def _site(self, scope: Scope) -> Iterator[Layer]:
        """What the backend's own settings say."""
        try:
            if self._overlay.site:
                yield Layer(self._overlay.section, {"backend": templates.fill(self._overlay.site, scope)})
        except TemplateError as error:
            source = self._overlay.section
            raise RequestInvalid(f"{source}: {error}", details={"source": source}) from error

    def _spread(self, layer: Layer) -> Iterator[Layer]:
        """The layer as several that are plain, since what it says to its backend may be meant for several places."""
        overlay = layer.values.get("backend")
        if not isinstance(overlay, Mapping):
            yield layer
            return
        yield Layer(layer.source, {key: value for key, value in layer.values.items() if key != "backend"})
        for part in self._overlay.spread(overlay):
            yield Layer(layer.source, {"backend": part})

    def _list_key(self, path: Path) -> str:
        return self._overlay.list_key(path[1:]) if path[0] == "backend" else ""

    def _most_workers(
        self, caller: Caller, scheduler: Size, worker: Size, merged: Merged
    ) -> tuple[int, str, list[str]]:
        """Workers that the cluster may ever have, by which limit, and what to say about that."""
        most, by = self.limits.most_workers(caller.name, caller.groups, scheduler, worker, self._many_workers)
        if merged.get("max_workers") is None:
            return most, by, []
        asked = int(number(merged, "max_workers", least=1, whole=True))
        if asked > most:
            return most, by, [f"max_workers is {most}, not {asked}: the limit is {by}"]
        return asked, f"{asked} workers ({merged.source('max_workers')})", []

    def _checked_overlay(self, merged: Merged) -> Mapping[str, Any]:
        overlay = merged.get("backend") or {}
        for path, value in leaves(overlay):
            if isinstance(value, SecretStr):
                raise invalid(merged, ("backend", *path), "holds a secret, which can go into variables only")
        found = self._overlay.problems(overlay, filled=True)
        wrong = [(("backend", *map(str, place)), what) for place, what in found]
        if wrong:
            told = "; ".join(f"{'.'.join(path)}: {what} (from {merged.source(*path)})" for path, what in wrong)
            details = {"field": ".".join(wrong[0][0]), "source": merged.source(*wrong[0][0])}
            raise RequestInvalid(told, details=details)
        return dict(overlay)

    def _image(self, merged: Merged, key: str) -> str:
        image = text(merged, key) or (self._overlay.image if key == "image" else "")
        if key == "image" and not image and self._overlay.runs_images:
            told = f"no image is set: choose one, or have an administrator set {self._overlay.section}.image"
            raise RequestInvalid(told, details={"field": key, "source": merged.source(key)})
        if image and (wrong := wrong_with_image(image, self.rules.images)):
            raise _blame(merged, key, wrong)
        return image


def _too_little(scheduler: Size, source: str) -> Iterator[str]:
    if 0 < scheduler.memory_bytes < LEAST_FOR_A_SCHEDULER:
        yield (
            f"the scheduler may use {shown(scheduler.memory_bytes)} ({source}) and takes about 100 MiB before there is "
            "any work: many workers or tasks end it, out of memory; 1 GiB or more is usual"
        )


def _variables(merged: Merged) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The variables, and the names of those that no process can have."""
    given = dict(merged.get("variables") or {})
    unnameable = tuple(sorted(name for name in given if not is_name(name)))
    return {name: value for name, value in given.items() if is_name(name)}, unnameable


def _environment(merged: Merged) -> str:
    path = text(merged, "environment")
    if path and (not path.startswith("/") or "\0" in path or "/../" in f"{path}/"):
        raise _blame(merged, "environment", f"must be a plain absolute path, got {path!r}")
    return path


def _blame(merged: Merged, key: str, what: str) -> RequestInvalid:
    """The error for a value: the option's where an option brought it, so that a form can show it there."""
    source = merged.source(key)
    name = source.removeprefix("option ").removesuffix(" (default)")
    return OptionInvalid(name, f"{name} {what}") if source.startswith("option ") else invalid(merged, (key,), what)


def _plan(spec: ClusterSpec, secret: Mapping[str, str], merged: Merged, notes: Sequence[str]) -> PlanView:
    values = [
        PlanValue(".".join(path), _told(path, value), merged.source(*path))
        for path, value in leaves(merged.values)
        if path[-1] != "threads" and path != ("max_workers",) and value != {}
        if path[0] != "variables" or path[-1] not in spec.left_out
    ]
    values.append(PlanValue("max_workers", spec.max_workers, spec.max_workers_by))
    if spec.lease.absent_s:
        values.append(PlanValue("absent_s", spec.lease.absent_s, "leases.absent"))
    for process, size in (("worker", spec.worker), ("scheduler", spec.scheduler)):
        asked = merged.get(process, "threads")
        source = merged.source(process, "threads") if asked else f"one for each whole core of {process}.cores"
        values.append(PlanValue(f"{process}.threads", size.threads, source))
    return PlanView(
        user=spec.owner,
        groups=spec.groups,
        profile=spec.profile,
        options=spec.options,
        worker=_size_view(spec.worker),
        scheduler=_size_view(spec.scheduler),
        image=spec.image,
        scheduler_image=spec.scheduler_image or spec.image,
        environment=spec.environment,
        variables={**spec.variables, **dict.fromkeys(secret, MASK)},
        max_workers=spec.max_workers,
        scheduler_start_s=spec.start_timeout_s,
        worker_start_s=spec.worker_start_timeout_s,
        idle_s=spec.lease.idle_s,
        age_s=spec.lease.age_s,
        backend=spec.backend,
        values=tuple(sorted(values, key=lambda value: _order(value.key))),
        notes=tuple(notes),
    )


def _told(path: tuple[str, ...], value: Any) -> Any:
    if isinstance(value, SecretStr):
        return MASK
    if path[0] in PROCESSES and path[-1] in ("memory", "memory_request"):
        size = parse_memory(value)
        return shown(size) if size else "no limit"
    return value


def _order(key: str) -> tuple[int, str]:
    heads = ("worker", "scheduler", "image", "scheduler_image", "environment", "max_workers", "idle_s", "absent_s",
             "age_s", "scheduler_start_s", "worker_start_s", "variables")  # fmt: skip
    head = key.partition(".")[0]
    return (heads.index(head) if head in heads else len(heads), key)


def _size_view(size: Size) -> SizeView:
    return SizeView(
        cores=size.cores,
        memory_bytes=size.memory_bytes,
        threads=size.threads,
        gpus=size.gpus,
        cores_request=size.cores_request or size.cores,
        memory_request_bytes=size.memory_request_bytes or size.memory_bytes,
    )
