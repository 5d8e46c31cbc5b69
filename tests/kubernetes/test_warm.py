"""Schedulers wait as nobody's, are given to whom they fit, once, and neither leak nor multiply.

Real pods with the real agent; servers with the rights of the chart's Role.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from dask_sluice import Gateway
from dask_sluice.server.backends.kubernetes import names
from dask_sluice.server.backends.kubernetes.access import Access
from dask_sluice.server.backends.kubernetes.backend import KubernetesBackend
from dask_sluice.server.backends.kubernetes.settings import KubernetesSettings
from dask_sluice.server.backends.kubernetes.warm.pods import CLAIMED, WAITING, is_ready
from dask_sluice.server.backends.protocol import Handle, Job, JobKind, Size
from dask_sluice.server.clock import SystemClock
from dask_sluice.server.store import Store
from dask_sluice.wire.launch import SchedulerLaunch
from dask_sluice.wire.processes import process_ids

from ..live import PATIENCE_S, LiveServer
from . import site
from .kube import IMAGE, Kube, until

pytestmark = pytest.mark.filterwarnings("ignore:Mismatched versions found")

Pod = dict[str, Any]


def settings(count: int) -> dict[str, Any]:
    """Pods ask for a tenth of a core, so that Python starts in time on a busy node."""
    scheduler = {**site.SCHEDULER, "cores_request": 0.1}
    return {
        "backend": {"kubernetes": {"warm_schedulers": [{"count": count}]}},
        "policy": {"defaults": {"scheduler": scheduler}},
        "on_stop": "keep_clusters",
    }


def pods(kube: Kube, namespace: str, state: str) -> dict[str, Pod]:
    found = kube.items(namespace, "pods", f"{names.WARM_LABEL}={state}")
    return {pod["metadata"]["name"]: pod for pod in found if "deletionTimestamp" not in pod["metadata"]}


def ready(kube: Kube, namespace: str, count: int) -> dict[str, Pod]:
    """Those that wait, once exactly so many do."""

    def found() -> dict[str, Pod]:
        there = pods(kube, namespace, WAITING)
        return there if len(there) == count and all(map(is_ready, there.values())) else {}

    until(found, f"{count} schedulers wait")
    return found()


def test_a_cluster_takes_one_that_waits_and_another_one_takes_its_place(
    kube: Kube, namespace: str, tmp_path: Path
) -> None:
    with site.server(kube, namespace, tmp_path, **settings(1)) as server, Gateway(server.url) as gateway:
        (one,) = ready(kube, namespace, 1)
        assert gateway.list_clusters() == []  # what waits is nobody's: it is in no record, limit or ledger
        with gateway.new_cluster() as cluster:
            given = pods(kube, namespace, CLAIMED)
            assert list(given) == [one]
            labels = given[one]["metadata"]["labels"]
            assert labels[names.CLUSTER_LABEL] == cluster.name
            owner = given[one]["metadata"]["annotations"]["hub.jupyter.org/username"]
            assert labels["hub.jupyter.org/username"] == names.slug(owner)
            (other,) = ready(kube, namespace, 1)
            assert other != one
            cluster.scale(1)
            with cluster.get_client() as client:
                client.wait_for_workers(1, timeout=PATIENCE_S)
                assert client.submit(sum, [1, 2, 3]).result(timeout=PATIENCE_S) == 6
            (worker,) = kube.items(namespace, "pods", f"{names.COMPONENT_LABEL}=dask-worker")
            assert worker["metadata"]["ownerReferences"][0]["name"] == one
            assert "becoming the scheduler" in str(cluster.logs())
            with gateway.new_cluster() as second:
                assert second.name != cluster.name
                assert set(pods(kube, namespace, CLAIMED)) == {one, other}
        until(lambda: not pods(kube, namespace, CLAIMED), "those given away are gone, and given to nobody again")


def test_they_outlive_a_killed_server_and_go_with_changed_settings(kube: Kube, namespace: str, tmp_path: Path) -> None:
    with site.server(kube, namespace, tmp_path, **settings(2)) as server:
        before = ready(kube, namespace, 2)
        with Gateway(server.url) as gateway:
            name = gateway.new_cluster(shutdown_on_close=False).name
            server.kill()
            server.start()
            again = ready(kube, namespace, 2)
            assert len(set(before) & set(again)) == 1  # one was given away, one has gone on waiting
            with gateway.new_cluster() as second:
                assert set(pods(kube, namespace, CLAIMED)) >= set(before) - set(again)
                assert second.name != name
            gateway.stop_cluster(name)
            until(lambda: not gateway.list_clusters(), "both clusters have ended")
    (tmp_path / "server.yaml").write_text((tmp_path / "server.yaml").read_text().replace("count: 2", "count: 0"))
    with LiveServer(tmp_path / "data", "--config", str(tmp_path / "server.yaml")):
        until(lambda: not pods(kube, namespace, WAITING), "nothing waits any more")


# -- several servers, without the rest of them


def processes_of(kube: Kube, pod: Pod) -> list[int]:
    """The agent's processes in a pod of the kit's cluster, which runs on this machine."""
    if kube.directory is None:
        pytest.skip("only processes of the kit's own node can be stopped")
    uid = pod["metadata"]["uid"]
    found = []
    for pid in process_ids():
        with contextlib.suppress(OSError):
            cgroup, command = (Path(f"/proc/{pid}/{what}").read_text() for what in ("cgroup", "cmdline"))
            if uid in cgroup.replace("_", "-") and "agent.zip" in command:
                found.append(pid)
    assert found
    return found


SIZE = Size(cores=1, cores_request=0.05, memory_bytes=512 * 2**20, memory_request_bytes=64 * 2**20, threads=1)
KEY = b"k" * 32


def job(cluster: str, **changes: Any) -> Job:
    launch = cast("SchedulerLaunch", {"role": "scheduler", "cluster": cluster, "tls": {}})
    values: dict[str, Any] = {"owner": "ada", "size": SIZE, "environment": "", "image": IMAGE, **changes}
    return Job(id=f"{cluster}-scheduler", kind=JobKind.SCHEDULER, cluster=cluster, launch=launch, **values)


@asynccontextmanager
async def servers(access: Access, directory: Path, count: int) -> AsyncIterator[list[KubernetesBackend]]:
    """Two backends that share a key, as two servers do that share a database; both believe that they lead."""
    async with AsyncExitStack() as stack:
        store = Store(directory / "sluice.db")
        store.open()
        stack.push_async_callback(store.close)
        backends = []
        for _ in range(2):
            backend = KubernetesBackend(KubernetesSettings(), store.kept_logs(SystemClock()), access=access)
            backend.keep_warm(KEY, [(job(""), count)])
            await backend.start()
            stack.push_async_callback(backend.close)
            backend.lead(True)
            backends.append(backend)
        yield backends


async def submitted(backend: KubernetesBackend, each: Job) -> Handle:
    handles = [handle async for handle in backend.submit(each)]
    assert len(handles) == 1
    return handles[0]


async def test_two_servers_neither_make_too_many_nor_give_one_away_twice(
    kube: Kube, namespace: str, tmp_path: Path
) -> None:
    access = kube.account(namespace, tmp_path / "account", "rights-warm")
    async with servers(access, tmp_path, 3) as (one, other):
        waiting = await asyncio.to_thread(ready, kube, namespace, 3)
        one.lead(False)
        other.lead(False)
        jobs = [job(f"c{each}") for each in range(6)]
        handles = await asyncio.gather(*(submitted((one, other)[at % 2], each) for at, each in enumerate(jobs)))
        taken = [str(handle.data["pod"]) for handle in handles]
        assert len(set(taken)) == 6
        assert set(waiting) <= set(taken)  # the others were given pods of their own
        again = await asyncio.gather(*(submitted((one, other)[at % 2], each) for at, each in enumerate(jobs[1:], 1)))
        assert [str(handle.data["pod"]) for handle in again] == taken[1:]
        recovered = await one.recover()
        assert sorted((handle.job_id, handle.data["pod"]) for handle in recovered) == sorted(
            (each.id, name) for each, name in zip(jobs, taken, strict=True)
        )
        await asyncio.gather(*(other.remove(handle) for handle in handles))
        other.lead(True)
        await asyncio.to_thread(ready, kube, namespace, 3)
        await other.cool_down()
        await asyncio.to_thread(until, lambda: not pods(kube, namespace, WAITING), "none is left")


async def test_who_wants_another_size_image_or_namespace_is_given_a_pod_of_their_own(
    kube: Kube, namespace: str, tmp_path: Path
) -> None:
    access = kube.account(namespace, tmp_path / "account", "rights-warm")
    async with servers(access, tmp_path, 1) as (one, _):
        (waiting,) = await asyncio.to_thread(ready, kube, namespace, 1)
        larger = Size(cores=1, cores_request=0.05, memory_bytes=2**30, memory_request_bytes=64 * 2**20, threads=1)
        others = [
            job("larger", size=larger),
            job("other-image", image="registry.test/none:1"),
            job("other-overlay", overlay={"scheduler": {"labels": {"team": "ice"}}}),
        ]
        handles = [await submitted(one, each) for each in others]
        assert [handle.data["pod"] for handle in handles] == [names.object_name(each.id) for each in others]
        assert list(pods(kube, namespace, WAITING)) == [waiting]
        fitting = await submitted(one, job("fits", owner="bob"))
        assert fitting.data["pod"] == waiting
        await asyncio.gather(*(one.remove(handle) for handle in [*handles, fitting]))


async def test_one_that_cannot_be_told_is_not_used_and_the_cluster_starts_all_the_same(
    kube: Kube, namespace: str, tmp_path: Path
) -> None:
    access = kube.account(namespace, tmp_path / "account", "rights-warm")
    async with servers(access, tmp_path, 1) as (one, _):
        (waiting,) = await asyncio.to_thread(ready, kube, namespace, 1)
        for pid in processes_of(kube, pods(kube, namespace, WAITING)[waiting]):
            os.kill(pid, signal.SIGSTOP)  # as on a node that is about to be lost
        handle = await submitted(one, job("cold"))
        assert handle.data["pod"] == names.object_name("cold-scheduler")
        recovered = [str(found.data["pod"]) for found in await one.recover()]
        assert recovered == [handle.data["pod"]]
        await asyncio.to_thread(until, lambda: waiting not in pods(kube, namespace, WAITING), "it is gone")
        await one.remove(handle)
