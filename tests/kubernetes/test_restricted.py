"""A cluster in a namespace that enforces `restricted`, with nothing said about pods: it computes, and has no way out.

What its processes can see and do is asked of themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dask_sluice import Gateway

from ..live import PATIENCE_S
from . import site
from .kube import Kube

pytestmark = pytest.mark.filterwarnings("ignore:Mismatched versions found")

SITE: dict[str, Any] = {
    "options": {"token": {"type": "string", "secret": True, "sets": {"variables": {"DATA_TOKEN": "{options.token}"}}}},
}


def _looker() -> Callable[[], dict[str, Any]]:
    """A function that says what a task finds around it; made here, since workers have none of our modules."""

    def look() -> dict[str, Any]:
        import os

        def writable(path: str) -> bool:
            try:
                with open(f"{path}/probe", "w") as file:
                    file.write("x")
            except OSError:
                return False
            os.unlink(f"{path}/probe")
            return True

        with open("/proc/self/status") as file:
            status = dict(line.split(":", 1) for line in file if ":" in line)
        folders = ("/", "/opt", "/usr/lib", "/tmp", "/sluice/scratch", "/sluice/agent")
        return {
            "user": (os.getuid(), os.getgid()),
            "writable": [path for path in folders if writable(path)],
            "capabilities": int(status["CapEff"], 16),
            "no_new_privileges": status["NoNewPrivs"].strip(),
            "seccomp": status["Seccomp"].strip(),
            "token": os.path.exists("/var/run/secrets/kubernetes.io/serviceaccount/token"),
            "launch_mode": oct(os.stat("/sluice/launch/launch.json").st_mode & 0o777),
            "data_token": os.environ.get("DATA_TOKEN"),
        }

    return look


def test_a_cluster_computes_under_restricted_and_its_processes_can_do_little_else(kube: Kube, tmp_path: Path) -> None:
    with (
        kube.namespace(**{"pod-security.kubernetes.io/enforce": "restricted"}) as namespace,
        site.server(kube, namespace, tmp_path, **SITE) as server,
        Gateway(server.url) as gateway,
        gateway.new_cluster(token="hunter2") as cluster,
    ):
        cluster.scale(1)
        with cluster.get_client() as client:
            client.wait_for_workers(1, timeout=PATIENCE_S)
            found = client.submit(_looker()).result(timeout=PATIENCE_S)
            on_scheduler = client.run_on_scheduler(_looker())
            pods = kube.run("-n", namespace, "get", "pods", "-o", "yaml")
        assert "hunter2" not in pods
        for each in (found, on_scheduler):
            assert each["user"] == (1000, 1000)
            assert each["writable"] == ["/tmp", "/sluice/scratch"]
            assert (each["capabilities"], each["no_new_privileges"], each["seccomp"]) == (0, "1", "2")
            assert not each["token"]
            assert each["launch_mode"] == "0o440"
            assert each["data_token"] == "hunter2"
