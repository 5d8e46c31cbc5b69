"""What a sample user would get by a configuration, profile by profile, without a server: for `check-config`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...wire.api import PlanView
from ...wire.errors import SluiceError
from ..backends.kubernetes.preview import pods_of
from ..backends.protocol import Size
from ..backends.registry import make_backend
from ..clock import SystemClock
from ..directories import directories
from ..machine import this_machine
from ..model import Caller
from ..settings_schema import BUILT_IN_BACKENDS, Settings
from .checks import refuse_unsupported
from .hooks import Hooks
from .options import PROFILE
from .permissions import cluster_name
from .resolve import Policy, Resolved
from .sizes import per_node

SUFFIX = "12345678"
"""Of the name of a cluster that is not there."""


@dataclass(frozen=True)
class Outcome:
    """What a choice comes to: a plan, or why it is refused. `fits`: workers on one node of each kind."""

    plan: PlanView | None = None
    refused: str = ""
    fits: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Sample:
    """What one user would get. `profiles` has every profile, those that are closed to the user too."""

    user: str
    groups: tuple[str, ...]
    outcome: Outcome
    profiles: Mapping[str, Outcome]


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
            return _outcome(settings, await hooks.resolve(policy, caller, cluster, options))
        except SluiceError as error:
            return Outcome(refused=error.message)

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
    resolved = await hooks.resolve(policy, caller, cluster_name(caller.name, SUFFIX), given)
    return pods_of(resolved.spec, settings.backend.kubernetes)


def _deciders(settings: Settings) -> tuple[Policy, Hooks]:
    if settings.backend.kind not in BUILT_IN_BACKENDS:
        refuse_unsupported(settings, make_backend(settings.backend, directories(settings.data_dir)))
    hooks = Hooks(settings.policy, SystemClock())
    hooks.load()
    return Policy.of(settings, this_machine() if settings.backend.kind == "local" else None), hooks


def _outcome(settings: Settings, resolved: Resolved) -> Outcome:
    worker: Size = resolved.spec.worker
    return Outcome(resolved.plan, fits={name: per_node(worker, node) for name, node in settings.policy.nodes.items()})
