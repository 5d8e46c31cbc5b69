"""A notebook server computes with nothing but what the hub's extension put into its environment, and takes its clusters
with it when it ends, unless its user asked for something else.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..live import KILLED
from .conftest import Pair
from .notebook import Notebook

pytestmark = pytest.mark.real

OURS = """
from dask_sluice import Gateway
gateway = Gateway()
cluster = gateway.new_cluster(shutdown_on_close={shutdown})
cluster.scale(1)
client = cluster.get_client()
"""
COMPUTE = """
import os, sys
print(client.submit(lambda: (sum(range(100)), os.environ.get("SCRATCH_BUCKET"), sys.version_info[:2])).result())
"""
THEIRS = """
from dask_gateway import Gateway
gateway = Gateway()
cluster = gateway.new_cluster()
cluster.scale(1)
client = cluster.get_client()
"""


@pytest.fixture
def notebook(pair: Pair) -> Iterator[Notebook]:
    pair.hub.start_server("ada")
    yield Notebook(pair.hub, "ada")
    if pair.hub.server_of("ada"):
        pair.hub.stop_server("ada")
    token = pair.hub.token("ada")
    for cluster in pair.ask(token, "/api/v2/clusters").json():
        pair.ask(token, f"/api/v2/clusters/{cluster['name']}", "DELETE")


def test_our_client_computes_through_the_hubs_address_and_the_cluster_ends_with_the_server(
    pair: Pair, notebook: Notebook
) -> None:
    notebook.run(OURS.format(shutdown=True))
    assert notebook.run(COMPUTE).startswith("(4950, 's3://scratch', ")
    assert notebook.run("print(client.scheduler.address)").startswith("sluice://127.0.0.1:")
    assert notebook.run("print(cluster.dashboard_link)").startswith(f"{pair.hub.prefix}/clusters/")
    name = notebook.run(f"{KILLED}print(cluster.name)").strip()

    pair.hub.stop_server("ada")
    assert pair.ended(name) == "notebook_ended"


def test_dask_gateways_own_client_computes_and_its_cluster_ends_with_the_server(pair: Pair, notebook: Notebook) -> None:
    notebook.run(THEIRS)
    assert notebook.run("print(client.submit(sum, [1, 2, 3]).result())").strip() == "6"
    name = notebook.run(f"{KILLED}print(cluster.name)").strip()
    pair.hub.stop_server("ada")
    assert pair.ended(name) == "notebook_ended"


def test_a_cluster_that_is_to_outlive_its_notebook_server_does(pair: Pair, notebook: Notebook) -> None:
    notebook.run(OURS.format(shutdown=False))
    kept = notebook.run("print(cluster.name)").strip()
    ends = notebook.run(f"other = gateway.new_cluster()\n{KILLED}print(other.name)").strip()
    pair.hub.stop_server("ada")
    assert pair.ended(ends) == "notebook_ended"
    assert pair.ask(pair.hub.token("ada"), f"/api/v2/clusters/{kept}").json()["state"] == "running"


def test_only_the_clusters_of_the_server_that_ends_end(pair: Pair, notebook: Notebook) -> None:
    pair.hub.start_server("ada", "second")
    second = Notebook(pair.hub, "ada", "second")
    of_first = notebook.run(OURS.format(shutdown=True) + "print(cluster.name)").strip()
    of_second = second.run(OURS.format(shutdown=True) + KILLED + "print(cluster.name)").strip()
    by_hand = pair.ask(pair.hub.token("ada"), "/api/v2/clusters", "POST", json={}).json()["name"]
    pair.hub.stop_server("ada", "second")
    assert pair.ended(of_second) == "notebook_ended"
    for name in (of_first, by_hand):
        assert pair.ask(pair.hub.token("ada"), f"/api/v2/clusters/{name}").json()["state"] in ("starting", "running")
