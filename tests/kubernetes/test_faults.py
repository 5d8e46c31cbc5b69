"""Servers and pods that are killed: nothing is lost that Kubernetes did not take, nothing leaks, ends have reasons.

Objects are counted by kubectl before and after (fixture `server`).
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dask_sluice import Gateway
from dask_sluice.server.backends.protocol import Handle, JobState
from dask_sluice.wire.reasons import ReasonCode

from ..live import LiveServer
from .faults import SCHEDULERS, WORKERS, computes_afterwards, delete_pods, ends_told
from .harness import MIB, SMALL, KubernetesHarness, job
from .kube import Kube, until
from .user import SLOW_S, User

pytestmark = [pytest.mark.filterwarnings("ignore:Mismatched versions found")]
MANY = int(os.environ.get("SLUICE_TEST_MANY_WORKERS", "20"))
"""Dask workers, at 100 MB and a second of processor each."""
CROWD = int(os.environ.get("SLUICE_TEST_MANY_PODS", "200"))
"""Pods that hardly do anything. The kit's node takes 250."""
TINY = replace(SMALL, cores_request=0.001, memory_request_bytes=8 * MIB)


def test_clusters_compute_on_over_a_killed_server_and_the_next_one_takes_them_up(server: LiveServer) -> None:
    with Gateway(server.url) as gateway:
        cluster = gateway.new_cluster()
        cluster.scale(2)
        client = cluster.get_client()
        client.wait_for_workers(2, timeout=SLOW_S)
        futures = client.map(lambda number: time.sleep(0.2) or number, range(20), pure=False)  # type: ignore[func-returns-value]
        server.kill()
        assert sum(client.gather(futures)) == 190
        server.start()
        assert client.submit(sum, [1, 2]).result(timeout=SLOW_S) == 3
        cluster.scale(3)
        client.wait_for_workers(3, timeout=SLOW_S)
        client.close()
        cluster.close()


@pytest.mark.slow
def test_a_server_killed_amid_many_starts_leaves_nothing_that_the_next_does_not_find(
    kube: Kube, namespace: str, server: LiveServer
) -> None:
    with User(server) as user:
        name = user.started()
        user.scale(name, 10)
        until(lambda: len(kube.items(namespace, "pods", WORKERS)) >= 2, "some pods have been made")
        server.kill()
        server.start()
        with User(server) as again:
            again.has_running(name, 10)
            assert len(kube.items(namespace, "pods", WORKERS)) == 10
            again.stop(name)


def test_a_cluster_ends_with_a_reason_when_its_schedulers_pod_is_deleted(
    kube: Kube, namespace: str, server: LiveServer
) -> None:
    with User(server) as user:
        name = user.started_with(2)
        delete_pods(kube, namespace, SCHEDULERS)
        ends_told(user, name, "pod_deleted")
    computes_afterwards(server.url)


@pytest.mark.slow
def test_nothing_outlives_its_cluster_although_no_server_is_there(
    kube: Kube, namespace: str, server: LiveServer
) -> None:
    with User(server) as user:
        name = user.started_with(2)
        server.kill()
        delete_pods(kube, namespace, SCHEDULERS)
        until(
            lambda: not kube.items(namespace, "pods,secrets"), "pods and secrets have gone with the scheduler", SLOW_S
        )
        server.start()
    with User(server) as user:
        ends_told(user, name, "pod_deleted")
    computes_afterwards(server.url)


@pytest.mark.slow
def test_workers_that_are_all_deleted_at_once_are_replaced_and_each_has_a_reason(
    kube: Kube, namespace: str, server: LiveServer
) -> None:
    with User(server) as user:
        name = user.started_with(MANY)
        before = {worker["name"] for worker in user.workers(name)}
        delete_pods(kube, namespace, WORKERS)
        user.has_running(name, MANY, but=before)
        told = {worker: code for worker, code in user.reasons(name).items() if worker in before}
        assert told
        assert set(told.values()) == {"pod_deleted"}
        after = set(user.reasons(name)) - before
        assert len(after) == MANY, "each was replaced once"
        assert user.view(name)["reason"]["code"] == "running"
        user.stop(name)
    computes_afterwards(server.url)


@pytest.mark.slow
async def test_as_many_pods_as_a_node_takes_are_deleted_at_once_and_as_many_others_run_in_their_place(
    kube: Kube, namespace: str, tmp_path: Path
) -> None:
    """With pods that play workers: as many real ones would take 20 GB, and minutes of processor."""
    harness = KubernetesHarness(kube, namespace, tmp_path)
    backend = harness.backend
    await backend.start()
    try:

        async def submitted(number: int) -> Handle:
            one = job("crowd", f"worker-{number}", "stay", size=TINY)
            return [handle async for handle in backend.submit(one)][-1]

        async def all_are(state: JobState, handles: list[Handle]) -> None:
            async with asyncio.timeout(SLOW_S):
                while {seen.state for seen in await backend.observe(handles)} != {state}:  # noqa: ASYNC110
                    await asyncio.sleep(0.2)

        first = await asyncio.gather(*(submitted(number) for number in range(2, 2 + CROWD)))
        await all_are(JobState.RUNNING, first)
        await asyncio.to_thread(delete_pods, kube, namespace, WORKERS)
        others = await asyncio.gather(*(submitted(number) for number in range(1002, 1002 + CROWD)))
        await all_are(JobState.ENDED, first)
        for seen in await backend.observe(first):
            assert seen.reason is not None
            assert seen.reason.code is ReasonCode.POD_DELETED
        await all_are(JobState.RUNNING, others)
        await asyncio.gather(*(backend.remove(handle) for handle in [*first, *others]))
        left = await asyncio.to_thread(kube.items, namespace, "pods,secrets")
        assert not left
    finally:
        await backend.close()


@pytest.mark.slow
def test_a_quota_reached_while_scaling_is_told_and_the_rest_follows_when_there_is_room(
    kube: Kube, namespace: str, server: LiveServer
) -> None:
    with User(server) as user:
        name = user.started()
        kube.run("-n", namespace, "create", "quota", "small", "--hard=pods=2")
        until(lambda: "used" in kube.items(namespace, "resourcequota")[0].get("status", {}), "the quota counts")
        user.scale(name, 3)
        user.told(name, "quota_exceeded")
        assert user.view(name)["state"] == "running"
        assert user.old_status(name) == "RUNNING"
        kube.run("-n", namespace, "delete", "quota", "small")
        user.has_running(name, 3)
        assert user.view(name)["reason"]["code"] == "running"
        user.stop(name)
    computes_afterwards(server.url)
