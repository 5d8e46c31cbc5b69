"""A real Kubernetes for tests: the kit's, started where nothing is up, or whatever `KUBECONFIG` names.

The kit's cluster lives in a network namespace of its own; who talks to its pods has to be in there.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from dask_sluice.server.backends import kubernetes
from dask_sluice.server.backends.kubernetes.access import Access, from_kubeconfig, from_service_account

ROOT = Path(__file__).resolve().parents[2]
KIT_DIRECTORY = Path(os.environ.get("SLUICE_KUBE", "/var/tmp/sluice-kube"))
NETWORK = Path("/var/run/netns/sluice-kube")
GIVEN = os.environ.get("KUBECONFIG", "")
IMAGE = os.environ.get("SLUICE_TEST_IMAGE", "registry.test/dask:test")
_HOME_NETWORK = os.open("/proc/self/ns/net", os.O_RDONLY)
"""The one that this process was started in, also while it is elsewhere."""
CLONE_NEWNET = 0x40000000
PATIENCE_S = 90.0
KINDS = (
    *("pods", "secrets", "configmaps", "services", "endpointslices", "persistentvolumeclaims", "serviceaccounts"),
    *("deployments", "replicasets", "statefulsets", "jobs", "roles", "rolebindings", "networkpolicies"),
    *("poddisruptionbudgets", "leases", "resourcequotas"),
)
"""Of objects in a namespace; not events, which Kubernetes forgets by itself."""


class NotThere(Exception):
    """No Kubernetes can be had here; says why."""


def kit() -> Path | None:
    """The kit's folder, beside this repository or further up."""
    places = (parent / "shared" / "kube" for parent in ROOT.parents)
    return next((place for place in places if (place / "kube-up").exists()), None)


def until(holds: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """What `holds` gives once it is something; looked at often."""
    deadline = time.monotonic() + patience_s
    while not (found := holds()):
        assert time.monotonic() < deadline, f"still not after {patience_s:g} s: {what}"
        time.sleep(0.1)
    return found


class Kube:
    """One cluster, with an administrator's rights."""

    def __init__(self, kubeconfig: Path, kubectl: str, directory: Path | None = None) -> None:
        self.kubeconfig = kubeconfig
        self.directory = directory
        """The kit's; None for somebody else's cluster."""
        self._kubectl = [kubectl, "--kubeconfig", str(kubeconfig)]

    @property
    def access(self) -> Access:
        return from_kubeconfig(self.kubeconfig)

    def run(self, *arguments: str, given: str = "", check: bool = True) -> str:
        """What kubectl prints."""
        done = subprocess.run(
            [*self._kubectl, *arguments], input=given or None, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0 or not check, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def apply(self, namespace: str, *documents: dict[str, Any]) -> None:
        self.run("-n", namespace, "apply", "-f", "-", given=yaml.safe_dump_all(documents))

    def items(self, namespace: str, kind: str, selector: str = "") -> list[dict[str, Any]]:
        found = json.loads(self.run("-n", namespace, "get", kind, "-o", "json", "-l", selector))["items"]
        return list(found)

    def said(self, *arguments: str) -> str:
        """What kubectl prints and complains of, whether or not it succeeds."""
        done = subprocess.run([*self._kubectl, *arguments], capture_output=True, text=True, timeout=180)
        return done.stdout + done.stderr

    def objects(self, namespace: str) -> set[str]:
        """All that one could leave behind in a namespace, but for what Kubernetes puts into each."""
        found = self.run("-n", namespace, "get", ",".join(KINDS), "-o", "name").split()
        return set(found) - {"configmap/kube-root-ca.crt", "serviceaccount/default"}

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Out of the cluster's network for a while, where packages can be had."""
        if self.directory is None:
            yield
            return
        _set_namespace(_HOME_NETWORK)
        try:
            yield
        finally:
            _enter_network()

    @contextmanager
    def namespace(self, beginning: str = "sluice-test", **labels: str) -> Iterator[str]:
        """A namespace of the test's own."""
        name = f"{beginning}-{secrets.token_hex(4)}"
        metadata = {"name": name, "labels": labels}
        self.run("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}))
        until(lambda: self.run("-n", name, "get", "serviceaccount", "default", check=False), "a service account")
        try:
            yield name
        finally:
            self.run("delete", "namespace", name, "--wait=false")

    def account(self, namespace: str, directory: Path, *more: str) -> Access:
        """Access with the rights that the backend says it needs, and no other: as the chart's pod would have it.

        more   `rights-warm` for giving waiting schedulers away, `rights-isolation` for policies of clusters
        """
        package = Path(kubernetes.__file__).parent
        rules = [rule for name in ("rights", *more) for rule in json.loads((package / f"{name}.json").read_text())]
        about = {"name": "dask-sluice", "namespace": namespace}
        group = "rbac.authorization.k8s.io"
        self.apply(
            namespace,
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": about},
            {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": about, "rules": rules},
            {
                "apiVersion": f"{group}/v1",
                "kind": "RoleBinding",
                "metadata": about,
                "roleRef": {"apiGroup": group, "kind": "Role", "name": "dask-sluice"},
                "subjects": [{"kind": "ServiceAccount", **about}],
            },
        )
        directory.mkdir(exist_ok=True)
        (directory / "namespace").write_text(namespace)
        self.new_token(namespace, directory)
        authority = self.run("-n", namespace, "get", "configmap", "kube-root-ca.crt", "-o", r"jsonpath={.data.ca\.crt}")
        (directory / "ca.crt").write_text(authority)
        return from_service_account(directory, self.access.server)

    def new_token(self, namespace: str, directory: Path) -> str:
        """Put another token into the place of the one that is there, as the kubelet does."""
        token = self.run("-n", namespace, "create", "token", "dask-sluice").strip()
        (directory / "token.new").write_text(token)
        (directory / "token.new").replace(directory / "token")
        return token


@contextmanager
def kubernetes_cluster() -> Iterator[Kube]:
    """A cluster that is up, with this thread in its network.

    raises  NotThere
    """
    if GIVEN:
        yield Kube(Path(GIVEN), "kubectl")
        return
    _start()
    _enter_network()
    try:
        yield Kube(KIT_DIRECTORY / "admin.kubeconfig", str(KIT_DIRECTORY / "bin" / "kubectl"), KIT_DIRECTORY)
    finally:
        _set_namespace(_HOME_NETWORK)


def _start() -> None:
    place = kit()
    if place is None:
        raise NotThere("there is no Kubernetes: KUBECONFIG names none, and no folder shared/kube is above this one")
    if os.geteuid() != 0:
        raise NotThere("starting the Kubernetes of shared/kube takes root")
    images = Path("/var/tmp/images")
    is_up = (KIT_DIRECTORY / "ready").exists() and NETWORK.exists()
    commands = [[str(place / "kube-up"), str(KIT_DIRECTORY)]]
    if not (images / "dask.tar").exists():
        commands.append([str(place / "kube-image"), str(images)])
    if not is_up:
        commands += [[str(place / "kube-load"), str(images / f"{name}.tar")] for name in ("dask", "python")]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
        if done.returncode != 0:
            raise NotThere(f"{command[0]} failed:\n{done.stdout[-500:]}{done.stderr[-2000:]}")


def _enter_network() -> None:
    """Have this thread, and whatever it starts from now on, in the cluster's network."""
    with NETWORK.open() as there:
        _set_namespace(there.fileno())


def _set_namespace(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise NotThere(f"cannot enter the cluster's network: {os.strerror(ctypes.get_errno())}")
