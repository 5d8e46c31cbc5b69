"""`KubeCluster` does what a server can do of it, and says what to write instead of the rest: it never ignores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from dask_sluice import Gateway, KubeCluster
from dask_sluice.client.kubecluster import KEYWORDS, chosen, quantity, size_of, variables_of
from dask_sluice.wire.options import Option, OptionType

from ..live import LiveServer, until

VARIABLES = "options:\n  environment_variables: {type: mapping, sets: {variables: '{options.environment_variables}'}}\n"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    config = tmp_path / "sluice.yaml"
    config.write_text(VARIABLES)
    with LiveServer(tmp_path, "--config", str(config)) as server:
        yield server


def test_a_call_as_dask_kubernetes_knows_it_computes(server: LiveServer) -> None:
    wanted = {"limits": {"cpu": "1", "memory": "512Mi"}}
    with KubeCluster(address=server.url, n_workers=1, resources=wanted, env={"TEAM": "ice"}, quiet=True) as cluster:
        with Client(cluster) as client:
            client.wait_for_workers(1, timeout=60)
            assert client.submit(os.getenv, "TEAM").result(timeout=60) == "ice"
        with Gateway(server.url) as gateway:
            assert gateway.get_cluster(cluster.name).options["worker_memory"] == 0.5
            with KubeCluster.from_name(cluster.name, address=server.url) as again:
                assert again.name == cluster.name
            assert gateway.get_cluster(cluster.name).status == "running"
        with pytest.raises(ValueError, match="worker_group='gpu': the workers of a cluster here are all of one kind"):
            cluster.scale(2, worker_group="gpu")
        for change in (cluster.add_worker_group, cluster.delete_worker_group):
            with pytest.raises(NotImplementedError, match=r"_worker_group\('gpu'\): .+ Take two clusters"):
                change("gpu", n_workers=2)
    with Gateway(server.url) as gateway:
        until(lambda: gateway.list_clusters() == [], "it ends when the block is left")


def test_what_nobody_can_choose_here_is_said_and_nothing_is_left_behind(server: LiveServer) -> None:
    with pytest.raises(ValueError, match="nobody chooses image here: this site's options are worker_cores"):
        KubeCluster(address=server.url, image="a/b:1", quiet=True)
    with Gateway(server.url) as gateway:
        assert gateway.list_clusters() == []


@pytest.mark.parametrize("name", [name for name, keyword in KEYWORDS.items() if not keyword.works])
def test_a_keyword_that_means_nothing_here_is_refused_with_what_takes_its_place(name: str) -> None:
    arguments: dict[str, Any] = {name: "dask cuda worker"}
    with pytest.raises(TypeError, match=rf"KubeCluster\(\.\.\., {name}=\.\.\.\): .+\. (Instead: |Leave it out)"):
        KubeCluster(address="http://127.0.0.1:1", **arguments)


def test_an_unknown_keyword_is_refused_with_those_that_work() -> None:
    with pytest.raises(TypeError, match="no keyword 'n_wokers'; those that work here: image, n_workers"):
        KubeCluster(address="http://127.0.0.1:1", n_wokers=3)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500m", 0.5),
        ("2", 2),
        (3, 3),
        ("6G", 6e9),
        ("6Gi", 6 * 2**30),
        ("1.5Ki", 1536),
        (".5", 0.5),
        ("1e", None),
        ("6 GB", None),
        (True, None),
    ],
)
def test_quantities_are_those_of_kubernetes(text: Any, value: float | None) -> None:
    if value is None:
        with pytest.raises(ValueError, match="must be a quantity of Kubernetes"):
            quantity(text)
    else:
        assert quantity(text) == value


def test_a_size_is_the_limit_and_what_only_a_site_can_give_is_refused() -> None:
    assert size_of({"requests": {"cpu": "1500m"}, "limits": {"cpu": "1.5", "memory": "6Gi"}}) == {
        "worker_cores": 1.5,
        "worker_memory": 6.0,
    }
    with pytest.raises(ValueError, match="give the limit only"):
        size_of({"requests": {"memory": "2Gi"}, "limits": {"memory": "64Gi"}})
    with pytest.raises(ValueError, match=r"nvidia\.com/gpu cannot be asked for here"):
        size_of({"limits": {"nvidia.com/gpu": 1}})
    with pytest.raises(ValueError, match="'requests' and 'limits'"):
        size_of({"cpu": 2})


def test_variables_are_a_mapping_or_kubernetes_list() -> None:
    assert variables_of([{"name": "A", "value": "1"}, {"name": "B"}]) == {"A": "1", "B": ""}
    with pytest.raises(ValueError, match="takes its value from Kubernetes"):
        variables_of([{"name": "A", "valueFrom": {}}])


def test_a_sites_own_names_for_image_and_variables_are_found() -> None:
    offered = [
        Option("environment", OptionType.STRING, ""),
        Option("env", OptionType.MAPPING, {}),
        Option("worker_image", OptionType.STRING, ""),
        Option("worker_cores", OptionType.INT, 1),
    ]
    wanted = {"image": "a/b:1", "variables": {"A": "1"}, "worker_cores": 2.0}
    found = chosen(offered, wanted)
    assert found == {"worker_image": "a/b:1", "env": {"A": "1"}, "worker_cores": 2}
    assert isinstance(found["worker_cores"], int)
