"""Older hubs let their users in like the newest, down to the oldest whose tokens have roles."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ..live import KILLED
from .conftest import CONFIG, hub_environment, running_pair
from .notebook import Notebook

pytestmark = pytest.mark.real
# Tokens have roles there; scopes of their own came with 3.0.
READER = """
c.JupyterHub.load_roles.append({{"name": "reader", "scopes": ["read:users:name!user"]}})
"""


def test_jupyterhub_2_lets_its_users_in_and_its_notebooks_get_clusters(tmp_path: Path) -> None:
    with running_pair(hub_environment("hub-2"), tmp_path, CONFIG + READER) as old:
        assert old.ask(old.hub.token("ada")).json()["user"] == "ada"
        assert old.ask(old.hub.token("root")).json()["is_admin"]
        reader = old.hub.api("POST", "/users/ada/tokens", json={"roles": ["reader"]})["token"]
        assert old.ask(reader).status_code == 403
        assert old.ask("a-guess").status_code == 401
        old.hub.start_server("ada")
        name = (
            Notebook(old.hub, "ada")
            .run(f"from dask_sluice import Gateway\ncluster = Gateway().new_cluster()\n{KILLED}print(cluster.name)")
            .strip()
        )
        plan = old.ask(old.hub.token("ada"), "/api/v2/clusters?dry_run=true", "POST", json={}).json()
        assert sorted(plan["groups"]) == ["class", "lab"]
        # Tokens do not name their server there, so nothing ends with it but by the leases.
        assert old.ask(old.hub.token("ada"), f"/api/v2/clusters/{name}").json()["state"] == "running"


@pytest.mark.parametrize(("name", "names_server"), [("hub-3", False), ("hub-4", True), ("hub-5", True)])
@pytest.mark.skipif(not os.environ.get("SLUICE_ALL_VERSIONS"), reason="`make versions` runs it with each JupyterHub")
def test_with_every_jupyterhub_since_3_both_clients_compute_and_since_4_clusters_end_with_their_notebook(
    name: str, names_server: bool, tmp_path: Path
) -> None:
    with running_pair(hub_environment(name), tmp_path, CONFIG) as pair:
        scope = "access:services!service=dask-gateway"
        assert pair.ask(pair.hub.token("ada", scope)).json()["user"] == "ada"
        assert pair.ask(pair.hub.token("ada", "read:users!user=ada")).status_code == 403
        assert pair.ask(pair.hub.token("root")).json()["is_admin"]
        pair.hub.start_server("ada")
        notebook = Notebook(pair.hub, "ada")
        clusters = []
        for client in ("dask_sluice", "dask_gateway"):
            notebook.run(f"from {client} import Gateway\ncluster = Gateway().new_cluster()\ncluster.scale(1)")
            notebook.run("client = cluster.get_client()")
            assert notebook.run("print(client.submit(sum, [1, 2, 3]).result())").strip() == "6"
            clusters.append(notebook.run(f"{KILLED}kept = client; print(cluster.name)").strip())
            notebook.run(f"{client}_holds = cluster, client")  # for what is forgotten ends
        pair.hub.stop_server("ada")
        if names_server:
            assert [pair.ended(cluster) for cluster in clusters] == ["notebook_ended"] * 2
        else:  # tokens name their server since 4.0; before, nothing ends but by the leases
            views = [pair.ask(pair.hub.token("ada"), f"/api/v2/clusters/{cluster}").json() for cluster in clusters]
            assert [view["state"] for view in views] == ["running"] * 2
