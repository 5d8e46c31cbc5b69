"""A namespace for each user: with the rights that the page lists, for all namespaces; one that is missing is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from dask_sluice.server.backends import kubernetes
from dask_sluice.server.backends.kubernetes.backend import KubernetesBackend
from dask_sluice.server.backends.kubernetes.settings import KubernetesSettings
from dask_sluice.server.backends.protocol import Refused
from dask_sluice.server.clock import SystemClock

from ..server.backends.conformance import remove_all, running, submit
from .harness import KubernetesHarness, job, player
from .kube import Kube, until

GROUP = "rbac.authorization.k8s.io"


@pytest.fixture
def everywhere(kube: Kube, namespace: str) -> Iterator[None]:
    """The server's rights in all namespaces, as `rbac.clusterWide` gives them."""
    rules = json.loads((Path(kubernetes.__file__).parent / "rights.json").read_text())
    about = {"name": namespace}
    account = {"kind": "ServiceAccount", "name": "dask-sluice", "namespace": namespace}
    role = {"apiGroup": GROUP, "kind": "ClusterRole", "name": namespace}
    kube.apply(
        namespace,
        {"apiVersion": f"{GROUP}/v1", "kind": "ClusterRole", "metadata": about, "rules": rules},
        {
            "apiVersion": f"{GROUP}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": about,
            "roleRef": role,
            "subjects": [account],
        },
    )
    yield
    kube.run("delete", "clusterrolebinding,clusterrole", namespace)


class PerUser(KubernetesHarness):
    """A backend with a namespace for each user."""

    def _new(self) -> KubernetesBackend:
        settings = KubernetesSettings(namespace=f"{self.namespace}-{{user.escaped}}", instance=self.namespace)
        return KubernetesBackend(settings, self.store.kept_logs(SystemClock()), access=self.access, agent=player())


@pytest.mark.usefixtures("everywhere")
async def test_each_users_pods_are_in_their_own_namespace_and_one_that_is_missing_is_named(
    kube: Kube, namespace: str, tmp_path: Path
) -> None:
    theirs = [f"{namespace}-ada", f"{namespace}-bob"]
    harness = PerUser(kube, namespace, tmp_path)
    for name in theirs:
        kube.run("create", "namespace", name)
        until(partial(kube.run, "-n", name, "get", "serviceaccount", "default", check=False), "a service account")
    try:
        await harness.backend.start()
        for number, (user, name) in enumerate(zip(("ada", "bob"), theirs, strict=True)):
            handles = await running(harness, job(f"c{number}", "scheduler", "stay", owner=user))
            assert [pod["metadata"]["name"] for pod in kube.items(name, "pods")] == [handles[0].data["pod"]]
            found = await harness.backend.recover()
            assert [handle.data["namespace"] for handle in found] == [name]
            await remove_all(harness.backend, handles)
            assert kube.items(name, "pods") == []
        with pytest.raises(
            Refused, match=f'the namespace "{namespace}-eve" not found: an administrator has to make it'
        ):
            await submit(harness.backend, job("c9", "scheduler", "stay", owner="eve"))
        await harness.close()
    finally:
        for name in theirs:
            kube.run("delete", "namespace", name, "--wait=false")
