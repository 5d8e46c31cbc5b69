"""The API server or its store is away: clusters compute on, users are told, and what was asked for follows.

Objects are counted by kubectl before and after (fixture `server`).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import pytest
from distributed import Client

from dask_sluice import Gateway, GatewayCluster

from ..live import LiveServer
from .faults import computes_afterwards, down, for_what_must_not_happen, held
from .kube import Kube, until
from .user import SLOW_S, User

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Mismatched versions found")]
AWAY_S = 60


@dataclass
class Computing:
    """Somebody's cluster with two workers, that computes."""

    cluster: GatewayCluster
    client: Client
    user: User

    def computes(self) -> None:
        assert self.client.submit(sum, [1, 2], pure=False).result(timeout=SLOW_S) == 3
        assert self.user.view(self.cluster.name)["state"] == "running"

    def gets(self, workers: int) -> None:
        self.cluster.scale(workers)
        self.client.wait_for_workers(workers, timeout=SLOW_S)


@contextmanager
def computing(server: LiveServer) -> Iterator[Computing]:
    with (
        Gateway(server.url) as gateway,
        User(server) as user,
        gateway.new_cluster() as cluster,
        cluster.get_client() as client,
    ):
        work = Computing(cluster, client, user)
        work.gets(2)
        work.computes()
        yield work
    computes_afterwards(server.url)


@pytest.mark.parametrize("fault", ["it is held", "it is killed"])
def test_a_cluster_computes_over_a_minute_without_an_api_server(kube: Kube, server: LiveServer, fault: str) -> None:
    with computing(server) as work:
        name = work.cluster.name
        away: AbstractContextManager[None] = (held if fault == "it is held" else down)(kube, "kube-apiserver")
        with away:
            work.cluster.scale(3)
            until(lambda: "backend_unavailable" in work.user.codes(name), "it is told")
            work.computes()
            for_what_must_not_happen(AWAY_S)
            work.computes()
        work.client.wait_for_workers(3, timeout=SLOW_S)
        until(lambda: work.user.view(name)["reason"]["code"] == "running", "all is well again", SLOW_S)
        assert work.user.states(name) == ["running"] * 3


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_cluster_computes_over_a_restart_of_etcd_and_scales_after_it(
    kube: Kube, server: LiveServer, how: signal.Signals
) -> None:
    with computing(server) as work:
        with down(kube, "etcd", how):
            for_what_must_not_happen(5)
            work.computes()
        work.gets(3)
        assert work.user.states(work.cluster.name) == ["running"] * 3


def test_clusters_wait_for_a_scheduler_of_kubernetes_that_is_away_and_start_when_it_is_back(
    kube: Kube, server: LiveServer
) -> None:
    with User(server) as user:
        with down(kube, "kube-scheduler"):
            name = user.create()
            for_what_must_not_happen(10)
            assert user.view(name)["state"] in ("pending", "starting")
        until(lambda: user.view(name)["state"] == "running", "it runs", SLOW_S)
        user.stop(name)
