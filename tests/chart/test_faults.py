"""What breaks around an installed chart: pods and processes that are killed, nodes drained, the release uninstalled.

What computes, computes on, at the price of a reconnect; what Kubernetes takes has a reason; nothing is left behind.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from distributed import Client

from dask_sluice import Gateway

from ..kubernetes.faults import cordoned, drain
from ..kubernetes.kube import until
from .helm import NAME
from .release import Release, computing

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    # Packages of the image of clusters differ in their last digit from those of the tests.
    pytest.mark.filterwarnings("ignore:Mismatched versions"),
]
OWN_LABEL = "sluice-test"
"""On all pods of the release, so that a drain leaves others alone that are on the node."""
ROUNDS = int(os.environ.get("SLUICE_ROUNDS", "4"))
CLIENTS = 4


@pytest.fixture
def doubled(release: Release, database: str) -> Release:
    """Installed with two servers and two proxies."""
    release.values["config"]["database"] = {"url": database}
    release.values["server"]["replicas"] = 2
    release.values["labels"] = {OWN_LABEL: release.namespace}
    release.install()
    return release


def gateway_of(release: Release) -> Any:
    """One whose calls are awaited, which its types do not say."""
    return Gateway(release.address, asynchronous=True)


async def computes_again(client: Client) -> None:
    """The client dials again, and whatever it was waiting for is asked for anew."""
    async with asyncio.timeout(60):
        while True:
            try:
                assert await client.submit(sum, [5, 6], pure=False) == 11
                return
            except Exception:  # noqa: BLE001  cancelled, closed: whatever distributed makes of it
                await asyncio.sleep(0.2)


async def serves(release: Release) -> None:
    """A new cluster computes."""
    async with computing(release.address):
        pass


def _pods_killed(release: Release) -> Callable[[str], None]:
    return release.kill


def _processes_killed(release: Release) -> Callable[[str], None]:
    return release.kill_processes


@pytest.mark.parametrize("fault", [_pods_killed, _processes_killed])
async def test_servers_and_proxies_that_are_killed_cost_a_reconnect_at_most(
    doubled: Release, fault: Callable[[Release], Callable[[str], None]]
) -> None:
    kill = fault(doubled)
    async with computing(doubled.address) as client:
        connection = client.scheduler_comm
        await asyncio.to_thread(kill, "server")
        assert await client.submit(sum, [3, 4]) == 7
        assert client.scheduler_comm is connection, "it does not go through a server"
        await asyncio.to_thread(kill, "proxy")
        await computes_again(client)
    await serves(doubled)
    until(lambda: not doubled.pods_of_clusters(), "the clusters' pods have gone")


async def test_replicas_killed_again_and_again_cost_no_cluster_no_call_and_nothing_that_is_kept(
    doubled: Release,
) -> None:
    """A server's end is noticed by nobody; a proxy's cuts connections, and a Dask client that is cut off forgets its
    futures: what it has published stays.
    """
    async with AsyncExitStack() as stack, calling(doubled.address) as calls:
        clients = [await stack.enter_async_context(computing(doubled.address)) for _ in range(CLIENTS)]
        for number, client in enumerate(clients):
            await client.publish_dataset(kept=await client.scatter([number]))
        before = set(doubled.pods_of_clusters())
        for _ in range(ROUNDS):
            under_way = [client.map(_slow(), range(20), pure=False) for client in clients]
            await asyncio.to_thread(doubled.kill_one, "server")
            assert [sum(await client.gather(each)) for client, each in zip(clients, under_way, strict=True)] == [
                sum(range(20))
            ] * CLIENTS
            await asyncio.to_thread(doubled.kill_one, "proxy")
            for number, client in enumerate(clients):
                await computes_again(client)
                assert await client.gather(await client.get_dataset("kept")) == [number]
        assert set(doubled.pods_of_clusters()) == before
        assert len(calls) > ROUNDS
        assert set(calls) == {CLIENTS}, "each call of the API was answered, and each answer had all clusters"
    until(lambda: not doubled.pods_of_clusters(), "the clusters' pods have gone")


@asynccontextmanager
async def calling(address: str) -> AsyncIterator[list[int]]:
    """Ask for all clusters, again and again: how many there were each time since the last was made."""
    found: list[int] = []

    async def call() -> None:
        async with Gateway(address, asynchronous=True) as gateway:
            listing: Any = gateway.list_clusters
            while True:
                count = len(await listing())
                if count == CLIENTS or found:
                    found.append(count)
                await asyncio.sleep(0.05)

    task = asyncio.create_task(call())
    try:
        yield found
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _slow() -> Callable[[int], int]:
    """A function that takes its time; made here, since workers have none of our modules."""

    def slowly(number: int) -> int:
        import time

        time.sleep(0.3)
        return number

    return slowly


@pytest.mark.parametrize("component", ["server", "proxy"])
async def test_a_drained_node_keeps_one_of_two_until_another_is_ready_elsewhere(
    doubled: Release, component: str
) -> None:
    """On the kit's only node there is no elsewhere: the disruption budget holds the second until the node is back."""
    selector = f"{OWN_LABEL}={doubled.namespace},app.kubernetes.io/component={component}"
    async with computing(doubled.address) as client:
        with cordoned(doubled.kube) as node:
            said = await asyncio.to_thread(drain, doubled.kube, node, selector, patience_s=20)
            assert "would violate the pod's disruption budget" in said
            await asyncio.to_thread(until, lambda: len(doubled.running(component)) == 1, "the evicted one has ended")
            await computes_again(client)
            async with gateway_of(doubled) as gateway:
                assert len(await gateway.list_clusters()) == 1
        await asyncio.to_thread(doubled.is_ready, component)
    await serves(doubled)


