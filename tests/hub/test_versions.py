"""The oldest hub whose tokens have scopes lets its users in like the newest."""

from __future__ import annotations

from pathlib import Path

import pytest

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
            .run(
                "from dask_sluice import Gateway\n"
                "import atexit\n"
                "cluster = Gateway().new_cluster()\n"
                "atexit._clear()\n"
                "print(cluster.name)"
            )
            .strip()
        )
        plan = old.ask(old.hub.token("ada"), "/api/v2/clusters?dry_run=true", "POST", json={}).json()
        assert sorted(plan["groups"]) == ["class", "lab"]
        # Tokens do not name their server there, so nothing ends with it but by the leases.
        assert old.ask(old.hub.token("ada"), f"/api/v2/clusters/{name}").json()["state"] == "running"
