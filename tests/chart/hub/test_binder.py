"""Binder on Kubernetes: anonymous users whom BinderHub makes by the hub's API, each with the image of their session,
and the values of docs/jupyterhub.md. Sessions compute with their image, within tight limits that say so, and nothing is
left of what they started once their pod is gone, whatever ended it.

A service of the hub with BinderHub's scopes stands for BinderHub; tests/hub/test_binder.py has the culler.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from ...hub.notebook import Notebook
from ...kubernetes.faults import objects
from ...kubernetes.kube import Kube, until
from ...kubernetes.site import merged
from ..release import RESTRICTED
from .hub import HubRelease, documented, sluice_beside
from .images import Images

pytestmark = [pytest.mark.real, pytest.mark.slow]
# As BinderHub's: the image is what the launch says. The hub looks at pods often, since waiting longer shows no more.
SPAWNER = """
from kubespawner import KubeSpawner

class BinderSpawner(KubeSpawner):
    async def start(self):
        self.image = self.user_options["image"]
        return await super().start()

c.JupyterHub.spawner_class = BinderSpawner
c.KubeSpawner.poll_interval = 1
"""
BINDER = {
    "hub": {
        "config": {"JupyterHub": {"authenticator_class": "null", "load_groups": {}}},
        "services": {"binder": {}, "auditor": {}},
        "loadRoles": {
            "binder": {"services": ["binder"], "scopes": ["servers", "admin:users", "access:servers"]},
            # Nobody else is left to ask when a session is gone: an administrator of ours.
            "auditor": {"services": ["auditor"], "scopes": ["access:services!service=dask-gateway"]},
        },
        "extraConfig": {"0-binder": SPAWNER},
    },
    "singleuser": {"profileList": []},
}
CLUSTER = """
from {client} import Gateway
gateway = Gateway()
cluster = gateway.new_cluster(shutdown_on_close=False)
cluster.scale(1)
client = cluster.get_client()
print(cluster.name)
"""
TRIED = """
import warnings
warnings.simplefilter("error", UserWarning)
try:
    {}
except Exception as error:
    print(error)
"""


@dataclass(frozen=True)
class Session:
    """What one anonymous user has."""

    user: str
    notebook: Notebook

    def cluster(self, client: str) -> str:
        """The name of a new one with a worker, which the session would rather keep."""
        return self.notebook.run(CLUSTER.format(client=client)).strip()

    def says_why_not(self, code: str) -> str:
        """With which words this is refused."""
        return self.notebook.run(TRIED.format(code))


class Binder:
    """A hub as BinderHub has it, with a release of ours beside."""

    def __init__(self, hub: HubRelease) -> None:
        self.hub, self.api, self.auditor = hub, hub.service_named("binder"), hub.service_named("auditor")

    def launch(self, image: str) -> Session:
        user = f"xarray-tutorial-{secrets.token_hex(4)}"
        self.api.add_user(user)
        self.api.start_server(user, options={"image": image})
        return Session(user, Notebook(self.api, user))

    def pod_dies(self, user: str) -> None:
        selector = f"component=singleuser-server,hub.jupyter.org/username={user}"
        self.hub.kube.run("-n", self.hub.namespace, "delete", "pod", "-l", selector, "--force", "--grace-period=0")
        until(lambda: not self.api.server_of(user), f"the hub has seen that the pod of {user} is gone")

    def cull(self, user: str) -> None:
        """As the culler does it, with `cull.users`."""
        self.api.stop_server(user)
        self.api.api("DELETE", f"/users/{user}")

    def images_of(self, cluster: str) -> set[str]:
        pods = self.hub.kube.items(self.hub.namespace, "pods", f"gateway.dask.org/cluster={cluster}")
        return {pod["spec"]["containers"][0]["image"] for pod in pods}

    def objects(self) -> set[str]:
        return objects(self.hub.kube, self.hub.namespace)


@pytest.fixture(scope="module")
def binder(kube: Kube, image_name: str, images: Images, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Binder]:
    with kube.namespace("sluice-binder", **RESTRICTED) as namespace:
        hub = HubRelease(kube, namespace, images, tmp_path_factory.mktemp("binder"))
        hub.values = merged(hub.values, BINDER)
        hub.install()
        sluice = sluice_beside(kube, namespace, image_name)
        sluice.values = merged(sluice.values, documented("dask-sluice for binder"))
        ours = {
            "backend": {"kubernetes": {"image": ""}},
            "policy": {"images": {"allowed": ["registry.test/hub-*"]}},
            "authenticator": {"admins": ["service:auditor"]},
        }
        sluice.values = merged(sluice.values, {"config": ours})
        hub.install_beside(sluice)
        yield Binder(hub)


def test_a_session_gets_no_more_than_the_limits_and_is_told_which(binder: Binder, images: Images) -> None:
    session = binder.launch(images.ours)
    session.notebook.run("from dask_sluice import Gateway\ngateway = Gateway()")
    foreign = session.says_why_not("gateway.new_cluster(image='registry.example.org/other:1')")
    assert "registry.example.org/other:1" in foreign
    assert "registry.test/hub-*" in foreign, "what is allowed"
    assert "worker_memory" in session.says_why_not("gateway.new_cluster(worker_memory=64)")
    name = session.cluster("dask_sluice")
    assert "limits.user.clusters" in session.says_why_not("gateway.new_cluster()")
    assert "limits.cluster.workers" in session.says_why_not("cluster.scale(5)")
    assert "leases.keep_alive_max_s" in session.says_why_not("cluster.keep_alive('2h')")
    assert binder.auditor.ask(f"/api/v2/clusters/{name}").json()["owner"] == session.user
    binder.cull(session.user)
    assert binder.auditor.ended(name) == "notebook_ended"


@pytest.mark.parametrize(
    ("image", "client", "ends"),
    [("ours", "dask_sluice", Binder.pod_dies), ("stock", "dask_gateway", Binder.cull)],
    ids=["its pod dies", "it is culled"],
)
def test_a_session_computes_with_its_image_sees_nobody_elses_and_leaves_nothing(
    binder: Binder, images: Images, image: str, client: str, ends: Callable[[Binder, str], None]
) -> None:
    before = binder.objects()
    session, other = binder.launch(getattr(images, image)), binder.launch(images.ours)
    name = session.cluster(client)
    assert session.notebook.run("print(client.submit(sum, [20, 22]).result())").strip() == "42"
    assert binder.images_of(name) == {getattr(images, image)}
    assert other.notebook.run("from dask_sluice import Gateway\nprint(Gateway().list_clusters())").strip() == "[]"
    binder.cull(other.user)
    ends(binder, session.user)
    assert binder.auditor.ended(name) == "notebook_ended"
    until(lambda: binder.objects() == before, "nothing is left of the session")
