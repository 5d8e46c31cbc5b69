"""Anonymous sessions, as BinderHub makes them: each computes with the image of its session, within tight limits, and
what it started ends with it when the culler deletes its user.

The configuration is that of docs/examples/binder, with other numbers where waiting an hour would prove no more.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dask_sluice.server.settings import load

from ..chart.hub.hub import documented
from ..kubernetes.site import merged
from ..live import until
from .conftest import Pair, running_pair
from .hub import ROOT, SERVICE
from .notebook import Notebook

pytestmark = pytest.mark.real
EXAMPLE = ROOT / "docs" / "examples" / "binder"
BINDER = "token-of-binder"
AUDITOR = "token-of-the-auditor"
"""A service of the hub, which is an administrator here: nobody else is left when a session is gone."""
IMAGE = "registry.example.org/binder/xarray:1f2e3d"

# BinderHub's spawner takes the image from what it is asked for; a process stands for the pod.
LOCAL = f"""
import os
from jupyterhub.spawner import SimpleLocalProcessSpawner
from traitlets import Unicode

class SessionSpawner(SimpleLocalProcessSpawner):
    image = Unicode()

    async def start(self):
        self.image = self.user_options["image"]
        return await super().start()

c.JupyterHub.spawner_class = SessionSpawner
c.Spawner.environment = {{{{
    **c.Spawner.environment,
    "PYTHONPATH": {str(ROOT / "src")!r},
    "DASK_SLUICE__CLUSTER__OPTIONS__ENVIRONMENT": sys.prefix,
}}}}
c.JupyterHub.services.append({{{{"name": "auditor", "api_token": {AUDITOR!r}}}}})
c.JupyterHub.load_roles.append(
    {{{{"name": "auditor", "services": ["auditor"], "scopes": ["access:services!service=dask-gateway"]}}}}
)
os.environ.update(BINDER_TOKEN={BINDER!r}, DASK_SLUICE_HUB_URL="{{server_url}}", DASK_SLUICE_HUB_TOKEN={SERVICE!r})
load_subconfig("{{directory}}/binder_config.py")
"""


def settings() -> dict[str, Any]:
    """Those of the example, for processes of this machine, which have no image: a variable shows what it would be."""
    given: dict[str, Any] = yaml.safe_load((EXAMPLE / "sluice.yaml").read_text())
    del given["authenticator"], given["listen"]
    given["options"]["image"]["sets"] = {"variables": {"SESSION_IMAGE": "{options.image}"}}
    return given


@pytest.fixture(scope="module")
def binder(hub_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    directory = tmp_path_factory.mktemp("binder")
    (directory / "hub").mkdir()
    config = (EXAMPLE / "jupyterhub_config.py").read_text()
    config = config.replace("--cull-every=60", "--cull-every=5").replace("--max-age=21600", "--max-age=60")
    (directory / "hub" / "binder_config.py").write_text(config)
    with running_pair(hub_python, directory, LOCAL, settings()) as pair:
        yield pair


def test_the_example_is_a_configuration_without_mistakes(tmp_path: Path) -> None:
    file = tmp_path / "sluice.yaml"
    file.write_text((EXAMPLE / "sluice.yaml").read_text() + "backend: {kind: fake}\n")  # one that runs images
    loaded = load(file)
    assert loaded.leases.notebook == "always"
    assert loaded.authenticator.jupyterhub.require_scope


def test_the_values_for_kubernetes_say_the_same() -> None:
    values = merged(documented("dask-sluice"), documented("dask-sluice for binder"))["config"]
    example = yaml.safe_load((EXAMPLE / "sluice.yaml").read_text())
    assert values.keys() == example.keys()
    assert [key for key in example if values[key] != example[key]] == ["authenticator"], "which the chart knows"
    assert values["authenticator"]["jupyterhub"]["hub_admins"] is False


def test_a_session_computes_within_its_limits_and_leaves_nothing_behind(binder: Pair) -> None:
    user = f"xarray-tutorial-{secrets.token_hex(4)}"
    binder.hub.api("POST", f"/users/{user}", BINDER)
    binder.hub.api("POST", f"/users/{user}/server", BINDER, json={"image": IMAGE})
    until(lambda: binder.hub.server_of(user).get("ready"), f"the session runs: {binder.hub.log[-2000:]}")
    session = Notebook(binder.hub, user)
    name = session.run(
        "import atexit, os\n"
        "from dask_sluice import Gateway\n"
        "gateway = Gateway()\n"
        "cluster = gateway.new_cluster(shutdown_on_close=False)\n"
        "print(cluster.name)"
    ).strip()
    session.run("cluster.scale(1)\nclient = cluster.get_client()")
    image = session.run("print(client.submit(lambda: __import__('os').environ['SESSION_IMAGE']).result())").strip()
    assert image == IMAGE
    refused = session.run("try:\n    gateway.new_cluster()\nexcept Exception as error:\n    print(error)")
    assert "limits.user.clusters" in refused
    kept = session.run("try:\n    cluster.keep_alive('2h')\nexcept Exception as error:\n    print(error)")
    assert "leases.keep_alive_max_s" in kept

    until(lambda: user not in names(binder), "the culler has deleted the session's user")
    until(lambda: state_of(binder, name, AUDITOR) == ("stopped", "notebook_ended"), "its cluster has ended")
    directory = binder.server.data_dir / "clusters" / name
    pids = [int(file.read_text().split()[0]) for file in directory.glob("*.pid")]
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


def names(pair: Pair) -> set[str]:
    return {user["name"] for user in pair.hub.api("GET", "/users")}


def state_of(pair: Pair, name: str, token: str) -> tuple[str, str]:
    cluster = pair.ask(token, f"/api/v2/clusters/{name}").json()
    return cluster["state"], cluster["reason"]["code"]
