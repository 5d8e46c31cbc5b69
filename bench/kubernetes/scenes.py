"""What is measured on the real cluster: the start of clusters, and of many workers; one function for each."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from distributed import Client

from bench.kubernetes.watcher import Watcher
from bench.scale.scenes import Figure
from dask_sluice import Gateway, GatewayCluster
from tests.kubernetes import site
from tests.kubernetes.kube import IMAGE, Kube
from tests.live import LiveServer

PATIENCE_S = 240.0
STARTS = 20
WHOLE = "new_cluster() to a client that answers"
SLOW_GOAL_S = 6.0
"""Row A6 of the users' pains, for 95 % of the starts."""
WAITING = 2
WORKER_GIB = 0.375
"""Fifty of them fit a node of 24 GiB."""
_TICKS = os.sysconf("SC_CLK_TCK")
WORKERS = 50


@contextlib.contextmanager
def _site(kube: Kube, **settings: Any) -> Iterator[tuple[LiveServer, str, Watcher]]:
    """A server over a namespace of its own, and who watches the pods there."""
    # A scheduler asks for a share of the node as real ones do, so that it is not the last to get a processor.
    scheduler = {"cores": 1, "cores_request": 0.5, "memory": "1 GiB", "memory_request": "64 MiB"}
    defaults = {
        "options": {"worker_memory": {"default": WORKER_GIB}},
        "policy": {"defaults": {"scheduler": scheduler}},
    }
    with (
        tempfile.TemporaryDirectory(prefix="bench-kubernetes-") as directory,
        kube.namespace("sluice-bench") as namespace,
        site.server(kube, namespace, Path(directory), **site.merged(defaults, settings)) as server,
        Watcher(kube.access, namespace) as watcher,
    ):
        yield server, namespace, watcher


def starts(kube: Kube, number: int) -> list[Figure]:
    """`new_cluster()` until a client has an answer, the image being on the node; and where that time goes."""
    return _starts(kube, number, goal_s=3.0)


def warm_starts(kube: Kube, number: int) -> list[Figure]:
    """The same where schedulers wait: each start is made once as many wait again as are to."""
    warm = {"backend": {"kubernetes": {"warm_schedulers": [{"count": WAITING}]}}}
    return [replace(each, name=f"warm: {each.name}") for each in _starts(kube, number, goal_s=1.0, **warm)]


def _starts(kube: Kube, number: int, goal_s: float, **settings: Any) -> list[Figure]:
    taken: dict[str, list[float]] = {}
    waiting = WAITING if settings else 0
    with _site(kube, **settings) as (server, _, watcher), Gateway(server.url) as gateway:
        cpu_s = 0.0
        for each in range(number + 1):
            _until(lambda: watcher.waiting() == waiting)
            cpu_before = _cpu_s(server)
            for what, seconds in _start(gateway, watcher).items():
                if each > 0:  # the first makes the agent's ConfigMap, and finds cold caches
                    taken.setdefault(what, []).append(seconds)
            cpu_s += _cpu_s(server) - cpu_before if each > 0 else 0
    goals = {WHOLE: goal_s}
    figures = [Figure(what, number, median(seconds), "s", goals.get(what)) for what, seconds in taken.items()]
    slow = Figure(f"{WHOLE}, 19 of 20", number, quantiles(taken[WHOLE], n=20, method="inclusive")[-1], "s", SLOW_GOAL_S)
    return [
        *figures,
        slow,
        Figure("processor time of our server and proxy, for one", number, 1000 * cpu_s / number, "ms"),
    ]


def _start(gateway: Gateway, watcher: Watcher) -> dict[str, float]:
    began = time.perf_counter()
    with gateway.new_cluster() as cluster:
        running = time.perf_counter()
        with cluster.get_client() as client:
            client.nthreads()
            answered = time.perf_counter()
        claimed = watcher.at("claimed", began)
    whole = {WHOLE: answered - began}
    if claimed:
        return {
            **whole,
            "request to pod: until one is given away": claimed[0] - began,
            "pod to agent: until the scheduler has called home": running - claimed[0],
            "agent to client: until the scheduler has answered": answered - running,
        }
    made, runs = watcher.at("made", began)[0], watcher.at("runs", began)[0]
    return {
        **whole,
        "request to pod: ours, until it is made": made - began,
        "request to pod: Kubernetes', until its container runs": runs - made,
        "pod to agent: until the scheduler has called home": running - runs,
        "agent to client: until the scheduler has answered": answered - running,
    }


