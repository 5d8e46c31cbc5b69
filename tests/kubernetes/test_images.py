"""Users' images, old and new, need only dask and distributed; stock clients of dask-gateway use them as before."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scripts.environments import EnvironmentFailed

from ..conftest import not_here
from . import site
from .images import image_of, interpreter_of
from .kube import Kube, NotThere
from .user import User

OLD_CLIENT_STEPS = Path(__file__).parents[1] / "real" / "old_client_steps.py"
NEWEST = "distributed-newest"
PLAIN = [
    pytest.param("distributed-2022.4.0", marks=pytest.mark.slow),
    pytest.param("distributed-2024.12", marks=pytest.mark.slow),
    NEWEST,
]
STOCK = [
    ("client-2026.3.0", "sync"),
    ("client-2026.3.0", "async"),
    pytest.param("client-2022.4.0", "async", marks=pytest.mark.slow),
]
PATIENCE_S = 180
STEPS = """
import json, sys, tempfile
from distributed import Client
from distributed.security import Security

given = json.load(sys.stdin)
def file(text):
    with tempfile.NamedTemporaryFile("w", suffix=".pem", delete=False) as made:
        made.write(text)
    return made.name

security = Security(
    tls_ca_file=file(given["ca_certificate"]),
    tls_client_cert=file(given["certificate"]),
    tls_client_key=file(given["key"]),
    require_encryption=True,
)
with Client(given["address"], security=security, timeout=60) as client:
    client.wait_for_workers(1)
    print(client.submit(sum, [1, 2, 3]).result(timeout=60))
    print(client.run(lambda: __import__("os").environ.get("PRELOADED", "")))
"""


def image(kube: Kube, name: str) -> str:
    try:
        return image_of(kube, name)
    except (NotThere, EnvironmentFailed) as error:
        not_here(str(error))


def computed(user: User, cluster: str, kube: Kube, namespace: str, python: Path) -> list[str]:
    """What a client of the same environment computes, inside the cluster's network."""
    (pod,) = kube.items(namespace, "pods", "app.kubernetes.io/component=dask-scheduler")
    given = {**user.credentials(cluster), "address": f"tls://{pod['status']['podIP']}:8786"}
    done = subprocess.run(
        [str(python), "-c", STEPS], input=json.dumps(given), capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def with_image(kube: Kube, name: str, **more: Any) -> dict[str, Any]:
    return site.merged({"backend": {"kubernetes": {"image": image(kube, name)}}}, more)


@pytest.mark.parametrize("name", PLAIN)
def test_an_image_with_this_distributed_computes(kube: Kube, namespace: str, tmp_path: Path, name: str) -> None:
    with site.server(kube, namespace, tmp_path, **with_image(kube, name)) as server, User(server) as user:
        cluster = user.started()
        user.scale(cluster, 1)
        assert computed(user, cluster, kube, namespace, interpreter_of(kube, name))[0] == "6"
        user.stop(cluster)


@pytest.mark.parametrize(("name", "how"), STOCK)
def test_an_unmodified_stock_client_works_as_documented(
    kube: Kube, namespace: str, tmp_path: Path, name: str, how: str
) -> None:
    with site.server(kube, namespace, tmp_path, **with_image(kube, name)) as server:
        python = interpreter_of(kube, name)
        command = [str(python), str(OLD_CLIENT_STEPS), how, server.address, server.token, "/opt/venv"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\nthe server:\n{server.log[-3000:]}"


def test_another_kind_of_worker_is_made_by_a_preload(kube: Kube, namespace: str, tmp_path: Path) -> None:
    """As `dask cuda worker` needs it: code of the site's that runs in each worker before it serves."""
    preload = "import os\ndef dask_setup(worker):\n    os.environ['PRELOADED'] = type(worker).__name__\n"
    kube.apply(
        namespace,
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "preload"},
            "data": {"preload.py": preload},
        },
    )
    worker = {
        "volumes": [{"name": "preload", "configMap": {"name": "preload"}}],
        "volume_mounts": [{"name": "preload", "mountPath": "/preload"}],
    }
    variables = {"DASK_DISTRIBUTED__WORKER__PRELOAD": '["/preload/preload.py"]'}
    settings = with_image(
        kube,
        NEWEST,
        backend={"kubernetes": {"worker": worker}},
        policy={"defaults": {"variables": variables}},
    )
    with site.server(kube, namespace, tmp_path, **settings) as server, User(server) as user:
        cluster = user.started()
        user.scale(cluster, 1)
        lines = computed(user, cluster, kube, namespace, interpreter_of(kube, NEWEST))
        assert "'Worker'" in lines[1]
        user.stop(cluster)
