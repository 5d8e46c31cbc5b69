"""What breaks around clusters of pods: nothing is lost that Kubernetes did not take, nothing leaks, ends have reasons.

Objects are counted by kubectl before and after. Processes of the kit's own Kubernetes are stopped by their pid and
brought back; elsewhere those tests are skipped.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dask_sluice import Gateway

from ..live import LiveServer
from . import site
from .kube import Kube, until
from .user import User

pytestmark = [pytest.mark.filterwarnings("ignore:Mismatched versions found")]
SCHEDULERS = "app.kubernetes.io/component=dask-scheduler"
WORKERS = "app.kubernetes.io/component=dask-worker"
MANY = int(os.environ.get("SLUICE_TEST_MANY_PODS", "20"))
PATIENCE_S = 240


def objects(kube: Kube, namespace: str) -> set[str]:
    """All but the agent's ConfigMap, which stays for the next cluster."""
    return {name for name in kube.objects(namespace) if "sluice-agent" not in name}


@pytest.fixture
def server(kube: Kube, namespace: str, tmp_path: Path) -> Iterator[LiveServer]:
    """A server; when it has ended nothing of its clusters is there."""
    before = objects(kube, namespace)
    with site.server(kube, namespace, tmp_path) as running:
        yield running
    until(lambda: objects(kube, namespace) == before, f"only {before} is left", PATIENCE_S)


@contextmanager
def stopped(kube: Kube, process: str) -> Iterator[None]:
    """One of the kit's own processes, held by SIGSTOP."""
    if kube.directory is None:
        pytest.skip("somebody else's Kubernetes is not to be stopped")
    written = int((kube.directory / "run" / f"{process}.pid").read_text())
    # What the kit wrote down may be the program that started it and waits.
    children = Path(f"/proc/{written}/task/{written}/children").read_text().split()
    pid = int(children[0]) if children else written
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def states(user: User, name: str) -> list[str]:
    return sorted(worker["state"] for worker in user.workers(name))


def delete_pods(kube: Kube, namespace: str, selector: str) -> None:
    kube.run("-n", namespace, "delete", "pods", "-l", selector, "--wait=false")


def test_clusters_compute_on_over_a_killed_server_and_the_next_one_takes_them_up(server: LiveServer) -> None:
    with Gateway(server.url) as gateway:
        cluster = gateway.new_cluster()
        cluster.scale(2)
        client = cluster.get_client()
        client.wait_for_workers(2, timeout=PATIENCE_S)
        futures = client.map(lambda number: time.sleep(0.2) or number, range(20), pure=False)  # type: ignore[func-returns-value]
        server.kill()
        assert sum(client.gather(futures)) == 190
        server.start()
        assert client.submit(sum, [1, 2]).result(timeout=PATIENCE_S) == 3
        cluster.scale(3)
        client.wait_for_workers(3, timeout=PATIENCE_S)
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
            until(lambda: states(again, name).count("running") == 10, "ten workers run", PATIENCE_S)
            assert len(kube.items(namespace, "pods", WORKERS)) == 10
            again.stop(name)


@pytest.mark.slow
def test_a_cluster_ends_with_a_reason_when_its_schedulers_pod_is_deleted(
    kube: Kube, namespace: str, server: LiveServer
) -> None:
    with User(server) as user:
        name = user.started()
        user.scale(name, 2)
        until(lambda: states(user, name) == ["running"] * 2, "two workers run", PATIENCE_S)
        delete_pods(kube, namespace, SCHEDULERS)
        until(lambda: user.view(name)["state"] == "failed", "the cluster has failed")
        assert user.view(name)["reason"]["code"] == "pod_deleted"


@pytest.mark.slow
def test_nothing_outlives_its_cluster_although_no_server_is_there(
    kube: Kube, namespace: str, server: LiveServer
) -> None:
    with User(server) as user:
        name = user.started()
        user.scale(name, 2)
        until(lambda: states(user, name) == ["running"] * 2, "two workers run", PATIENCE_S)
        server.kill()
        delete_pods(kube, namespace, SCHEDULERS)
        until(lambda: not objects(kube, namespace), "pods and secrets have gone with the scheduler", PATIENCE_S)
        server.start()
    with User(server) as user:
        until(lambda: user.view(name)["state"] == "failed", "the cluster is known to have failed")
        assert user.view(name)["reason"]["code"] == "pod_deleted"


@pytest.mark.slow
def test_workers_that_are_all_deleted_at_once_are_replaced_and_each_has_a_reason(
    kube: Kube, namespace: str, server: LiveServer
) -> None:
    with User(server) as user:
        name = user.started()
        user.scale(name, MANY)
        until(lambda: states(user, name).count("running") == MANY, f"{MANY} workers run", PATIENCE_S)
        time.sleep(31)  # a worker that stayed for half a minute is no failed start (`Rules.settled_after_s`)
        before = {worker["name"] for worker in user.workers(name)}
        delete_pods(kube, namespace, WORKERS)
        until(
            lambda: len([w for w in user.workers(name) if w["state"] == "running" and w["name"] not in before]) == MANY,
            f"{MANY} others run",
            PATIENCE_S,
        )
        told = {w["name"]: w["reason"]["code"] for w in user.workers(name) if w["name"] in before}
        assert told
        assert set(told.values()) == {"pod_deleted"}
        user.stop(name)


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
        kube.run("-n", namespace, "delete", "quota", "small")
        until(lambda: states(user, name).count("running") == 3, "three workers run", PATIENCE_S)
        assert user.view(name)["reason"]["code"] == "running"
        user.stop(name)


@pytest.mark.slow
def test_a_cluster_computes_over_an_api_server_that_does_not_answer(
    kube: Kube, namespace: str, server: LiveServer
) -> None:
    with (
        Gateway(server.url) as gateway,
        User(server) as user,
        gateway.new_cluster() as cluster,
        cluster.get_client() as client,
    ):
        cluster.scale(2)
        client.wait_for_workers(2, timeout=PATIENCE_S)
        with stopped(kube, "kube-apiserver"):
            cluster.scale(3)
            until(lambda: "backend_unavailable" in user.codes(cluster.name), "it is told", PATIENCE_S)
            assert client.submit(sum, [1, 2]).result(timeout=PATIENCE_S) == 3
            assert user.view(cluster.name)["state"] == "running"
        client.wait_for_workers(3, timeout=PATIENCE_S)
        until(lambda: user.view(cluster.name)["reason"]["code"] == "running", "all is well again", PATIENCE_S)


@pytest.mark.slow
def test_a_kubelet_that_is_held_ends_no_cluster_and_starts_go_on_after_it(
    kube: Kube, namespace: str, server: LiveServer
) -> None:
    with User(server) as user:
        name = user.started()
        with stopped(kube, "kubelet"):
            user.scale(name, 1)
            until(lambda: len(kube.items(namespace, "pods", WORKERS)) == 1, "a pod has been made")
            time.sleep(5)  # what must not happen cannot be waited for
            assert user.view(name)["state"] == "running"
            assert states(user, name) == ["starting"]
        until(lambda: states(user, name) == ["running"], "the worker runs", PATIENCE_S)
        user.stop(name)


@pytest.mark.slow
def test_a_node_that_does_not_end_a_pod_does_not_hold_up_the_end_of_its_cluster(
    kube: Kube, namespace: str, server: LiveServer
) -> None:
    with User(server) as user:
        name = user.started()
        with stopped(kube, "kubelet"):
            user.stop(name)
            until(lambda: not kube.items(namespace, "pods"), "its pods have been deleted by force")
        assert user.view(name)["state"] == "stopped"
