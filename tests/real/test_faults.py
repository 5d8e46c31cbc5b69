"""What breaks between a user and their cluster: the person concerned is told, nothing is left, the server goes on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dask_sluice import Gateway, GatewayClusterError, GatewayWarning, SluiceError

from ..conftest import not_here
from ..live import PATIENCE_S, LiveServer, until
from ..server.serving import leftovers

pytestmark = pytest.mark.real


def assert_it_goes_on(server: LiveServer) -> None:
    """A new cluster starts, computes, and ends without leaving a process."""
    with Gateway(server.url) as gateway, gateway.new_cluster() as cluster:
        cluster.scale(1)
        with cluster.get_client() as client:
            assert client.submit(sum, [1, 2, 3]).result(timeout=PATIENCE_S) == 6


def assert_nothing_runs(server: LiveServer) -> None:
    """Of clusters, that is: nurseries and proxies belong to the server, which ends them with itself."""
    with Gateway(server.url) as gateway:
        until(lambda: not gateway.list_clusters(), "no cluster is listed")
    assert server.stop() == 0
    until(lambda: not leftovers(server.data_dir), "no process is left")


def job_pid(server: LiveServer, cluster: str, job: str) -> int:
    """The process that a mark of the local backend names."""
    (mark,) = (server.data_dir / "clusters" / cluster).glob(f"*{job}*.pid")
    return int(mark.read_text().split()[0])


def proxy_pids(server: LiveServer) -> list[int]:
    return [proxy["pid"] for proxy in json.loads((server.data_dir / "proxy.json").read_text())["proxies"]]


def test_clusters_compute_on_over_a_killed_server_and_clients_find_the_next(own_server: LiveServer) -> None:
    with Gateway(own_server.url) as gateway:
        cluster = gateway.new_cluster()
        cluster.scale(2)
        client = cluster.get_client()
        client.wait_for_workers(2)
        futures = client.map(lambda number: time.sleep(0.2) or number, range(20), pure=False)  # type: ignore[func-returns-value]
        own_server.kill()
        assert sum(client.gather(futures)) == 190
        own_server.start()
        assert client.submit(sum, [1, 2]).result(timeout=PATIENCE_S) == 3
        cluster.scale(3)
        client.wait_for_workers(3, timeout=PATIENCE_S)
        client.close()
        cluster.close()
    assert_it_goes_on(own_server)
    assert_nothing_runs(own_server)


def test_a_killed_proxy_costs_a_client_nothing_but_a_moment(own_server: LiveServer) -> None:
    with Gateway(own_server.url) as gateway, gateway.new_cluster() as cluster:
        cluster.scale(1)
        client = cluster.get_client()
        client.wait_for_workers(1)
        before = client.submit(sum, [1, 2]).result(timeout=PATIENCE_S)
        (proxy,) = proxy_pids(own_server)
        os.kill(proxy, signal.SIGKILL)
        until(lambda: client.status == "running" and proxy_pids(own_server) != [proxy], "there is another proxy")
        until(lambda: _computes(client), "the client has reconnected")
        assert before == 3
        cluster.scale(2)
        client.wait_for_workers(2, timeout=PATIENCE_S)
        client.close()
    assert_nothing_runs(own_server)


def _computes(client: Any) -> bool:
    with contextlib.suppress(OSError, TimeoutError):
        return bool(client.submit(sum, [1, 2, 3], pure=False).result(timeout=5) == 6)
    return False


@pytest.mark.parametrize("when", ["idle", "working"])
def test_a_killed_nursery_is_replaced_and_its_clusters_go_on(own_server: LiveServer, when: str) -> None:
    with Gateway(own_server.url) as gateway, gateway.new_cluster() as cluster:
        cluster.scale(1)
        client = cluster.get_client()
        client.wait_for_workers(1)
        if when == "working":
            cluster.scale(4)
        os.kill(nursery_pid(own_server), signal.SIGKILL)
        assert client.submit(sum, [1, 2, 3]).result(timeout=PATIENCE_S) == 6
        cluster.scale(2)
        until(lambda: len(client.scheduler_info()["workers"]) == 2, "two workers run")
        client.close()
    assert_it_goes_on(own_server)
    assert_nothing_runs(own_server)


def nursery_pid(server: LiveServer) -> int:
    said = "".join(log.read_text() for log in server.data_dir.glob("**/nursery-*.log"))
    return int(said.rpartition(" warm")[0].rpartition("nursery ")[2].split()[0])


def test_a_killed_worker_is_replaced_and_its_task_done_again(own_server: LiveServer) -> None:
    with Gateway(own_server.url) as gateway, gateway.new_cluster() as cluster:
        cluster.scale(1)
        client = cluster.get_client()
        client.wait_for_workers(1)
        future = client.submit(lambda: time.sleep(1) or 5, pure=False)  # type: ignore[func-returns-value]
        until(lambda: any(client.processing().values()), "the task runs")
        os.kill(job_pid(own_server, cluster.name, "worker-1"), signal.SIGKILL)
        assert future.result(timeout=PATIENCE_S) == 5
        said = [event.sentence for event in cluster.events() if event.subject == "worker-1"]
        assert any("SIGKILL" in sentence for sentence in said), said
        client.close()
    assert_nothing_runs(own_server)


def test_a_killed_scheduler_is_told_to_its_user(own_server: LiveServer) -> None:
    with Gateway(own_server.url) as gateway:
        cluster = gateway.new_cluster()
        cluster.scale(1)
        with pytest.warns(GatewayWarning, match="SIGKILL"):
            os.kill(job_pid(own_server, cluster.name, "scheduler"), signal.SIGKILL)
            until(lambda: gateway.get_cluster(cluster.name).status == "failed", "it has failed")
            until(lambda: not cluster._watching or cluster._watching.done(), "its object was told")
        with pytest.raises(SluiceError, match="SIGKILL"):
            gateway.connect(cluster.name)
        cluster.close()
    assert_it_goes_on(own_server)
    assert_nothing_runs(own_server)


@pytest.fixture
def broken_environment(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Environments like ours, but for what their Dask configuration says."""

    def make(configuration: str) -> str:
        prefix = tmp_path / "broken"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(prefix)], check=True)
        (site,) = prefix.glob("lib/python*/site-packages")
        ours = next(path for path in sys.path if path.endswith("site-packages"))
        (site / "ours.pth").write_text(f"{ours}\n")
        (prefix / "etc" / "dask").mkdir(parents=True)
        (prefix / "etc" / "dask" / "broken.yaml").write_text(configuration)
        return str(prefix)

    yield make


