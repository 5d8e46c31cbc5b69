"""`migrate dask-kubernetes`: a KubeCluster as a call of ours; what only an administrator can give, as a profile."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from dask_sluice.cli import exits
from dask_sluice.cli.main import main
from dask_sluice.client.kubecluster import KEYWORDS
from dask_sluice.server.model import Caller
from dask_sluice.server.policy import Policy
from dask_sluice.server.settings_file import loads

POD = """
kind: Pod
metadata: {labels: {team: ice}}
spec:
  restartPolicy: Never
  nodeSelector: {pool: dask}
  containers:
    - image: ghcr.io/dask/dask:2026.3.0
      args:
        [dask-worker, --nthreads, '2', --no-dashboard, --memory-limit, 6GB, --death-timeout, '60', --preload, mine.py]
      name: dask-worker
      env: [{name: EXTRA_PIP_PACKAGES, value: s3fs}, {name: TOKEN, value: hunter2}]
      resources:
        limits: {cpu: "2", memory: 6Gi}
        requests: {cpu: 1500m, memory: 6Gi}
"""
CLUSTER = """
apiVersion: kubernetes.dask.org/v1
kind: DaskCluster
metadata: {name: example}
spec:
  idleTimeout: 600
  worker:
    replicas: 2
    spec:
      containers:
        - name: worker
          image: ghcr.io/dask/dask:2026.3.0
          args: [dask-worker, --name, $(DASK_WORKER_NAME)]
          resources: {limits: {cpu: 500m, memory: 2Gi}}
  scheduler:
    spec: {containers: [{name: scheduler, image: "ghcr.io/dask/dask:2026.3.0", args: [dask-scheduler]}]}
    service: {type: ClusterIP}
