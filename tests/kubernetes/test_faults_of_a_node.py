"""A node that is held, stopped, lost, cordoned or drained, or has no image any more: who loses by it is told why.

Objects are counted by kubectl before and after (fixture `server`).
"""

from __future__ import annotations

import secrets

import pytest

from dask_sluice import Gateway

from ..live import LiveServer
from .conftest import Serving
from .faults import (
    SCHEDULERS,
    WORKERS,
    computes_afterwards,
    cordoned,
    down,
    drain,
    ends_told,
    for_what_must_not_happen,
    held,
    lost_node,
)
from .images import ctr
from .kube import IMAGE, Kube, until
from .user import SLOW_S, TOLD_WITHIN_S, User

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Mismatched versions found")]
IMPATIENT = [
    {"key": f"node.kubernetes.io/{what}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
    for what in ("unreachable", "not-ready")
]
"""Pods leave a lost node after five seconds rather than five minutes."""


def test_a_kubelet_that_is_held_ends_no_cluster_and_starts_go_on_after_it(
    kube: Kube, namespace: str, server: LiveServer
) -> None:
    with User(server) as user:
        name = user.started()
        with held(kube, "kubelet"):
            user.scale(name, 1)
            until(lambda: len(kube.items(namespace, "pods", WORKERS)) == 1, "a pod has been made")
            for_what_must_not_happen(5)
            assert user.view(name)["state"] == "running"
            assert user.states(name) == ["starting"]
        user.has_running(name, 1)
        user.stop(name)


def test_a_node_that_does_not_end_a_pod_does_not_hold_up_the_end_of_its_cluster(
    kube: Kube, namespace: str, server: LiveServer
) -> None:
    with User(server) as user:
        name = user.started()
        with held(kube, "kubelet"):
            user.stop(name)
            until(lambda: not kube.items(namespace, "pods"), "its pods have been deleted by force")
        assert user.view(name)["state"] == "stopped"


def test_a_kubelet_that_is_killed_and_comes_back_costs_nobody_anything(kube: Kube, server: LiveServer) -> None:
    with Gateway(server.url) as gateway, gateway.new_cluster() as cluster, cluster.get_client() as client:
        cluster.scale(2)
        client.wait_for_workers(2, timeout=SLOW_S)
        kept = client.scatter([1, 2])
        with down(kube, "kubelet"):
            for_what_must_not_happen(20)
            assert client.submit(sum, kept).result(timeout=SLOW_S) == 3
        cluster.scale(3)
        client.wait_for_workers(3, timeout=SLOW_S)
        assert client.submit(sum, kept, pure=False).result(timeout=SLOW_S) == 3
    computes_afterwards(server.url)


def test_a_node_that_reports_no_more_is_told_and_then_ends_its_clusters_as_lost(kube: Kube, serving: Serving) -> None:
    with serving(pods={"tolerations": IMPATIENT, "stop_grace_s": 5}) as server, User(server) as user:
        name = user.started_with(1)
        with lost_node(kube):
            ends_told(user, name, "node_lost")
            assert set(user.reasons(name).values()) <= {"node_lost", "cluster_ended"}
        computes_afterwards(server.url)


def test_a_cordoned_node_ends_nothing_and_who_waits_for_it_is_told(kube: Kube, server: LiveServer) -> None:
    with User(server) as user:
        name = user.started_with(1)
        with cordoned(kube):
            user.scale(name, 2)
            until(lambda: "unschedulable" in user.reasons(name).values(), "it is told", TOLD_WITHIN_S)
            assert user.states(name) == ["running", "starting"]
            (why,) = (each["reason"]["sentence"] for each in user.workers(name) if each["state"] == "starting")
            assert "cordon" in why or "unschedulable" in why
        user.has_running(name, 2)
        user.stop(name)


def test_workers_of_a_drained_node_are_told_as_evicted_and_made_anew_where_there_is_room(
    kube: Kube, namespace: str, server: LiveServer
) -> None:
    with (
        Gateway(server.url) as gateway,
        User(server) as user,
        gateway.new_cluster() as cluster,
        cluster.get_client() as client,
    ):
        cluster.scale(2)
        client.wait_for_workers(2, timeout=SLOW_S)
        before = set(user.reasons(cluster.name))
        with pytest.warns(UserWarning) as told:
            with cordoned(kube) as node:
                drain(kube, node, f"{WORKERS},gateway.dask.org/instance={namespace}")
                until(lambda: [user.reasons(cluster.name)[each] for each in before] == ["evicted"] * 2, "it is told")
                assert user.view(cluster.name)["state"] == "running"
            client.wait_for_workers(2, timeout=SLOW_S)
            assert client.submit(sum, [1, 2]).result(timeout=SLOW_S) == 3
        assert sum("its node gave it up" in str(each.message) for each in told) == 1, "once for each cause"
    computes_afterwards(server.url)


@pytest.mark.filterwarnings("ignore:cluster .* 1 worker not started yet")  # no node takes it, which is told too
def test_a_worker_of_a_drained_node_hands_over_what_nobody_could_compute_again(kube: Kube, serving: Serving) -> None:
    """Drained is one of two, as if the others were on another node."""
    with (
        serving(pods={"stop_grace_s": 30}) as server,
        User(server) as user,
        Gateway(server.url) as gateway,
        gateway.new_cluster() as cluster,
        cluster.get_client() as client,
    ):
        cluster.scale(2)
        client.wait_for_workers(2, timeout=SLOW_S)
        addresses = list(client.scheduler_info()["workers"])
        kept = [client.scatter(number, workers=[address]) for number, address in enumerate(addresses * 10)]
        with pytest.warns(UserWarning, match="its node gave it up"), cordoned(kube) as node:
            drain(kube, node, f"dask-sluice/job={cluster.name}-worker-1")
            until(lambda: user.reasons(cluster.name)["worker-1"] == "evicted", "it is told")
            assert sum(client.gather(kept)) == sum(range(20))
        client.wait_for_workers(2, timeout=SLOW_S)
        assert sum(client.gather(kept)) == sum(range(20))


def test_a_cluster_whose_scheduler_is_drained_ends_as_evicted(kube: Kube, namespace: str, server: LiveServer) -> None:
    with User(server) as user:
        name = user.started_with(1)
        with cordoned(kube) as node:
            drain(kube, node, f"{SCHEDULERS},gateway.dask.org/instance={namespace}")
            ends_told(user, name, "evicted")
    computes_afterwards(server.url)


def test_an_image_that_is_gone_from_node_and_registry_is_told_and_ends_nothing_that_runs(
    kube: Kube, serving: Serving
) -> None:
    gone = f"registry.test/dask:gone-{secrets.token_hex(4)}"
    if kube.directory is None:
        pytest.skip("images can be taken from the kit's node only")
    ctr(kube, "images", "tag", IMAGE, gone)
    with serving(image=gone) as server, User(server) as user:
        try:
            name = user.started_with(1)
        finally:
            ctr(kube, "images", "rm", gone)
        user.scale(name, 2)
        until(lambda: "image_pull_failed" in user.reasons(name).values(), "it is told", TOLD_WITHIN_S)
        assert user.view(name)["reason"]["code"] == "workers_pending"
        assert gone in user.view(name)["reason"]["sentence"]
        assert user.states(name) == ["running", "starting"]
        try:
            ctr(kube, "images", "tag", IMAGE, gone)
            user.has_running(name, 2)
            user.stop(name)
        finally:
            ctr(kube, "images", "rm", gone)
