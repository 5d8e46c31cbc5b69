"""What a sample user would get by a configuration, profile by profile, without a server: for `check-config`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...wire.api import PlanView
from ...wire.errors import SluiceError
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
from .resolve import Policy, Resolved
from .sizes import per_node


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
    if settings.backend.kind not in BUILT_IN_BACKENDS:
        refuse_unsupported(settings, make_backend(settings.backend, directories(settings.data_dir)))
    policy = Policy.of(settings, this_machine() if settings.backend.kind == "local" else None)
    hooks = Hooks(settings.policy, SystemClock())
    hooks.load()

    async def outcome(options: Mapping[str, Any]) -> Outcome:
        try:
            return _outcome(settings, await hooks.resolve(policy, caller, f"{caller.name}-12345678", options))
        except SluiceError as error:
            return Outcome(refused=error.message)

    open_to = policy.offer(caller).profiles
    profiles = {
        name: await outcome({**given, PROFILE: name}) if name in open_to else Outcome(refused="closed to this user")
        for name in settings.profiles
    }
    return Sample(caller.name, caller.groups, await outcome(given), profiles)


def _outcome(settings: Settings, resolved: Resolved) -> Outcome:
    worker: Size = resolved.spec.worker
    return Outcome(resolved.plan, fits={name: per_node(worker, node) for name, node in settings.policy.nodes.items()})
