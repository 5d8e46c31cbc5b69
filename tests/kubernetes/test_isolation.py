"""Each cluster's network policy: made with its scheduler's pod by the one right that it takes, and gone with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dask_sluice.server.backends.kubernetes import names
from dask_sluice.server.backends.kubernetes.backend import KubernetesBackend
from dask_sluice.server.backends.kubernetes.settings import KubernetesSettings
from dask_sluice.server.backends.protocol import Unavailable
from dask_sluice.server.clock import SystemClock

from ..server.backends.conformance import remove_all, running, submit
from .harness import KubernetesHarness, player
from .kube import Kube, until


class Isolating(KubernetesHarness):
    def _new(self) -> KubernetesBackend:
        settings = KubernetesSettings(isolate_clusters=True)
        return KubernetesBackend(settings, self.store.kept_logs(SystemClock()), access=self.access, agent=player())


@asynccontextmanager
async def isolating(kube: Kube, namespace: str, directory: Path, *rights: str) -> AsyncIterator[Isolating]:
    harness = Isolating(kube, namespace, directory, kube.account(namespace, directory / "account", *rights))
    await harness.backend.start()
    try:
        yield harness
    finally:
        await harness.close()


async def test_a_policy_is_made_once_lets_a_clusters_pods_reach_one_another_and_goes_with_the_scheduler(
    kube: Kube, namespace: str, tmp_path: Path
) -> None:
    async with isolating(kube, namespace, tmp_path, "rights-isolation") as harness:
        job = harness.scheduler_job("c1")
        handles = [*await running(harness, job), *await running(harness, harness.worker_job("c1", 2))]
        await submit(harness.backend, job)  # as after a crash
        (policy,) = kube.items(namespace, "networkpolicies")
        (scheduler,) = kube.items(namespace, "pods", f"{names.COMPONENT_LABEL}=dask-scheduler")
        assert [each["uid"] for each in policy["metadata"]["ownerReferences"]] == [scheduler["metadata"]["uid"]]
        selector = ",".join(f"{key}={value}" for key, value in policy["spec"]["podSelector"]["matchLabels"].items())
        assert len(kube.items(namespace, "pods", selector)) == len(handles) == 2
        await remove_all(harness.backend, handles)
        until(lambda: not kube.items(namespace, "networkpolicies"), "the policy is gone")


async def test_without_that_right_it_is_told_what_the_role_lacks(kube: Kube, namespace: str, tmp_path: Path) -> None:
    async with isolating(kube, namespace, tmp_path) as harness:
        with pytest.raises(Unavailable, match=r'has not the rights .* cannot create resource "networkpolicies"'):
            await submit(harness.backend, harness.scheduler_job("c1"))
