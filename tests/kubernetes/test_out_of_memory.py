"""A worker that its kernel ends tells its limit and what it last used, as its scheduler knew it."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest

from dask_sluice import Gateway

from ..live import PATIENCE_S
from . import site
from .kube import Kube, until

pytestmark = pytest.mark.filterwarnings("ignore:Mismatched versions found", "ignore:.*out of memory:UserWarning")
HELD_MIB = 150


def test_out_of_memory_tells_the_limit_and_the_last_known_use(kube: Kube, namespace: str, tmp_path: Path) -> None:
    with (
        site.server(kube, namespace, tmp_path) as server,
        Gateway(server.url) as gateway,
        gateway.new_cluster(worker_memory=0.5) as cluster,
        cluster.get_client() as client,
    ):
        cluster.scale(1)
        client.wait_for_workers(1, timeout=PATIENCE_S)
        held = client.submit(lambda: b"x" * (HELD_MIB * 2**20), pure=False)
        held.result  # noqa: B018  it stays where it is

        def used_mib() -> float:
            (worker,) = client.scheduler_info()["workers"].values()
            return float(worker["metrics"]["memory"]) / 2**20

        until(lambda: used_mib() > HELD_MIB, "the scheduler knows what it uses")
        until(lambda: gateway.workers(cluster.name)[0].state == "running", "it runs")

        def hog() -> int:
            return len([bytearray(b"x" * 2**20) for _ in range(2000)])

        # In the Nanny: it is the container's first process, and what it uses nobody watches but the kernel.
        with contextlib.suppress(Exception):
            client.run(hog, nanny=True)
        until(lambda: gateway.workers(cluster.name)[0].state == "failed", "it has failed")
        reason = gateway.workers(cluster.name)[0].reason
        assert reason.code == "out_of_memory"
        told = re.search(r"at its limit of 0\.50 GiB; it last used (0\.\d\d) GiB", reason.sentence)
        assert told is not None, reason.sentence
        assert HELD_MIB / 1024 < float(told[1]) < 0.5