def test_a_scheduler_that_dies_at_its_start_says_why(
    own_server: LiveServer, broken_environment: Callable[[str], str]
) -> None:
    environment = broken_environment("distributed: {scheduler: {preload: [no_such_module]}}\n")
    with Gateway(own_server.url) as gateway:
        with pytest.raises(GatewayClusterError, match="No module named 'no_such_module'"):
            gateway.new_cluster(environment=environment)
        assert gateway.list_clusters() == []
    assert_it_goes_on(own_server)
    assert_nothing_runs(own_server)


def test_workers_that_cannot_import_are_given_up_for_a_reason(
    own_server: LiveServer, broken_environment: Callable[[str], str]
) -> None:
    environment = broken_environment("distributed: {worker: {preload: [no_such_module]}}\n")
    with Gateway(own_server.url) as gateway, gateway.new_cluster(environment=environment) as cluster:
        cluster.scale(1)
        failed = "No module named 'no_such_module'"
        until(lambda: any(failed in event.sentence for event in cluster.events()), "it is told why")
    assert_it_goes_on(own_server)
    assert_nothing_runs(own_server)


INTERRUPTED = """
import os, signal, sys, threading
from dask_sluice import Gateway
gateway = Gateway(sys.argv[1])
threading.Timer(float(sys.argv[2]), os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    while True:  # until the interrupt comes, somewhere in here
        WHAT
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("after_s", [0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2])
def test_an_interrupted_start_leaves_no_cluster(live_server: LiveServer, after_s: float) -> None:
    with Gateway(live_server.url) as gateway:
        before = {report.name for report in gateway.list_clusters()}
        what = "gateway.new_cluster(quiet=True).close()"
        command = [sys.executable, "-c", INTERRUPTED.replace("WHAT", what), live_server.url, str(after_s)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert (ended.stdout, ended.returncode) == ("interrupted\n", 0), ended.stderr
        # In its first moment, distributed's own `sync` trips over an interrupt and says so.
        assert not ended.stderr or "<function sync.<locals>.cancel" in ended.stderr
        until(lambda: {report.name for report in gateway.list_clusters()} <= before, "nothing new is left")


@pytest.mark.parametrize("after_s", [0.01, 0.03, 0.05])
def test_an_interrupted_look_at_a_cluster_leaves_it_alone(live_server: LiveServer, after_s: float) -> None:
    with Gateway(live_server.url) as gateway, gateway.new_cluster() as cluster:
        what = f"gateway.connect({cluster.name!r}).close()"
        command = [sys.executable, "-c", INTERRUPTED.replace("WHAT", what), live_server.url, str(after_s)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert (ended.stdout, ended.returncode) == ("interrupted\n", 0), ended.stderr
        assert gateway.get_cluster(cluster.name).status == "running"


def test_noise_on_the_port_disturbs_nobody(live_server: LiveServer) -> None:
    host, port = "127.0.0.1", int(live_server.address.rpartition(":")[2])
    noise = [os.urandom(4096), b"\x16\x03\x01\xff\xff" + os.urandom(70_000), b"\0" * 100, b"GET / HTTP/9.9\r\n\r\n"]
    for bytes_ in noise * 5:
        with socket.create_connection((host, port), timeout=PATIENCE_S) as connection, contextlib.suppress(OSError):
            connection.sendall(bytes_)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
    assert_it_goes_on(live_server)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    if os.geteuid() != 0:
        not_here("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m,mode=755", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        not_here(f"a small disk cannot be mounted: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_said_and_survived(small_disk: Path) -> None:
    with LiveServer(small_disk) as server, Gateway(server.url) as gateway:
        cluster = gateway.new_cluster()
        cluster.scale(1)
        client = cluster.get_client()
        client.wait_for_workers(1)
        filling = small_disk / "filling"
        with pytest.raises(OSError, match="No space left"), filling.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(65536))
        with pytest.raises(SluiceError, match=r"disk|space"):
            gateway.new_cluster()
        assert client.submit(sum, [1, 2, 3]).result(timeout=PATIENCE_S) == 6
        filling.unlink()
        client.close()
        cluster.close()
        until(lambda: not gateway.list_clusters(), "everything could be stopped")
        assert_it_goes_on(server)
