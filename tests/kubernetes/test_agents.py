"""The ConfigMap with the agent is there while any server or pod needs it; those of earlier releases go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dask_sluice.server.backends.kubernetes import agents, names
from dask_sluice.server.backends.kubernetes.agents import Agents
from dask_sluice.server.backends.kubernetes.api import Api
from dask_sluice.server.backends.kubernetes.settings import KubernetesSettings
from dask_sluice.server.backends.kubernetes.sights import Sights

from ..server.backends.conformance import remove_all, running
from .harness import KubernetesHarness, job, player
from .kube import until

SETTINGS = KubernetesSettings()
OLD = names.agent_config_map(player()[1])


@asynccontextmanager
async def next_release(harness: KubernetesHarness, unused_s: float) -> AsyncIterator[Agents]:
    """What a server of another release does about agents, with the same rights."""
    api = Api(harness.access)
    sights = Sights(api, names.selector(SETTINGS), [harness.namespace], lambda _: None)
    kept = Agents(api, sights, SETTINGS, (b"another zip", "next"), [harness.namespace], unused_s=unused_s)
    tasks = [asyncio.create_task(each.run()) for each in (sights, kept)]
    await kept.make(harness.namespace, "a test")
    yield kept
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await api.close()


async def tidied(kept: Agents, harness: KubernetesHarness, *expected: str) -> None:
    """Tidy until just these are left, and once more."""
    async with asyncio.timeout(harness.patience_s):
        while there(harness) != set(expected):
            await kept.tidy()
            await asyncio.sleep(0.1)
    await kept.tidy()
    assert there(harness) == set(expected)


def there(harness: KubernetesHarness) -> set[str]:
    found = harness.kube.items(harness.namespace, "configmaps", names.agent_selector(SETTINGS))
    return {each["metadata"]["name"] for each in found}


async def test_an_agent_goes_once_no_pod_uses_it_and_its_server_is_gone(harness: KubernetesHarness) -> None:
    handles = await running(harness, job("one", "worker-1", "stay"))
    async with next_release(harness, unused_s=0) as kept:
        for _ in range(20):  # the old server's pod needs it
            await kept.tidy()
            await asyncio.sleep(0.1)
        assert there(harness) == {OLD, kept.name}
        await remove_all(harness.backend, handles)
        await harness.close()
        await tidied(kept, harness, kept.name)


async def test_a_server_of_another_release_that_still_runs_has_its_agent_back_at_once_and_starts_pods(
    harness: KubernetesHarness,
) -> None:
    await remove_all(harness.backend, await running(harness, job("one", "worker-1", "stay")))
    (before,) = harness.kube.items(harness.namespace, "configmaps", names.agent_selector(SETTINGS))
    async with next_release(harness, unused_s=0) as kept:

        def made_again() -> bool:
            found = harness.kube.items(harness.namespace, "configmaps", names.agent_selector(SETTINGS))
            uids = {each["metadata"]["uid"] for each in found if each["metadata"]["name"] == OLD}
            return bool(uids - {before["metadata"]["uid"]})

        async with asyncio.timeout(harness.patience_s):
            while not made_again():
                await kept.tidy()
                await asyncio.sleep(0.1)
        await remove_all(harness.backend, await running(harness, job("two", "worker-1", "stay")))


async def test_one_that_is_new_stays_since_its_server_may_be_just_starting(harness: KubernetesHarness) -> None:
    await remove_all(harness.backend, await running(harness, job("one", "worker-1", "stay")))
    async with next_release(harness, unused_s=agents.UNUSED_S) as kept:
        for _ in range(20):
            await kept.tidy()
            await asyncio.sleep(0.1)
        assert there(harness) == {OLD, kept.name}


async def test_one_that_somebody_deletes_comes_back_by_itself(harness: KubernetesHarness) -> None:
    await running(harness, job("one", "worker-1", "stay"))
    harness.kube.run("-n", harness.namespace, "delete", "configmap", OLD)
    await asyncio.to_thread(until, lambda: there(harness) == {OLD}, "the agent is back")
