"""The chart as a release in a real Kubernetes, and the image that it runs."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from distributed import Client

from dask_sluice import Gateway
from dask_sluice.server.backends.kubernetes import names
from dask_sluice.server.backends.kubernetes.warm.pods import WAITING, is_ready
from scripts import image

from ..kubernetes.images import ctr
from ..kubernetes.kube import IMAGE as DASK_IMAGE
from ..kubernetes.kube import ROOT, Kube, NotThere, kit, until
from ..kubernetes.site import SCHEDULER, SMALL_WORKERS
from .helm import CHART, NAME, helm

GIVEN_IMAGE = os.environ.get("SLUICE_IMAGE", "")
BASE = "registry.test/python:3.11"
INSTALL_S = 240
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
"""Label of namespaces."""
LITTLE = {"requests": {"cpu": "10m", "memory": "64Mi"}}


def image_there(kube: Kube) -> str:
    """The image of this source, in the cluster: the one that `SLUICE_IMAGE` names, else built and loaded, once.

    raises  NotThere
    """
    if GIVEN_IMAGE:
        return GIVEN_IMAGE
    place = kit()
    if kube.directory is None or place is None:
        raise NotThere("SLUICE_IMAGE names no image for the cluster of KUBECONFIG; `make image` builds one")
    tag = f"registry.test/dask-sluice:{fingerprint()}"
    if tag not in in_cluster(kube):
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "image.tar"
            command = [sys.executable, str(ROOT / "scripts" / "image.py"), "--base", BASE, "--tag", tag]
            with kube.outside():  # for wheels
                _run(*command, "--archive", str(archive), timeout_s=1800)
            _run(str(place / "kube-load"), str(archive), str(kube.directory), timeout_s=300)
    return tag


def _run(*command: str, timeout_s: float) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    if done.returncode != 0:
        raise NotThere(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")


def _listens(address: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((address, port), timeout=5):
        return True
    return False


def in_cluster(kube: Kube) -> list[str]:
    """Names of images that the kit's cluster has."""
    assert kube.directory is not None
    socket = str(kube.directory / "run" / "containerd.sock")
    listed = subprocess.run(["ctr", "-a", socket, "-n", "k8s.io", "images", "ls", "-q"], capture_output=True, text=True)
    return listed.stdout.split()


def fingerprint() -> str:
    """Of our source and of how its image is made."""
    digest = hashlib.sha256()
    files = [*sorted((ROOT / "src").rglob("*")), ROOT / "Dockerfile", ROOT / "pyproject.toml", Path(image.__file__)]
    for path in files:
        if path.is_file() and path.suffix != ".pyc":
            digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


class HelmRelease:
    """One release of a chart, in a namespace."""

    def __init__(self, kube: Kube, namespace: str, name: str, chart: Path) -> None:
        self.kube, self.namespace, self.name, self.chart = kube, namespace, name, chart
        self.values: dict[str, Any] = {}
        self.files: dict[str, Path] = {}
        """Values that are the text of a file, as `--set-file` has them."""
        self.kubeconfig = kube.kubeconfig
        """Of whoever runs helm."""

    def install(self) -> None:
        """Install or upgrade; return once everything is ready, and reached."""
        self._helm("upgrade", "--install", self.name, *self._given(), "--wait", "--timeout", f"{INSTALL_S}s")
        self._is_reached()

    def upgrade_fails(self) -> str:
        """What helm says when it refuses."""
        return self._helm("upgrade", self.name, *self._given(), "--wait", "--timeout", f"{INSTALL_S}s", fails=True)

    def test(self) -> str:
        """What `helm test` prints."""
        return self._helm("test", self.name, "--logs", "--timeout", f"{INSTALL_S}s")

    def rollback(self) -> None:
        """Back to what was installed before; return once everything is ready, and reached."""
        self._helm("rollback", self.name, "--wait", "--timeout", f"{INSTALL_S}s")
        self._is_reached()

    def _is_reached(self) -> None:
        """Return once its Services pass connections on: a node hears of pods a little after they are ready."""
        for service in self.kube.items(self.namespace, "services"):
            if service["metadata"].get("annotations", {}).get("meta.helm.sh/release-name") == self.name:
                address, port = service["spec"]["clusterIP"], service["spec"]["ports"][0]["port"]
                until(partial(_listens, address, port), f"{service['metadata']['name']} at {address}, port {port}")

    def uninstall(self) -> None:
        self._helm("uninstall", self.name, "--wait", "--timeout", f"{INSTALL_S}s")

    def _given(self) -> list[str]:
        return [str(self.chart), "-f", "-", *(f"--set-file={key}={path}" for key, path in self.files.items())]

    def _helm(self, *arguments: str, fails: bool = False) -> str:
        command = [helm(), *arguments, "-n", self.namespace, "--kubeconfig", str(self.kubeconfig)]
        given = yaml.safe_dump(self.values) if "-f" in arguments else ""
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=INSTALL_S + 60)
        assert (done.returncode != 0) is fails, done.stdout + done.stderr + self.story()
        return done.stdout + done.stderr

    def story(self) -> str:
        """What there is and what it says, for whoever looks into a failure."""
        lines = [self.kube.run("-n", self.namespace, "get", "pods", "-o", "wide", check=False)]
        for selector in self.speakers:
            lines.append(self.kube.run("-n", self.namespace, "logs", "-l", selector, "--tail=40", check=False))
        return "\n".join(lines)

    speakers: Sequence[str] = ()
    """Labels of pods whose logs tell the story."""


