"""Faults to order, and a count of what is there: for tests of what breaks around clusters of pods.

Servers of the kit's own Kubernetes are held, killed and brought back by their pid, with the command that started them.
Somebody else's are left alone, and those tests are skipped.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from dask_sluice import Gateway

from .kube import Kube, until
from .user import SLOW_S, User

SCHEDULERS = "app.kubernetes.io/component=dask-scheduler"
WORKERS = "app.kubernetes.io/component=dask-worker"
_AGENT = "configmap/sluice-agent"
"""The agent's stays for the next cluster."""


def objects(kube: Kube, namespace: str) -> set[str]:
    """All objects of the namespace, but for the agent's ConfigMap."""
    return {name for name in kube.objects(namespace) if not name.startswith(_AGENT)}


def delete_pods(kube: Kube, namespace: str, selector: str) -> None:
    kube.run("-n", namespace, "delete", "pods", "-l", selector, "--wait=false")


def computes_afterwards(url: str) -> None:
    """Whatever broke before: a new cluster starts, computes and ends."""
    with Gateway(url) as gateway, gateway.new_cluster() as cluster, cluster.get_client() as client:
        cluster.scale(1)
        assert client.submit(sum, [1, 2, 3]).result(timeout=SLOW_S) == 6


def ends_told(user: User, name: str, code: str) -> None:
    """The cluster fails by this reason. The API of dask-gateway knows no reasons: its users see that it did."""
    until(lambda: user.view(name)["state"] == "failed", f"{name} has failed", SLOW_S)
    assert user.view(name)["reason"]["code"] == code
    assert user.view(name)["reason"]["sentence"]
    assert user.old_status(name) == "FAILED"


# -- processes of the kit


@contextmanager
def held(kube: Kube, process: str) -> Iterator[None]:
    """It is there and answers nobody."""
    pid = pid_of(kube, process)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def down(kube: Kube, process: str, how: signal.Signals = signal.SIGKILL) -> Iterator[None]:
    """It has ended; afterwards it is started again."""
    pid = pid_of(kube, process)
    command = _words(Path(f"/proc/{pid}/cmdline"))
    os.kill(pid, how)
    until(lambda: _has_ended(pid), f"{process} has ended")
    try:
        yield
    finally:
        _start(kube, process, command)
        until(lambda: _is_well(kube), "Kubernetes answers again, and its node is ready")


def pid_of(kube: Kube, process: str) -> int:
    if kube.directory is None:
        pytest.skip("somebody else's Kubernetes is not to be stopped")
    written = int((kube.directory / "run" / f"{process}.pid").read_text())
    # What the kit wrote down may be the shell that started it and waits.
    children = Path(f"/proc/{written}/task/{written}/children").read_text().split()
    family = (written, *map(int, children))
    return next(pid for pid in family if process in _words(Path(f"/proc/{pid}/cmdline"))[:2])


def _words(cmdline: Path) -> list[str]:
    return cmdline.read_text().rstrip("\0").split("\0")


def _has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def _start(kube: Kube, process: str, command: Sequence[str]) -> None:
    """As the kit does: in a session of its own, its pid written down. This thread is in the cluster's network."""
    assert kube.directory is not None
    log, pid = kube.directory / "log" / f"{process}.log", kube.directory / "run" / f"{process}.pid"
    script = 'log=$1 pid=$2; shift 2; setsid "$@" >>"$log" 2>&1 </dev/null & echo $! >"$pid"'
    subprocess.run(["sh", "-c", script, "sh", str(log), str(pid), *command], check=True, timeout=30)


def _is_well(kube: Kube) -> bool:
    return "True" in kube.run("get", "nodes", "-o", f"jsonpath={_READY}", "--request-timeout=5s", check=False)


_READY = '{.items[*].status.conditions[?(@.type=="Ready")].status}'


# -- the node


@contextmanager
def cordoned(kube: Kube) -> Iterator[str]:
    """No node takes new pods; its name."""
    name = kube.run("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    kube.run("cordon", name)
    try:
        yield name
    finally:
        kube.run("uncordon", name)


@contextmanager
def spot_node(kube: Kube) -> Iterator[None]:
    """All nodes are spot nodes, as GKE marks them."""
    mark = "cloud.google.com/gke-spot"
    kube.run("label", "nodes", "--all", "--overwrite", f"{mark}=true")
    kube.run("taint", "nodes", "--all", "--overwrite", f"{mark}=true:NoSchedule")
    try:
        yield
    finally:
        kube.run("taint", "nodes", "--all", f"{mark}-", check=False)
        kube.run("label", "nodes", "--all", f"{mark}-", check=False)


@contextmanager
def lost_node(kube: Kube) -> Iterator[None]:
    """The kubelet has ended, and Kubernetes gives its node up.

    That is said for it: where no node at all reports, it takes the fault for its own and evicts nobody ("master
    disruption mode"), and the kit has one node.
    """
    taint = "node.kubernetes.io/unreachable:NoExecute"
    with down(kube, "kubelet"):
        until(lambda: not _is_well(kube), "the node is missed")
        kube.run("taint", "nodes", "--all", "--overwrite", taint)
        try:
            yield
        finally:
            kube.run("taint", "nodes", "--all", f"{taint}-", check=False)


def drain(kube: Kube, node: str, selector: str, *, patience_s: int = 60) -> str:
    """As `kubectl drain` evicts, with a say to disruption budgets; of the pods with these labels. What it says."""
    options = ("--delete-emptydir-data", "--force", "--ignore-daemonsets", f"--timeout={patience_s}s")
    return kube.said("drain", node, f"--pod-selector={selector}", *options)


def for_what_must_not_happen(seconds: float) -> None:
    """Time in which something might go wrong: that cannot be waited for."""
    time.sleep(seconds)
