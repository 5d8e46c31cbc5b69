"""Spot nodes: workers run there where there are any, elsewhere where there are none, and schedulers never do."""

from __future__ import annotations

from pathlib import Path

import pytest

from dask_sluice import Gateway

from ..live import LiveServer
from . import site
from .faults import spot_node
from .kube import Kube, until
from .user import SLOW_S, TOLD_WITHIN_S, User

pytestmark = pytest.mark.filterwarnings("ignore:Mismatched versions found")


@pytest.mark.slow
def test_workers_run_where_all_nodes_are_spot_nodes_and_a_scheduler_waits_for_another(
    kube: Kube, server: LiveServer
) -> None:
    with User(server) as user:
        before = user.started()
        with spot_node(kube):
            user.scale(before, 1)
            user.has_running(before, 1)
            later = user.create()
            assert user.told(later, "unschedulable")["state"] == "starting"
        until(lambda: user.view(later)["state"] == "running", "it starts on the first other node")
        for name in (before, later):
            user.stop(name)


@pytest.mark.filterwarnings("ignore:cluster .* 1 worker not started yet")  # that is what is looked for
def test_where_there_is_no_spot_node_workers_that_prefer_one_run_and_those_that_require_one_wait(
    kube: Kube, namespace: str, tmp_path: Path
) -> None:
    profiles = {spot: {"backend": {"worker": {"spot": spot}}} for spot in ("prefer", "require")}
    with (
        site.server(kube, namespace, tmp_path, profiles=profiles) as server,
        User(server) as user,
        Gateway(server.url) as gateway,
    ):
        preferring, requiring = (gateway.new_cluster(profile=spot) for spot in ("prefer", "require"))
        for cluster in (preferring, requiring):
            cluster.scale(1)
        until(lambda: user.states(preferring.name) == ["running"], "it runs", SLOW_S)
        until(lambda: "unschedulable" in user.reasons(requiring.name).values(), "it is told", TOLD_WITHIN_S)
        for cluster in (preferring, requiring):
            cluster.close()
