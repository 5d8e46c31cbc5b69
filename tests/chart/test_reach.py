"""By the chart's network policies each part reaches what the table of docs/kubernetes-install.md says, and nothing
else: wherever clusters run, and beside a JupyterHub whose chart has policies of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from dask_sluice.server.backends.kubernetes import names
from dask_sluice.server.backends.kubernetes.objects import owner_reference, policy_manifest
from dask_sluice.server.backends.kubernetes.settings import KubernetesSettings
from dask_sluice.server.backends.protocol import Job, JobKind

from ..kubernetes.harness import job
from ..kubernetes.kube import ROOT
from ..kubernetes.site import merged
from .helm import NAME, Documents, every, rendered
from .hub.hub import JUPYTERHUB, documented
from .reach import Place, Policies

PAGE = ROOT / "docs" / "kubernetes-install.md"
OURS, CLUSTERS = "dask", "dask-jobs"
CLUSTER, ANOTHER = "some-cluster", "another-cluster"
PORTS = (22, 53, 80, 443, 5432, 8000, 8081, 8786, 8787, 8788, 8789, 8888, 9000)
ELSEWHERE = {"config": {"backend": {"kubernetes": {"namespace": CLUSTERS}}}}
WARM = {"config": {"backend": {"kubernetes": {"warm_schedulers": [{"count": 1}]}}}}
AT_A_HUB = {"config": {"authenticator": {"kind": "jupyterhub"}}}
WHERE: dict[str, tuple[str, dict[str, Any]]] = {
    "in our namespace": (OURS, {}),
    "in one of their own": (CLUSTERS, ELSEWHERE),
    "everywhere": (CLUSTERS, {"rbac": {"clusterWide": True}, **ELSEWHERE}),
}
"""Clusters: in which namespace, by which values."""
COLUMNS = {
    "server": ("server",),
    "proxy": ("proxy",),
    "scheduler": ("scheduler",),
    "worker": ("worker",),
    "DNS": ("dns",),
    "public addresses": ("public", "public6"),
    "private addresses": ("private", "private12", "private16", "shared", "metadata", "private6", "somebody"),
}
"""Of the table: who stands for each."""
LABEL = "hub.jupyter.org/network-access-hub"


def places(documents: Documents, namespace: str) -> dict[str, Place]:
    """Pods with the labels that they really have, those of clusters in this namespace, and addresses elsewhere."""
    found: dict[str, Place] = {}
    for document in documents:
        about = document["spec"]["template"] if document["kind"] == "Deployment" else document
        if document["kind"] in ("Deployment", "Pod"):
            labels = about["metadata"]["labels"]
            listed = [port for each in about["spec"]["containers"] for port in each.get("ports", ())]
            ports = {port["name"]: port["containerPort"] for port in listed}
            found[labels["app.kubernetes.io/component"]] = Place("10.1.0.1", OURS, labels, ports)
    for kind in JobKind:
        found[str(kind)] = Place("10.1.0.2", namespace, labels_of(kind))
        found[f"{kind} of another cluster"] = Place("10.1.0.2", namespace, labels_of(kind, cluster=ANOTHER))
        found[f"{kind} of another release"] = Place("10.1.0.2", namespace, labels_of(kind, instance="another"))
    for component in ("hub", "proxy", "singleuser-server"):
        more = {"singleuser-server": {}, "proxy": {LABEL: "true"}, "hub": {}}[component]
        found[f"hub's {component}"] = Place("10.1.0.3", OURS, {"app": "jupyterhub", "component": component, **more})
    outside = {
        "public": "198.51.100.7",
        "public6": "2001:db8::7",
        "private": "10.9.9.9",
        "private12": "172.20.0.1",
        "private16": "192.168.1.1",
        "private6": "fd00:ec2::254",
        "shared": "100.64.1.1",
        "metadata": "169.254.169.254",
    }
    return {
        **found,
        "dns": Place("10.1.0.4", "kube-system", {"k8s-app": "kube-dns"}),
        "somebody": Place("10.1.0.5", "elsewhere", {"app.kubernetes.io/component": "server"}),
        **{name: Place(address) for name, address in outside.items()},
    }


def labels_of(kind: JobKind, *, instance: str = NAME, cluster: str = CLUSTER) -> dict[str, str]:
    made: Job = job(cluster, "scheduler" if kind is JobKind.SCHEDULER else "worker-1", "stay")
    return names.labels_of(made, KubernetesSettings(instance=instance))


def policies_of(documents: Documents, namespace: str = OURS) -> Policies:
    """The chart's, and those that the server makes: one for each cluster."""
    settings, owner = KubernetesSettings(instance=NAME), owner_reference("Pod", "its-scheduler", "1-2-3")
    made = [
        policy_manifest(job(cluster, "scheduler", "stay"), settings, namespace=namespace, owner=owner)
        for cluster in (CLUSTER, ANOTHER)
    ]
    return Policies([*documents, *made], OURS)


def policies_of_hub(values: dict[str, Any]) -> Documents:
    image = {"name": "hub", "tag": "1"}
    images = {"hub": {"image": image}, "proxy": {"chp": {"image": image}}, "singleuser": {"image": image}}
    return every(rendered(merged(images, values), chart=JUPYTERHUB), "NetworkPolicy")


