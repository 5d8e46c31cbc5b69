"""Room for those who come next, in a real Kubernetes: a release gives away schedulers that waited, with no other rights
than its Role has; Kubernetes puts a placeholder out for a worker that needs its room, and back when the worker is gone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from dask_sluice.server.backends.kubernetes import names
from dask_sluice.server.backends.kubernetes.warm.pods import CLAIMED

from ..kubernetes.kube import Kube, until
from ..kubernetes.site import merged
from .helm import NAME
from .release import Release, computing

# Packages of the image of clusters differ in their last digit from those of the tests.
pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore:Mismatched versions")]
PLACEHOLDER = "app.kubernetes.io/component=placeholder"


def found(release: Release, selector: str, *phases: str) -> Sequence[str]:
    """Names of pods in one of these phases that are not about to go."""
    pods = release.kube.items(release.namespace, "pods", selector)
    there = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"] and pod["status"]["phase"] in phases]
    return [pod["metadata"]["name"] for pod in there]


async def test_a_release_gives_away_the_scheduler_that_waited(release: Release) -> None:
    release.values["config"]["backend"]["kubernetes"]["warm_schedulers"] = [{"count": 1}]
    release.install()
    (one,) = until(release.waiting, "a scheduler waits")
    async with computing(release.address):
        assert found(release, f"{names.WARM_LABEL}={CLAIMED}", "Running") == [one]
        until(lambda: release.waiting() not in ([], [one]), "another one waits in its place")


def priority_class(release: Release) -> str:
    """Of placeholders; in no namespace."""
    return f"{release.namespace}-{NAME}-placeholder"


@pytest.fixture
def room(kube: Kube, release: Release) -> Iterator[str]:
    """A resource of which the node has one, and nobody else asks for any."""
    name = f"sluice.test/{release.namespace}"
    (node,) = json.loads(kube.run("get", "nodes", "-o", "json"))["items"][:1]

    def patch(change: dict[str, Any]) -> None:
        path = f"/status/capacity/{name.replace('/', '~1')}"
        about = ("patch", "node", node["metadata"]["name"], "--subresource=status", "--type=json")
        kube.run(*about, "-p", json.dumps([{"path": path, **change}]))

    patch({"op": "add", "value": "1"})
    yield name
    patch({"op": "remove"})
    kube.run("delete", "priorityclass", priority_class(release), "--ignore-not-found")


async def test_a_placeholder_gives_its_room_to_a_worker_and_has_it_back(release: Release, room: str) -> None:
    needs = {"requests": {room: "1"}, "limits": {room: "1"}}
    values = {
        "placeholders": {"replicas": 1, "resources": merged(needs, {"requests": {"cpu": "10m", "memory": "16Mi"}})},
        "config": {"backend": {"kubernetes": {"worker": {"container": {"resources": needs}}}}},
    }
    release.values = merged(release.values, values)
    release.install()
    assert priority_class(release) in release.kube.run("get", "priorityclasses", "-o", "name")
    until(lambda: found(release, PLACEHOLDER, "Running"), "the placeholder has its room")
    (before,) = found(release, PLACEHOLDER, "Running")
    async with computing(release.address):
        assert not found(release, PLACEHOLDER, "Running")
        events = release.kube.run("-n", release.namespace, "get", "events", "--field-selector", "reason=Preempted")
        assert before in events
        until(lambda: found(release, PLACEHOLDER, "Pending"), "the next placeholder waits for room")
    until(lambda: found(release, PLACEHOLDER, "Running"), "the worker's room is the placeholder's again")
    assert found(release, PLACEHOLDER, "Running") != [before]
    release.uninstall()
    assert priority_class(release) not in release.kube.run("get", "priorityclasses", "-o", "name")
