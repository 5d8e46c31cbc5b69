"""Settings as a site's file has them, and what a user gets by them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

from dask_sluice.server.clock import SystemClock
from dask_sluice.server.model import Caller
from dask_sluice.server.policy import Policy, Resolved
from dask_sluice.server.policy.hooks import Hooks
from dask_sluice.server.settings_file import loads
from dask_sluice.server.settings_schema import Settings

FILE = Path("/etc/sluice/sluice.yaml")
ADA = Caller("ada", groups=("ice", "sea"))
GRACE = Caller("grace")


def site(text: str) -> Settings:
    """Settings, on the fake backend, which takes whatever a backend may take."""
    return loads("backend: {kind: fake}\n" + dedent(text), FILE)


def resolved(text: str | Settings, given: dict[str, Any] | None = None, caller: Caller = ADA) -> Resolved:
    """What the caller gets, where no hook has a say."""
    policy = Policy.of(site(text) if isinstance(text, str) else text, None)
    offered = policy.offer(caller)
    return policy.settle(caller, f"{caller.name}-1", offered, offered.choose(given or {}))


async def resolved_by_hook(text: str, given: dict[str, Any] | None = None, caller: Caller = ADA) -> Resolved:
    """The same with hooks."""
    settings = site(text)
    hooks = Hooks(settings.policy, SystemClock())
    hooks.load()
    return await hooks.resolve(Policy.of(settings, None), caller, f"{caller.name}-1", given or {})


def sources(result: Resolved) -> dict[str, str]:
    return {value.key: value.source for value in result.plan.values}
