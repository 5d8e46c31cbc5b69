"""Every pod that is shown or tested is one that a real API server takes, in a namespace that enforces `restricted`.

Dry runs on the server: defaulting, validation, admission, all but keeping it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from dask_sluice.server.backends.kubernetes import names, objects, pods
from dask_sluice.server.backends.kubernetes.settings import KubernetesSettings
from dask_sluice.server.backends.protocol import Job, JobKind
from dask_sluice.server.settings import load
from dask_sluice.server.staging import archive
from scripts.kubernetes_schema import TARGET, reduced, written

from ..server.backends.kubernetes.cases import AGENT, CASES, Case, job_of, settings_of
from ..server.policy.test_handlers import HANDLERS
from .kube import Kube

ACCOUNTS = ("user-sa", "pangeo")
FAMILIES: dict[str, dict[str, Any]] = {
    "2i2c": {"image": "x/y:1"},
    "nebari": {},
    "pangeo": {},
    "planetary": {"image": "x/y:1", "gpu": True},
    "rhodium": {"profile": "giant"},
    "rspy": {},
}
"""Handlers that sites have today, as settings, and what a user chooses. One more mounts NFS: see below."""


@pytest.fixture(scope="module")
def restricted(kube: Kube) -> Iterator[str]:
    with kube.namespace(**{"pod-security.kubernetes.io/enforce": "restricted"}) as name:
        _accounts(kube, name)
        yield name


def _accounts(kube: Kube, namespace: str) -> None:
    for each in ACCOUNTS:
        kube.apply(namespace, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": each}})


def taken(kube: Kube, document: dict[str, Any]) -> dict[str, Any]:
    """The object as the server would keep it."""
    namespace = document["metadata"]["namespace"]
    arguments = ("-n", namespace, "create", "--dry-run=server", "--validate=strict", "-o", "json", "-f", "-")
    found: dict[str, Any] = json.loads(kube.run(*arguments, given=yaml.safe_dump(document)))
    return found


def pod_of(job: Job, settings: KubernetesSettings, namespace: str) -> dict[str, Any]:
    return pods.pod_manifest(job, settings, namespace=namespace, agent=AGENT)


def family(name: str, kind: JobKind) -> tuple[Job, KubernetesSettings]:
    settings = load(HANDLERS / f"{name}.yaml")
    return job_of(settings, Case("", options=FAMILIES.get(name, {}), kind=kind)), settings.backend.kubernetes


@pytest.mark.parametrize("name", CASES)
def test_a_golden_pod_and_its_secret_are_taken_where_restricted_is_enforced(
    kube: Kube, restricted: str, name: str
) -> None:
    settings = settings_of(CASES[name].site)
    job = job_of(settings, CASES[name])
    pod = pod_of(job, settings.backend.kubernetes, restricted)
    kept = taken(kube, pod)
    assert kept["metadata"]["labels"] == pod["metadata"]["labels"]
    assert kept["spec"]["containers"][0]["volumeMounts"] == pod["spec"]["containers"][0]["volumeMounts"]
    assert not any("serviceAccountToken" in json.dumps(each) for each in kept["spec"]["volumes"])
    secret = objects.secret_manifest(job, settings.backend.kubernetes, namespace=restricted)
    assert taken(kube, secret)["data"] == secret["data"]


def test_the_agent_fits_into_its_config_map(kube: Kube, restricted: str) -> None:
    content, fingerprint = archive()
    manifest = objects.agent_manifest(content, fingerprint, KubernetesSettings(), namespace=restricted)
    assert taken(kube, manifest)["metadata"]["name"] == names.agent_config_map(fingerprint)


@pytest.mark.parametrize("kind", JobKind)
@pytest.mark.parametrize("name", FAMILIES)
def test_the_pods_that_sites_have_today_are_taken_where_restricted_is_enforced(
    kube: Kube, restricted: str, name: str, kind: JobKind
) -> None:
    taken(kube, pod_of(*family(name, kind), restricted))


def test_a_site_that_mounts_nfs_needs_a_namespace_that_allows_it(kube: Kube, restricted: str) -> None:
    job, settings = family("purdue", JobKind.WORKER)
    with pytest.raises(AssertionError, match=r'restricted volume types .*"depot" uses restricted volume type "nfs"'):
        taken(kube, pod_of(job, settings, restricted))
    with kube.namespace() as open_namespace:
        taken(kube, pod_of(job, settings, open_namespace))


def test_the_schema_that_settings_are_checked_against_is_this_servers(kube: Kube) -> None:
    served = json.loads(kube.run("get", "--raw", "/openapi/v3/api/v1"))
    ours = json.loads(TARGET.read_text())["kubernetes"]
    if served["info"]["version"] != ours:
        pytest.skip(f"the schema is that of Kubernetes {ours}, this is {served['info']['version']}")
    assert written(reduced(served)) == TARGET.read_text()
