"""Whoever may administer one namespace, and no more, installs the chart, upgrades it and takes it away. Nothing comes
to be outside of the namespace, what others have in it stays as it is, and our server may do no more than the documents
say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dask_sluice.server.backends.kubernetes.access import from_service_account

from ..kubernetes.faults import objects
from ..kubernetes.kube import Kube, until
from ..kubernetes.site import kubeconfig
from .helm import NAME, rendered, rights
from .release import Release

INSTALLER = "installer"
RBAC = "rbac.authorization.k8s.io"
OF_KUBERNETES = {
    *("v1 ConfigMap", "v1 PersistentVolumeClaim", "v1 Pod", "v1 Secret", "v1 Service", "v1 ServiceAccount"),
    *("apps/v1 Deployment", "batch/v1 Job", "networking.k8s.io/v1 NetworkPolicy", "policy/v1 PodDisruptionBudget"),
    *(f"{RBAC}/v1 Role", f"{RBAC}/v1 RoleBinding"),
}
"""Kinds that every Kubernetes has, all of them in namespaces."""
SOMEBODY_ELSES: tuple[dict[str, Any], ...] = (
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "traefik", "labels": {"app.kubernetes.io/name": "traefik"}},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app.kubernetes.io/name": "traefik"}},
            "template": {
                "metadata": {"labels": {"app.kubernetes.io/name": "traefik"}},
                "spec": {"containers": [{"name": "traefik", "image": "registry.test/traefik:3"}]},
            },
        },
    },
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "traefik"},
        "spec": {"selector": {"app.kubernetes.io/name": "traefik"}, "ports": [{"port": 80}]},
    },
    {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "hub"},
        "spec": {
            "ingressClassName": "traefik",
            "defaultBackend": {"service": {"name": "traefik", "port": {"number": 80}}},
        },
    },
    {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "traefik"},
        "spec": {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "traefik"}}, "policyTypes": ["Ingress"]},
    },
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "traefik"}, "data": {"traefik.yaml": "log: {}"}},
)


def test_only_kinds_that_every_kubernetes_has_are_made_and_all_in_its_namespace() -> None:
    found = {f"{each['apiVersion']} {each['kind']}" for each in rendered({})}
    assert found <= OF_KUBERNETES
    assert {each["metadata"].get("namespace", "dask") for each in rendered({})} == {"dask"}


@pytest.fixture
def administrated(kube: Kube, release: Release, tmp_path: Path) -> Iterator[Release]:
    """Helm is run by an account with the role `admin` in the release's namespace, and nothing else."""
    about = {"name": INSTALLER, "namespace": release.namespace}
    kube.apply(
        release.namespace,
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": about},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": about,
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "admin"},
            "subjects": [{"kind": "ServiceAccount", **about}],
        },
    )
    (tmp_path / "namespace").write_text(release.namespace)
    (tmp_path / "token").write_text(kube.run("-n", release.namespace, "create", "token", INSTALLER).strip())
    authority = ("-n", release.namespace, "get", "configmap", "kube-root-ca.crt", "-o", r"jsonpath={.data.ca\.crt}")
    (tmp_path / "ca.crt").write_text(kube.run(*authority))
    release.kubeconfig = kubeconfig(from_service_account(tmp_path, kube.access.server), tmp_path)
    assert granted(kube, release.namespace, INSTALLER, "default") == {}, "its rights end with its namespace"
    yield release


def granted(kube: Kube, namespace: str, account: str, where: str) -> dict[str, set[str]]:
    """What an account may do in a namespace that one without any rights may not: verbs by resource."""

    def listed(name: str) -> dict[str, set[str]]:
        of = ("auth", "can-i", "--list", "--no-headers", f"--as=system:serviceaccount:{namespace}:{name}", "-n", where)
        rows = re.findall(r"^(\S*) .*\[([^]]*)\]\s*$", kube.run(*of), re.MULTILINE)
        return {resource: set(verbs.split()) for resource, verbs in rows if resource}

    anybody = listed("default")
    return {resource: verbs for resource, verbs in listed(account).items() if verbs != anybody.get(resource)}


def as_they_are(kube: Kube, namespace: str) -> list[dict[str, Any]]:
    """What is somebody else's, but for what Kubernetes says of it."""
    found = []
    for each in SOMEBODY_ELSES:
        shown = json.loads(kube.run("-n", namespace, "get", each["kind"], each["metadata"]["name"], "-o", "json"))
        metadata = {key: shown["metadata"].get(key) for key in ("uid", "generation", "labels", "ownerReferences")}
        found.append({**shown, "metadata": metadata, "status": None})
    return found


@pytest.mark.real
@pytest.mark.slow
def test_an_administrator_of_one_namespace_installs_upgrades_and_uninstalls_it_beside_what_others_have(
    kube: Kube, administrated: Release
) -> None:
    release, namespace = administrated, administrated.namespace
    kube.apply(namespace, *SOMEBODY_ELSES)
    until(lambda: "status" in kube.items(namespace, "deployments")[0], "Kubernetes has seen them")
    before, there = as_they_are(kube, namespace), objects(kube, namespace)
    release.install()
    assert "everything works" in release.test()

    listed = {
        ".".join(filter(None, (resource, *rule["apiGroups"]))): set(rule["verbs"])
        for rule in rights()
        for resource in rule["resources"]
    }
    assert granted(kube, namespace, f"{NAME}-server", namespace) == listed
    assert "secrets" in listed and listed["secrets"] == {"create"}, "none can be read, and none listed"
    for elsewhere in ("default", "kube-system"):
        assert granted(kube, namespace, f"{NAME}-server", elsewhere) == {}

    release.values["config"]["limits"] = {"cluster": {"workers": 2}}
    release.install()
    assert as_they_are(kube, namespace) == before
    release.uninstall()
    assert as_they_are(kube, namespace) == before
    tested = {f"pod/{NAME}-test"}  # which Helm leaves, so that its log can be read
    until(lambda: objects(kube, namespace) - tested == there, "all else that was ours is gone")
