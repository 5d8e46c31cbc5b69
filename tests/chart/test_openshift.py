"""Where the cluster gives each namespace ids of its own and refuses all others, the chart and users' pods take them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ..conftest import not_here
from ..kubernetes.kube import Kube
from .helm import pods, rendered, values_of
from .openshift import FIRST, constraining, reviewed
from .release import Release, computing


def test_no_pod_of_the_chart_asks_for_ids() -> None:
    for pod in pods(rendered(values_of("openshift"))):
        assert reviewed({"spec": pod})[0] == ""
        assert pod["securityContext"].keys() & {"runAsUser", "runAsGroup", "fsGroup"} == set()
        assert pod["securityContext"]["runAsNonRoot"] is True
    as_usual = rendered({**values_of("openshift"), "podIds": "chart"})
    assert all(reviewed({"spec": pod})[0] for pod in pods(as_usual)), "else this test shows nothing"


@pytest.fixture
def constrained(kube: Kube, release: Release) -> Iterator[Release]:
    if kube.directory is None:
        not_here("a way from the API server of the cluster of KUBECONFIG to this machine")
    with constraining(kube, release.namespace):
        yield release


@pytest.mark.real
@pytest.mark.filterwarnings("ignore:Mismatched versions")
async def test_it_installs_and_users_compute_with_ids_that_the_cluster_gives(constrained: Release) -> None:
    constrained.values["podIds"] = "cluster"
    constrained.install()
    assert "everything works" in constrained.test()
    async with computing(constrained.address) as client:
        ids = await client.run(lambda: (os.getuid(), os.getgid()))
        assert {*ids.values(), await client.run_on_scheduler(lambda: (os.getuid(), os.getgid()))} == {(FIRST, 0)}
