"""Which schedulers are to wait: the settings' wishes as jobs that are nobody's, by the same policy as everybody's."""

from __future__ import annotations

from typing import cast

from ..wire.errors import SluiceError
from ..wire.launch import SchedulerLaunch
from .backends.kubernetes.settings import WarmSchedulers
from .backends.protocol import Job, JobKind
from .model import Caller, ClusterSpec
from .policy import Policy
from .policy.options import PROFILE
from .settings_schema import Settings
from .startup import CannotStart

NOBODY = "dask-sluice-nobody"
"""Stands where a template has the user's name: what depends on it fits nobody else."""


def warm_jobs(settings: Settings, policy: Policy) -> list[tuple[Job, int]]:
    """Of each wish the job, and how many are to wait for it.

    raises  CannotStart where a wish names what does not exist, or what cannot wait
    """
    kubernetes = settings.backend.kubernetes
    if settings.backend.kind != "kubernetes" or not kubernetes.warm_schedulers:
        return []
    from .backends.kubernetes.warm.pods import cannot_wait

    found = []
    for index, wish in enumerate(kubernetes.warm_schedulers):
        where = f"backend.kubernetes.warm_schedulers[{index}]"
        try:
            job = _job(_spec(policy, wish))
        except SluiceError as error:
            raise CannotStart(f"{where}: {error.message}", hint=error.hint) from error
        if why := cannot_wait(job, kubernetes):
            raise CannotStart(f"{where}: {why}")
        found.append((job, wish.count))
    return found


def _spec(policy: Policy, wish: WarmSchedulers) -> ClusterSpec:
    profile = policy.profiles.get(wish.profile)
    caller = Caller(NOBODY, groups=tuple((profile.groups or ()) if profile else ()))
    chosen = {PROFILE: wish.profile} if wish.profile else {}
    return policy.resolve(caller, NOBODY, {**chosen, **wish.options})


def _job(spec: ClusterSpec) -> Job:
    return Job(
        id="warm",
        kind=JobKind.SCHEDULER,
        cluster="",
        owner=spec.owner,
        size=spec.scheduler,
        environment=spec.environment,
        launch=cast("SchedulerLaunch", {}),  # it has none yet: that is what it waits for
        image=spec.scheduler_image or spec.image,
        overlay=spec.backend,
    )