@pytest.mark.filterwarnings("ignore:cluster .* ends. its node gave it up")  # which the connected client is told too
async def test_a_cluster_whose_pods_are_drained_ends_as_evicted(doubled: Release) -> None:
    async with computing(doubled.address), gateway_of(doubled) as gateway:
        (cluster,) = await gateway.list_clusters()
        with cordoned(doubled.kube) as node:
            selector = f"gateway.dask.org/instance={NAME},gateway.dask.org/cluster={cluster.name}"
            await asyncio.to_thread(drain, doubled.kube, node, selector)
            async with asyncio.timeout(30):
                while (shown := await gateway.get_cluster(cluster.name)).status.name != "FAILED":  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            assert shown.reason.startswith("its node gave it up")
    await serves(doubled)


async def test_clusters_outlive_an_uninstalled_release_and_the_next_one_takes_them_up(doubled: Release) -> None:
    async with gateway_of(doubled) as gateway:
        name = await gateway.submit()
        await gateway.scale_cluster(name, 1)
        async with await gateway.connect(name) as cluster, Client(cluster, asynchronous=True) as client:
            await client.publish_dataset(kept=await client.scatter([1, 2]))
    before = set(doubled.pods_of_clusters())
    await asyncio.to_thread(doubled.uninstall)
    assert set(doubled.pods_of_clusters()) == before
    await asyncio.to_thread(doubled.install)
    async with gateway_of(doubled) as gateway:
        async with await gateway.connect(name) as cluster, Client(cluster, asynchronous=True) as client:
            assert await client.gather(await client.get_dataset("kept")) == [1, 2]
        await gateway.stop_cluster(name)
    until(lambda: not doubled.pods_of_clusters(), "its pods have gone")


async def test_what_an_uninstalled_release_left_is_ended_for_good_by_one_command(doubled: Release) -> None:
    async with gateway_of(doubled) as gateway:
        name = await gateway.submit()
        await gateway.scale_cluster(name, 1)
        async with await gateway.connect(name) as cluster, Client(cluster, asynchronous=True) as client:
            assert await client.submit(sum, [1, 2]) == 3
    await asyncio.to_thread(doubled.uninstall)
    kinds = "pods,secrets,configmaps"  # as docs/kubernetes-install.md says
    doubled.kube.run("-n", doubled.namespace, "delete", kinds, "-l", f"gateway.dask.org/instance={NAME}")
    until(lambda: not doubled.kube.objects(doubled.namespace), "nothing is there any more")


def test_what_is_left_when_it_is_uninstalled_is_nothing(release: Release) -> None:
    before = release.kube.objects(release.namespace)
    release.install()
    release.uninstall()
    until(lambda: release.kube.objects(release.namespace) == before, "pods that carry nothing end at once")