def table() -> Iterator[tuple[str, str, set[int]]]:
    """Who, whom, and at which of `PORTS`; rows of the page."""
    text = PAGE.read_text().partition("<!-- who reaches whom -->\n")[2].partition("\n\n")[0]
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines())
    assert set(head[1:]) == set(COLUMNS)
    for row in rows:
        for column, cell in zip(head[1:], row[1:], strict=True):
            yield row[0], column, set(PORTS) if cell == "all" else {int(port) for port in re.findall(r"\d+", cell)}


def reached(policies: Policies, source: Place, target: Place) -> set[int]:
    return {port for port in PORTS if policies.let_pass(source, target, port)}


@pytest.mark.parametrize("where", WHERE)
def test_each_part_reaches_what_the_documents_say_and_nothing_else(where: str) -> None:
    namespace, values = WHERE[where]
    wrong: list[str] = []
    for who, column, ports in table():
        who, comma, _ = who.partition(",")
        documents = rendered(merged(values, WARM if comma else {}))
        everybody = places(documents, namespace)
        policies = policies_of(documents, namespace)
        for whom in COLUMNS[column]:
            is_ours = whom in ("server", "proxy", "scheduler", "worker")
            if who == "anybody else" and not is_ours:
                continue  # as its own policies say
            if who == whom == "scheduler":
                continue  # a cluster has one
            found = reached(policies, everybody["somebody" if who == "anybody else" else who], everybody[whom])
            if found != ports:
                wrong.append(f"{who} to {whom}: {sorted(found)}, not {sorted(ports)}")
    assert wrong == []


@pytest.mark.parametrize("where", WHERE)
def test_clusters_do_not_reach_one_another_even_where_private_addresses_are_open(where: str) -> None:
    namespace, values = WHERE[where]
    for opened in ({}, {"networkPolicy": {"egress": {"privateNetworks": True}}}):
        documents = rendered(merged(values, opened))
        policies, everybody = policies_of(documents, namespace), places(documents, namespace)
        ends = [(str(one), f"{other} of another cluster") for one in JobKind for other in JobKind]
        for one, other in (*ends, *(end[::-1] for end in ends)):
            assert reached(policies, everybody[one], everybody[other]) == set(), f"{one} to {other}"


def test_what_is_of_another_release_is_anybody_else() -> None:
    documents = rendered({})
    policies, everybody = policies_of(documents), places(documents, OURS)
    for kind in JobKind:
        stranger = everybody[f"{kind} of another release"]
        found = {whom: reached(policies, stranger, everybody[whom]) for whom in ("server", "scheduler", "worker")}
        assert found == {"server": set(), "scheduler": set(), "worker": set()}


def test_proxies_that_are_not_open_are_reached_by_clusters_the_charts_test_and_whom_the_values_name() -> None:
    extra = [{"podSelector": {"matchLabels": {"app": "jupyterhub", "component": "proxy"}}}]
    documents = rendered({"networkPolicy": {"proxy": {"open": False, "extra": extra}}})
    policies, everybody = policies_of(documents), places(documents, OURS)
    inside = [who for who, place in everybody.items() if place.namespace]
    reaching = {who for who in inside if reached(policies, everybody[who], everybody["proxy"])}
    assert reaching == {"worker", "worker of another cluster", "test", "hub's proxy"}


def test_prometheus_reaches_what_the_values_let_it_reach() -> None:
    extra = {"extra": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "elsewhere"}}}]}
    documents = rendered({"networkPolicy": {"server": extra, "dask": extra}})
    policies, everybody = policies_of(documents), places(documents, OURS)
    prometheus = everybody["somebody"]
    assert reached(policies, prometheus, everybody["server"]) == {8000}
    assert 8787 in reached(policies, prometheus, everybody["scheduler"])
    assert reached(policies, everybody["hub's hub"], everybody["server"]) == set()


def test_beside_a_hub_server_and_hub_meet_and_notebooks_come_by_the_proxies() -> None:
    ours = rendered(AT_A_HUB)
    documents = [*ours, *policies_of_hub({})]
    everybody = places(documents, OURS)
    policies = policies_of(documents)
    notebook, hub, hubs_proxy = (everybody[f"hub's {part}"] for part in ("singleuser-server", "hub", "proxy"))
    assert reached(policies, everybody["server"], hub) == {8081}
    assert [who for who in ("proxy", "scheduler", "worker") if reached(policies, everybody[who], hub)] == []
    assert [who for who in ("scheduler", "worker") if reached(policies, everybody[who], notebook)] == []
    assert reached(policies, hub, everybody["proxy"]) == reached(policies, hubs_proxy, everybody["proxy"]) == {8000}
    assert reached(policies, notebook, everybody["proxy"]) == set(), "but through the hub's proxy"
    assert reached(policies, notebook, hubs_proxy) == {8000, 53}, "DNS may be at any private address"
    policies = policies_of([*ours, *policies_of_hub(documented("jupyterhub"))])
    assert reached(policies, notebook, everybody["proxy"]) == {8000}, "with what the page says"
    for whom in ("server", "scheduler", "worker"):
        assert reached(policies, notebook, everybody[whom]) == set()