def workers(kube: Kube, number: int) -> list[Figure]:
    """From 0 to so many workers on one node; and the same number of `dask worker` without anything of ours."""
    with (
        _site(kube) as (server, _, watcher),
        Gateway(server.url) as gateway,
        gateway.new_cluster() as cluster,
        cluster.get_client() as client,
    ):
        cpu_s = _cpu_s(server)
        ours_s, began = _scaled(cluster, client, number)
        cpu_s = _cpu_s(server) - cpu_s
        made, runs = watcher.at("made", began), watcher.at("runs", began)
    stock_s = stock_workers(kube, number)
    return [
        Figure("workers: all connected", number, ours_s, "s"),
        Figure("workers: all pods made", number, made[number - 1] - began, "s"),
        Figure("workers: all containers run", number, runs[number - 1] - began, "s"),
        Figure("workers: `dask worker` in the same pods, made at once by kubectl", number, stock_s, "s"),
        Figure("workers: our share", number, 100 * (ours_s - stock_s) / ours_s, "%", 10),
        Figure("workers: processor time of our server and proxy", number, cpu_s, "s"),
        Figure("workers: the same, of one core", number, 100 * cpu_s / ours_s, "%"),
    ]


def _scaled(cluster: GatewayCluster, client: Client, number: int) -> tuple[float, float]:
    """Seconds until all are connected, and when that began."""
    began = time.perf_counter()
    cluster.scale(number)
    client.wait_for_workers(number, timeout=PATIENCE_S)
    return time.perf_counter() - began, began


def stock_workers(kube: Kube, number: int) -> float:
    """Seconds until so many `dask worker` pods, made at once by kubectl, are connected to a scheduler out here."""
    host = site.address_for_pods(kube.access)
    with kube.namespace("sluice-bench") as namespace, _scheduler(host) as address, Client(address) as client:
        began = time.perf_counter()
        kube.apply(namespace, *(_stock_worker(each, address) for each in range(number)))
        client.wait_for_workers(number, timeout=PATIENCE_S)
        return time.perf_counter() - began


@contextlib.contextmanager
def _scheduler(host: str) -> Iterator[str]:
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", host, "--port", "0", "--no-dashboard"]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "scheduler.json"
        process = subprocess.Popen(
            [*command, "--scheduler-file", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _until(path.exists)
            time.sleep(0.5)
            yield json.loads(path.read_text())["address"]
        finally:
            process.terminate()
            process.wait()


def _stock_worker(number: int, address: str) -> dict[str, Any]:
    command = ["dask", "worker", address, "--nthreads", "1", "--memory-limit", "384MiB", "--no-dashboard"]
    limits = {"cpu": "1", "memory": "384Mi"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"worker-{number}"},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "worker",
                    "image": IMAGE,
                    "args": command,
                    "resources": {"limits": limits, "requests": {"cpu": "10m", "memory": "64Mi"}},
                    "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
                    "workingDir": "/scratch",
                }
            ],
            "volumes": [{"name": "scratch", "emptyDir": {}}],
        },
    }


def _until(true: Callable[[], Any], patience_s: float = 60.0) -> None:
    deadline = time.monotonic() + patience_s
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError("the bench waited in vain")
        time.sleep(0.05)


def _cpu_s(server: LiveServer) -> float:
    """Processor seconds of the server and of its proxies."""
    assert server._process is not None
    proxies = json.loads((server.data_dir / "proxy.json").read_text())["proxies"]
    used = 0.0
    for pid in (server._process.pid, *(each["pid"] for each in proxies)):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        used += (int(fields[11]) + int(fields[12])) / _TICKS
    return used
