"""The chart in a real Kubernetes, in a namespace that enforces Pod Security `restricted`: it installs, `helm test`
passes, and neither upgrades nor the death of pods take from users what they compute.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from distributed import Client

from dask_sluice import BasicAuth, Gateway

from ..conftest import not_here
from ..kubernetes.kube import Kube, until
from ..kubernetes.site import merged
from .release import Release, computing

# Packages of the image of clusters differ in their last digit from those of the tests.
pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore:Mismatched versions")]


@asynccontextmanager
async def asking(address: str) -> AsyncIterator[None]:
    """Ask the API all the while, each time on a new connection; every question must be answered."""
    base, _, token = address.partition("/?token=")
    answers: list[int | str] = []

    async def ask() -> None:
        while True:
            try:
                async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=30) as client:
                    header = {"Authorization": f"Bearer {token}"}
                    answers.append((await client.get("/api/v2/clusters", headers=header)).status_code)
            except httpx.HTTPError as error:
                answers.append(repr(error))
            await asyncio.sleep(0.05)

    task = asyncio.create_task(ask())
    try:
        yield
    finally:
        task.cancel()
    assert len(answers) > 10
    assert set(answers) == {200}, answers


def test_it_installs_with_an_sqlite_file_and_helm_test_passes(release: Release) -> None:
    release.install()
    said = release.test()
    steps = ("server", "login", "scheduler", "proxy", "worker", "compute", "dashboard", "stop")
    assert [step for step in steps if f"{step} " not in said] == []
    assert "everything works" in said
    warnings = release.kube.run("-n", release.namespace, "get", "events", "--field-selector", "reason=FailedCreate")
    assert "violates PodSecurity" not in warnings


@pytest.fixture
def volume(kube: Kube, release: Release) -> Iterator[str]:
    """A claim in the release's namespace, bound to a folder of the node, which here is this machine."""
    if kube.directory is None:
        not_here("a folder on the node of the cluster of KUBECONFIG")
    with tempfile.TemporaryDirectory(prefix="sluice-volume-") as folder:
        Path(folder).chmod(0o777)
        about = {"name": release.namespace}
        spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": ""}
        size = {"storage": "1Gi"}
        persistent = {**spec, "capacity": size, "hostPath": {"path": folder}}
        claim = {**spec, "resources": {"requests": size}, "volumeName": release.namespace}
        kube.apply(
            release.namespace,
            {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": about, "spec": persistent},
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": about, "spec": claim},
        )
        yield release.namespace
        kube.run("delete", "persistentvolume", release.namespace, "--wait=false")


@pytest.mark.slow
async def test_with_an_sqlite_file_on_a_claim_clusters_outlive_the_only_server(release: Release, volume: str) -> None:
    release.values["server"]["data"] = {"existingClaim": volume}
    release.install()
    async with computing(release.address) as client:
        connection = client.scheduler_comm
        await asyncio.to_thread(release.kill, "server")
        assert await client.submit(sum, [3, 4]) == 7
        release.values["config"]["limits"] = {"cluster": {"workers": 2}}
        await asyncio.to_thread(release.install)  # replaces the server
        async with Gateway(release.address, asynchronous=True) as gateway:
            listed: Any = gateway.list_clusters()
            (cluster,) = await listed
            await gateway.scale_cluster(cluster.name, 2)
            await client.wait_for_workers(2, timeout=120)
        assert client.scheduler_comm is connection


@pytest.mark.slow
async def test_several_servers_are_upgraded_and_rolled_back_while_users_compute_and_nothing_is_cut(
    release: Release, database: str
) -> None:
    release.values["config"]["database"] = {"url": database}
    release.values["server"]["replicas"] = 2
    release.install()
    async with computing(release.address) as client:
        connection = client.scheduler_comm
        kept = await client.scatter([1, 2, 3])
        before = {component: set(release.pods(component)) for component in ("server", "proxy")}
        pods = set(release.pods_of_clusters())
        # A setting of both: servers and proxies are all made anew.
        release.values["config"]["log"] = {"level": "debug"}
        async with asking(release.address):
            await asyncio.to_thread(release.install)
            assert await client.submit(sum, kept) == 6
        for component, names in before.items():
            assert not names & set(release.pods(component)), f"the upgrade replaced every {component}"
        assert client.scheduler_comm is connection, "the old proxy carries it on"
        assert await client.submit(sum, [3, 4]) == 7
        await client.publish_dataset(kept=kept)
        async with asking(release.address):
            await asyncio.to_thread(release.rollback)
        assert set(release.pods_of_clusters()) == pods, "and back again"
        async with Gateway(release.address, asynchronous=True) as gateway:
            listed: Any = gateway.list_clusters()
            (cluster,) = await listed
            async with await gateway.connect(cluster.name) as same, Client(same, asynchronous=True) as again:
                assert await again.gather(await again.get_dataset("kept")) == [1, 2, 3]


@pytest.fixture
def namespaces_of_users(kube: Kube, release: Release) -> Iterator[dict[str, str]]:
    """By user; each enforces Pod Security `restricted`."""
    theirs = {user: f"{release.namespace}-{user}" for user in ("ada", "grace")}
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    for name in theirs.values():
        metadata = {"name": name, "labels": labels}
        kube.apply(name, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    yield theirs
    for name in theirs.values():
        kube.run("delete", "namespace", name, "--wait=false")


@pytest.mark.slow
async def test_each_user_computes_in_a_namespace_of_their_own(
    release: Release, namespaces_of_users: dict[str, str]
) -> None:
    password = "of them both"
    own = {
        "authenticator": {"kind": "basic", "basic": {"password": password}},
        "backend": {"kubernetes": {"namespace": f"{release.namespace}-{{user.escaped}}"}},
    }
    release.values["config"] = merged(release.values["config"], own)
    release.values["rbac"] = {"namespaces": list(namespaces_of_users.values())}
    release.install()
    address = release.address.partition("/?")[0]
    for user, namespace in namespaces_of_users.items():
        auth = BasicAuth(user, password)
        async with Gateway(address, auth=auth, asynchronous=True) as gateway, await gateway.new_cluster() as cluster:
            await cluster.scale(1)
            async with Client(cluster, asynchronous=True, set_as_default=False) as client:
                assert await client.submit(sum, [1, 2]) == 3
            its = f"gateway.dask.org/cluster={cluster.name}"
            found = {name: len(release.kube.items(name, "pods", its)) for name in namespaces_of_users.values()}
            assert found == {name: 2 if name == namespace else 0 for name in found}
    for namespace in namespaces_of_users.values():
        until(partial(gone, release.kube, namespace), "they are gone")
    assert release.pods_of_clusters() == []


def gone(kube: Kube, namespace: str) -> bool:
    """Whether no pod is there."""
    return not kube.items(namespace, "pods")


async def test_settings_that_would_not_start_a_server_end_none(release: Release) -> None:
    release.install()
    before = release.pods("server")
    release.values["config"]["policy"]["defaults"]["worker"] = {"cores": 2}
    said = await asyncio.to_thread(release.upgrade_fails)
    assert "policy.defaults.worker.cores: users see the default of the option worker_cores" in said
    assert release.pods("server") == before
