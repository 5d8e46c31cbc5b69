"""The chart's network policies where a network enforces them: everything works, and who reaches whom is what
docs/kubernetes-install.md says, by trying.
"""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator

import pytest
from distributed import Client

from dask_sluice.server.backends.kubernetes import names

from ..kubernetes.harness import PLAYER_IMAGE
from ..kubernetes.kube import Kube, until
from .helm import NAME
from .release import Release, computing

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.filterwarnings("ignore:Mismatched versions")]
METADATA = "169.254.169.254"
TRY = """
import json, socket, sys
def takes(host, port):
    try:
        socket.create_connection((host, port), timeout=2).close()
    except OSError:
        return False
    return True
print(json.dumps([name for name, host, port in json.loads(sys.argv[1]) if takes(host, port)]))
"""
Targets = dict[str, tuple[str, int]]


@pytest.fixture
def metadata_server(enforced: None) -> Iterator[None]:
    """Something that listens at the address of the clouds' metadata servers, in the cluster's network."""
    subprocess.run(["ip", "address", "add", f"{METADATA}/32", "dev", "kube0"], check=True)
    try:
        with socket.create_server((METADATA, 80)):
            yield
    finally:
        subprocess.run(["ip", "address", "del", f"{METADATA}/32", "dev", "kube0"], check=True)


@pytest.fixture
def stranger(kube: Kube) -> Iterator[str]:
    """The namespace of a pod of the same name, which no policy binds."""
    with kube.namespace("sluice-stranger") as namespace:
        kube.run("-n", namespace, "run", namespace, f"--image={PLAYER_IMAGE}", "--command", "--", "sleep", "600")
        kube.run("-n", namespace, "wait", "pod", namespace, "--for=condition=Ready", "--timeout=60s")
        yield namespace


def reached(kube: Kube, namespace: str, pod: str, targets: Targets) -> set[str]:
    """Names of those to which a connection from the pod is made."""
    tried = json.dumps([(name, *target) for name, target in targets.items()])
    return set(json.loads(kube.run("-n", namespace, "exec", pod, "--", "python", "-c", TRY, tried)))


def of_cluster(client: Client, component: str) -> str:
    """The selector of its cluster's schedulers or workers."""
    return f"{names.CLUSTER_LABEL}={client.cluster.name},{names.COMPONENT_LABEL}=dask-{component}"


@pytest.mark.usefixtures("metadata_server")
async def test_each_part_reaches_what_the_documents_say_and_clusters_do_not_reach_one_another(
    kube: Kube, release: Release, stranger: str
) -> None:
    # Addresses of the kit count as public; closed, they stand for the private ones of a site.
    release.values["networkPolicy"] = {"egress": {"internet": False}}
    release.install()
    assert "everything works" in release.test()
    namespace = release.namespace
    policies = f"{names.INSTANCE_LABEL}={NAME}"
    async with computing(release.address) as ours, computing(release.address) as theirs:
        await ours.cluster.scale(2)
        await ours.wait_for_workers(2, timeout=120)
        there = list(await ours.nthreads())
        parts = [ours.submit(list, "ab", workers=[worker], key=worker) for worker in there]
        assert await ours.submit(lambda *lists: sum(map(len, lists)), *parts, workers=there[:1]) == 4, "they meet"

        pods = {
            who: kube.items(namespace, "pods", selector)
            for who, selector in {
                "server": f"{names.COMPONENT_LABEL}=server",
                "proxy": f"{names.COMPONENT_LABEL}=proxy",
                "scheduler": of_cluster(ours, "scheduler"),
                "worker": of_cluster(ours, "worker"),
                "another's scheduler": of_cluster(theirs, "scheduler"),
                "another's worker": of_cluster(theirs, "worker"),
            }.items()
        }
        at = {who: each[-1]["status"]["podIP"] for who, each in pods.items()}
        targets: Targets = {
            **{who: (at[who], 8000) for who in ("server", "proxy")},
            **{who: (at[who], 8786) for who in ("scheduler", "another's scheduler")},
            "dashboard": (at["scheduler"], 8787),
            "another's dashboard": (at["another's scheduler"], 8787),
            **{who: (at[who], 8788) for who in ("worker", "another's worker")},
            "Kubernetes": (kube.run("get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}"), 443),
            "metadata": (METADATA, 80),
        }
        found = {
            who: reached(kube, namespace, pods[who][0]["metadata"]["name"], targets)
            for who in ("server", "proxy", "scheduler", "worker")
        }
        found["stranger"] = reached(kube, stranger, stranger, targets)
        assert len(kube.items(namespace, "networkpolicies", policies)) == 2
        own = {"scheduler", "dashboard", "worker"}
        assert found == {
            "server": {"server", "proxy", "Kubernetes", "metadata"},
            "proxy": {"proxy", "server", "scheduler", "dashboard", "another's scheduler", "another's dashboard"},
            "scheduler": {"server", *own},
            "worker": {"proxy", *own},
            "stranger": {"proxy", "Kubernetes", "metadata"},
        }
    until(lambda: not kube.items(namespace, "networkpolicies", policies), "policies go with their clusters")


@pytest.mark.usefixtures("enforced")
async def test_a_scheduler_that_waited_is_told_whose_it_is_and_computes(kube: Kube, release: Release) -> None:
    release.values["config"]["backend"]["kubernetes"]["warm_schedulers"] = [{"count": 1}]
    release.values["networkPolicy"] = {"egress": {"internet": False}}
    release.install()
    (one,) = until(release.waiting, "a scheduler waits")
    async with computing(release.address) as client:
        (scheduler,) = kube.items(release.namespace, "pods", of_cluster(client, "scheduler"))
        assert scheduler["metadata"]["name"] == one
