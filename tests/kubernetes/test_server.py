"""A user's way through a whole server whose clusters are pods: images hold only dask and distributed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dask.array as da
import pytest

from dask_sluice import Gateway

from ..live import CONFIGURED, PATIENCE_S, LiveServer, configured, until
from . import site
from .faults import objects
from .kube import Kube

# The image has its own Python: another patch release than this one.
pytestmark = pytest.mark.filterwarnings("ignore:Mismatched versions found")


@pytest.fixture
def kube_server(kube: Kube, namespace: str, tmp_path: Path) -> Iterator[LiveServer]:
    with site.server(kube, namespace, tmp_path) as server:
        yield server


def _addresses(kube: Kube, namespace: str) -> set[str | None]:
    """Of pods; None where the kubelet has not told one yet, which a worker of a quick start can be ahead of."""
    return {pod["status"].get("podIP") for pod in kube.items(namespace, "pods")}


def test_a_cluster_of_pods_computes_scales_shows_logs_and_leaves_nothing(
    kube: Kube, namespace: str, kube_server: LiveServer
) -> None:
    with Gateway(kube_server.url) as gateway:
        before = objects(kube, namespace)
        with gateway.new_cluster(**CONFIGURED) as cluster:
            cluster.scale(2)
            with cluster.get_client() as client:
                client.wait_for_workers(2, timeout=PATIENCE_S)
                assert configured(client) == {("bar", 0.5, 20)}
                assert da.ones((1000, 1000), chunks=(250, 250)).sum().compute() == 1e6
                hosts = {worker["host"] for worker in client.scheduler_info()["workers"].values()}
                until(lambda: hosts < _addresses(kube, namespace), "the kubelet tells the pods' addresses")
                assert "worker worker-2 is ready" in str(cluster.logs())
                cluster.adapt(minimum=0, maximum=2)
                until(lambda: len(client.scheduler_info()["workers"]) == 0, "idle workers have gone")
                assert client.submit(sum, [1, 2, 3]).result(timeout=PATIENCE_S) == 6
        until(lambda: not gateway.list_clusters(), "no cluster is listed")
        until(lambda: objects(kube, namespace) == before, "pods and secrets have gone")