class Release(HelmRelease):
    """Ours, with small pods."""

    speakers = (
        "app.kubernetes.io/name=dask-sluice,app.kubernetes.io/component=server",
        "app.kubernetes.io/name=dask-sluice,app.kubernetes.io/component=proxy",
    )

    def __init__(self, kube: Kube, namespace: str, image_name: str, *, name: str = "sluice") -> None:
        super().__init__(kube, namespace, name, CHART)
        repository, _, tag = image_name.rpartition(":")
        self.values = {
            "image": {"repository": repository, "tag": tag},
            "config": {
                "backend": {"kubernetes": {"image": DASK_IMAGE}},
                "options": SMALL_WORKERS,
                "policy": {"defaults": {"scheduler": SCHEDULER}},
            },
            "server": {"resources": LITTLE, "data": {"type": "emptyDir"}},
            "proxy": {"resources": LITTLE, "graceSeconds": 60},
            "check": {"resources": LITTLE},
            "tests": {"resources": LITTLE},
        }

    @property
    def address(self) -> str:
        """By the Service, with the token."""
        data = json.loads(self.kube.run("-n", self.namespace, "get", "secret", f"{NAME}-keys", "-o", "json"))["data"]
        service = json.loads(self.kube.run("-n", self.namespace, "get", "service", NAME, "-o", "json"))["spec"]
        token = base64.b64decode(data["token"]).decode()
        return f"http://{service['clusterIP']}:{service['ports'][0]['port']}/?token={token}"

    def pods(self, component: str) -> Sequence[str]:
        """Names of the pods that are there and not about to go."""
        found = self.kube.items(self.namespace, "pods", f"app.kubernetes.io/component={component}")
        return [pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def running(self, component: str) -> Sequence[str]:
        """Names of the pods that have a node."""
        found = self.kube.items(self.namespace, "pods", f"app.kubernetes.io/component={component}")
        return [pod["metadata"]["name"] for pod in found if pod["status"]["phase"] == "Running"]

    def waiting(self) -> Sequence[str]:
        """Names of the schedulers that wait for a cluster, ready."""
        found = self.kube.items(self.namespace, "pods", f"{names.WARM_LABEL}={WAITING}")
        return [pod["metadata"]["name"] for pod in found if is_ready(pod)]

    def pods_of_clusters(self) -> Sequence[str]:
        """Identities of the pods of users' clusters."""
        found = self.kube.items(self.namespace, "pods", f"gateway.dask.org/instance={NAME}")
        return [pod["metadata"]["uid"] for pod in found]

    def kill_processes(self, component: str) -> None:
        """kill -9 of the main process of each pod, by the node, which here is this machine; the pods stay."""
        before = self._restarts(component)
        for pod in self.kube.items(self.namespace, "pods", f"app.kubernetes.io/component={component}"):
            self._kill_processes_of(pod)
        until(lambda: all(now > before[pod] for pod, now in self._restarts(component).items()), "they start again")
        self.is_ready(component)

    def _kill_processes_of(self, pod: dict[str, Any]) -> None:
        for status in pod["status"]["containerStatuses"]:
            task = status["containerID"].removeprefix("containerd://")
            ctr(self.kube, "tasks", "kill", "--signal", "SIGKILL", task)

    def _restarts(self, component: str) -> dict[str, int]:
        found = self.kube.items(self.namespace, "pods", f"app.kubernetes.io/component={component}")
        return {
            pod["metadata"]["name"]: sum(each["restartCount"] for each in pod["status"]["containerStatuses"])
            for pod in found
        }

    def is_ready(self, component: str) -> None:
        """Return once all pods of a component are."""
        self.kube.run("-n", self.namespace, "rollout", "status", f"deployment/{NAME}-{component}", "--timeout=90s")

    def kill_one(self, component: str) -> None:
        """One pod of a component, its process first, without a word to it; return when as many as before are ready."""
        first, *_ = self.pods(component)
        pods = self.kube.items(self.namespace, "pods", f"app.kubernetes.io/component={component}")
        self._kill_processes_of(next(pod for pod in pods if pod["metadata"]["name"] == first))
        self.kube.run("-n", self.namespace, "delete", "pod", first, "--force", "--grace-period=0", "--wait=false")
        until(lambda: first not in self.pods(component), f"{first} is gone")
        self.is_ready(component)

    def kill(self, component: str) -> None:
        """All pods of a component at once, without a word to them."""
        killed = self.pods(component)
        self.kube.run("-n", self.namespace, "delete", "pod", *killed, "--force", "--grace-period=0", "--wait=false")
        until(lambda: not set(killed) & set(self.pods(component)), f"the {component}'s pods are gone")
        self.is_ready(component)


@asynccontextmanager
async def computing(address: str) -> AsyncIterator[Client]:
    """A client of a cluster with one worker."""
    async with Gateway(address, asynchronous=True) as gateway, await gateway.new_cluster() as cluster:
        await cluster.scale(1)
        async with Client(cluster, asynchronous=True, set_as_default=False) as client:
            assert await client.submit(sum, [1, 2]) == 3
            yield client
