"""What a sample user would get by a configuration, profile by profile, without a server: for `check-config`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ...wire.api import LeaseRequest, PlanView
from ...wire.errors import SluiceError
from ..backends import registry as backends
from ..backends.kubernetes.preview import pods_of
from ..backends.protocol import Size
from ..clock import SystemClock
from ..directories import directories
from ..identity import registry as authenticators
from ..machine import this_machine
from ..model import Caller
from ..settings_schema import BUILT_IN_BACKENDS, Settings
from ..startup import CannotStart
from ..warm_jobs import warm_jobs
from .checks import Place, Problem, refuse_unsupported
from .hooks import Hooks, imported
from .options import PROFILE
from .permissions import cluster_name
from .resolve import Policy, Resolved
from .sizes import per_node

SUFFIX = "12345678"
"""Of the name of a cluster that is not there."""


@dataclass(frozen=True)
class Outcome:
    """What a choice comes to: a plan, or why it is refused, and the key in the file (`place`) that led to that, if one
    did. `fits`: workers on one node of each kind.
    """

    plan: PlanView | None = None
    refused: str = ""
    place: Place = ()
    fits: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Sample:
    """What one user would get. `profiles` has every profile, those that are closed to the user too."""

    user: str
    groups: tuple[str, ...]
    outcome: Outcome
    profiles: Mapping[str, Outcome]


FROM_A_NOTEBOOK = LeaseRequest(presence=True)
"""What our client asks for unless it is told otherwise: that the cluster ends some time after its notebook."""


def leads_nowhere(settings: Settings) -> Iterator[Problem]:
    """Backends, authenticators and hooks that cannot be imported; schedulers that are to wait, and cannot."""
    rules = settings.policy
    policy = Policy.of(settings, None)
    for place, look in (
        (("backend", "kind"), partial(backends.find, settings.backend.kind)),
        (("authenticator", "kind"), partial(authenticators.find, settings.authenticator.kind)),
        (("policy", "hook"), partial(imported, "policy.hook", rules.hook)),
        (("policy", "options_hook"), partial(imported, "policy.options_hook", rules.options_hook)),
        (("backend", "kubernetes", "warm_schedulers"), partial(warm_jobs, settings, policy)),
    ):
        try:
            look()
        except CannotStart as error:
            yield place, str(error)


def caller_of(settings: Settings, name: str, groups: tuple[str, ...]) -> Caller:
    """The user as the server would see them who is in these groups by the authenticator's word."""
    listed = (group for group, members in settings.authenticator.groups.items() if name in members)
    return Caller(name, name in settings.authenticator.admins, tuple(dict.fromkeys((*listed, *groups))))


async def sample(settings: Settings, caller: Caller, given: Mapping[str, Any]) -> Sample:
    """What the caller gets for these options, and by every profile.

    raises  CannotStart where a hook cannot be imported or the backend cannot do what is asked for
    """
    policy, hooks = _deciders(settings)
    cluster = cluster_name(caller.name, SUFFIX)

    async def outcome(options: Mapping[str, Any]) -> Outcome:
        try:
            resolved = await hooks.resolve(policy, caller, cluster, options, FROM_A_NOTEBOOK)
        except SluiceError as error:
            return Outcome(refused=error.message, place=_to_blame(error.details))
        return _outcome(settings, resolved)

    open_to = policy.offer(caller).profiles
    profiles = {
        name: await outcome({**given, PROFILE: name}) if name in open_to else Outcome(refused="closed to this user")
        for name in settings.profiles
    }
    return Sample(caller.name, caller.groups, await outcome(given), profiles)


async def sample_pods(settings: Settings, caller: Caller, given: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The pods that the caller gets for these options, where clusters are pods; of workers the first.

    raises  CannotStart as `sample` does; SluiceError, Refused where the caller gets nothing
    """
    policy, hooks = _deciders(settings)
    resolved = await hooks.resolve(policy, caller, cluster_name(caller.name, SUFFIX), given, FROM_A_NOTEBOOK)
    return pods_of(resolved.spec, settings.backend.kubernetes)


def _deciders(settings: Settings) -> tuple[Policy, Hooks]:
    if settings.backend.kind not in BUILT_IN_BACKENDS:
        refuse_unsupported(settings, backends.make_backend(settings.backend, directories(settings.data_dir)))
    hooks = Hooks(settings.policy, SystemClock())
    hooks.load()
    return Policy.of(settings, this_machine() if settings.backend.kind == "local" else None), hooks


def _outcome(settings: Settings, resolved: Resolved) -> Outcome:
    worker: Size = resolved.spec.worker
    return Outcome(resolved.plan, fits={name: per_node(worker, node) for name, node in settings.policy.nodes.items()})


def _to_blame(details: Mapping[str, Any]) -> Place:
    """Of a refusal, the key in the file that led to it; () where it was the user's own choice."""
    source = str(details.get("source") or details.get("limit") or details.get("hook") or "")
    field = tuple(str(details.get("field", "")).split("."))
    kind, _, name = source.removesuffix(" (default)").partition(" ")
    if kind in ("profile", "option"):
        return (f"{kind}s", name, *field)
    return ("policy", "hook") if source == "hook" else (*source.split("."), *field) if source else ()