"""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["migrate", "dask-kubernetes", *map(str, arguments)])


def made(tmp_path: Path, text: str, name: str = "cluster.yaml", *more: str) -> tuple[dict[str, Any], Result]:
    """The keywords of `new_cluster` in the program that is printed."""
    file = tmp_path / name
    file.write_text(text)
    done = run(file, *more)
    assert done.exit_code == 0, done.output
    return keywords(done.stdout), done


def keywords(program: str) -> dict[str, Any]:
    calls = [
        node
        for node in ast.walk(ast.parse(program))
        if isinstance(node, ast.Call) and "new_cluster" in ast.unparse(node.func)
    ]
    return {str(each.arg): ast.literal_eval(each.value) for each in calls[0].keywords}


def profile_of(done: Result) -> str:
    return "\n".join(line[4:] for line in done.stdout.splitlines() if line.startswith("#   "))


def test_keywords_become_options() -> None:
    done = run(
        "-k",
        "image=a/b:1",
        "-k",
        "resources={limits: {cpu: 500m, memory: 2Gi}}",
        "-k",
        "env={A: 1}",
        "-k",
        "idle_timeout=600",
        "-k",
        "n_workers=3",
    )
    assert keywords(done.stdout) == {
        "image": "a/b:1",
        "worker_cores": 0.5,
        "worker_memory": 2.0,
        "variables": {"A": "1"},
        "idle_timeout": 600,
    }
    assert done.stdout.endswith("cluster.scale(3)\n")
    assert not profile_of(done)


def test_a_pod_template_becomes_a_profile_that_the_server_accepts_and_the_call_that_chooses_it(tmp_path: Path) -> None:
    given, done = made(tmp_path, POD)
    assert given["profile"] == "kubecluster"
    assert given["variables"] == {"EXTRA_PIP_PACKAGES": "s3fs", "TOKEN": "hunter2"}
    assert given["dask_config"] == {"distributed.worker.preload": ["mine.py"]}
    assert "hunter2" not in done.stderr
    settings = loads("backend: {kind: kubernetes}\n" + profile_of(done), Path("sluice.yaml"))
    policy, ada = Policy.of(settings, None), Caller("ada")
    offered = policy.offer(ada)
    spec = policy.settle(ada, "cluster", offered, offered.choose(given)).spec
    assert (spec.worker.cores, spec.worker.cores_request, spec.worker.threads) == (2, 1.5, 2)
    assert (spec.worker.memory_bytes, spec.image) == (6 * 2**30, "ghcr.io/dask/dask:2026.3.0")
    assert spec.backend["worker"] == {"labels": {"team": "ice"}, "node_selector": {"pool": "dask"}}


def test_a_dask_cluster_needs_no_administrator_where_options_say_it_all(tmp_path: Path) -> None:
    given, done = made(tmp_path, CLUSTER)
    assert given == {
        "image": "ghcr.io/dask/dask:2026.3.0",
        "worker_cores": 0.5,
        "worker_memory": 2.0,
        "idle_timeout": 600,
    }
    assert "cluster.scale(2)" in done.stdout
    assert "spec.scheduler.service: clients reach schedulers through the gateway's one address" in done.stderr


def test_dasks_configuration(tmp_path: Path) -> None:
    template = re.sub("^", "    ", POD, flags=re.MULTILINE)
    text = f"kubernetes:\n  name: 'dask-{{user}}'\n  count: {{start: 2, max: 10}}\n  worker-template:\n{template}"
    given, done = made(tmp_path, text)
    assert given["profile"] == "kubecluster"
    assert "cluster.scale(2)" in done.stdout
    assert "count.max: limits.cluster.workers is the site's" in done.stderr


def test_a_program_is_read_and_never_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    text = f"""
from dask_kubernetes.operator import KubeCluster
open({str(trap)!r}, "w")
MEMORY = 4
cluster = KubeCluster(name="mine", resources={{"limits": {{"memory": f"{{MEMORY}}Gi"}}}}, image=find(), jupyter=True)
"""
    given, done = made(tmp_path, text, "analysis.py")
    assert not trap.exists()
    assert given == {"worker_memory": 4.0}
    assert "analysis.py:5: image: cannot be read without running it: find()" in done.stderr
    assert "analysis.py:5: jupyter: the notebook you are in" in done.stderr


def test_a_helm_cluster_is_one_to_connect_to(tmp_path: Path) -> None:
    done = run("--helm", "-k", "release_name=myrelease", "-k", "n_workers=10")
    assert "gateway.connect(name)" in done.stdout
    assert "release_name: the cluster that helm made is one for everybody" in done.stderr


@pytest.mark.parametrize("name", KEYWORDS)
def test_every_keyword_of_dask_kubernetes_has_something_said_about_it(name: str) -> None:
    done = run(
        "-k",
        f"{name}={{limits: {{cpu: 1}}}}" if name == "resources" else f"{name}=1" if name != "env" else "env={A: 1}",
    )
    assert done.exit_code == 0, done.output
    assert "is no keyword" not in done.stderr


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "apiVersion: v1\nkind: Service\n", "is neither a pod template, nor a DaskCluster"),
        ("a.yaml", "[1", "is not YAML"),
        ("a.yaml", "7", "holds no keys with values"),
        ("a.py", "x = 1\n", "calls neither KubeCluster nor HelmCluster"),
        ("a.py", "x = (\n", "is not Python"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_sentence(tmp_path: Path, name: str, text: str, message: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    done = run(file)
    assert (done.exit_code, done.stdout) == (exits.USAGE, "")
    assert message in done.stderr


def test_usage() -> None:
    assert run().exit_code == exits.USAGE
    assert run("-k", "n_workers").exit_code == exits.USAGE
    assert run("-k", "env={").exit_code == exits.USAGE


def test_a_pod_without_a_kind_and_odd_parts_never_end_in_a_traceback(tmp_path: Path) -> None:
    file = tmp_path / "pod.yaml"
    for text in (
        "containers: []",
        "spec: {containers: [{resources: {limits: {cpu: lots}}, args: [jupyter], env: 3}]}",
        "kubernetes: {count: 3, env: 7}",
        "kind: DaskCluster\nspec: {worker: 3}",
    ):
        file.write_text(text)
        done = run(file)
        assert done.exception is None or isinstance(done.exception, SystemExit), (text, done.exception)


def test_the_profile_is_yaml_of_its_own(tmp_path: Path) -> None:
    _, done = made(tmp_path, POD)
    assert list(yaml.safe_load(profile_of(done))) == ["profiles"]
