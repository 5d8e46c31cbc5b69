"""`migrate dask-gateway` on the values of eight deployments, re-created with their mistakes.

`deployments/NAME.yaml` (or `.txt`: a configuration in Python, never run) is read; `NAME.golden.yaml` is what is
printed, `NAME.golden.md` what is said. What is printed is loaded by the server's own check, and gives users the
clusters that they had. After a change: `python -m tests.cli.migrate.test_gateway`.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from dask_sluice.cli.migrate.accepted import not_accepted, with_an_image
from dask_sluice.cli.migrate.gateway import Migration
from dask_sluice.cli.migrate.report import Kind
from dask_sluice.server.amounts import GIB
from dask_sluice.server.model import Caller
from dask_sluice.server.policy import Policy
from dask_sluice.server.policy.resolve import Resolved
from dask_sluice.server.settings_file import loads
from dask_sluice.wire.errors import SluiceError

DEPLOYMENTS = Path(__file__).parent / "deployments"
NAMES = ("2i2c", "daskhub", "nebari", "pangeo", "pc", "purdue", "rhg", "rspy")
ADA = Caller("ada@example.org", groups=("ice",))


def migrated(name: str) -> Migration:
    migration = Migration()
    values = DEPLOYMENTS / f"{name}.yaml"
    if values.exists():
        migration.read((values,))
        return migration
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, f"{name}.py")
        shutil.copyfile(DEPLOYMENTS / f"{name}.txt", config)
        migration.read((config,))
    return migration


def gets(name: str, given: dict[str, Any]) -> Resolved:
    policy = Policy.of(with_an_image(loads(migrated(name).settings.text(), Path("sluice.yaml"))), None)
    offered = policy.offer(ADA)
    return policy.settle(ADA, "cluster", offered, offered.choose(given))


def said(name: str, kind: Kind) -> str:
    return "\n".join(map(str, migrated(name).report.of(kind)))


@pytest.mark.parametrize("name", NAMES)
def test_a_deployments_values_become_ours(name: str) -> None:
    migration = migrated(name)
    assert migration.text() == (DEPLOYMENTS / f"{name}.golden.yaml").read_text()
    assert migration.report.text() == (DEPLOYMENTS / f"{name}.golden.md").read_text()
    assert not_accepted(migration.settings) == []


@pytest.mark.parametrize("name", NAMES)
def test_what_is_printed_is_yaml_and_holds_the_settings_that_were_checked(name: str) -> None:
    migration = migrated(name)
    printed = yaml.safe_load(migration.text())
    for key in (*migration.under[:-1], *(["dask-sluice"] if migration.under else [])):
        printed = printed[key]
    assert (printed["config"] if migration.charted else printed) == migration.settings.data
    assert yaml.safe_load(migration.settings.text()) == migration.settings.data


def test_2i2c_sizes_by_choice_the_notebooks_image_and_the_idle_time_in_minutes() -> None:
    chosen = {"image": "quay.io/a/b:1", "worker_resource_allocation": "4CPU, 30.4Gi", "idle_timeout_minutes": 10}
    spec = gets("2i2c", {**chosen, "environment": {"SCRATCH_BUCKET": "s3://x"}}).spec
    assert (spec.worker.cores, spec.worker.cores_request, spec.worker.memory_bytes) == (4, 3.8, round(30.4 * GIB))
    assert (spec.image, spec.lease.idle_s, dict(spec.variables)) == ("quay.io/a/b:1", 600, {"SCRATCH_BUCKET": "s3://x"})
    assert spec.backend["worker"]["node_selector"] == {"k8s.dask.org/node-purpose": "worker"}
    assert spec.backend["scheduler"]["prometheus_port"] == 8787
    with pytest.raises(SluiceError, match="tag"):
        gets("2i2c", {"image": "quay.io/a/b"})


def test_pangeo_sets_aside_less_than_may_be_used() -> None:
    worker = gets("pangeo", {"worker_cores": 1.0, "worker_memory": 8.0}).spec.worker
    assert (worker.cores, round(worker.cores_request, 6)) == (1, 0.44)
    assert (worker.memory_bytes, worker.memory_request_bytes) == (8 * GIB, round(0.95 * 8 * GIB))


def test_pc_has_a_box_to_tick_for_a_gpu() -> None:
    spec = gets("pc", {"gpu": True, "image": "a/b:1", "env": {"GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "NO"}}).spec
    assert spec.worker.gpus == 1
    assert spec.backend["worker"]["tolerations"][-1]["value"] == "present"
    assert "gpu" in str(spec.backend["worker"]["affinity"])
    assert spec.variables["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
    assert spec.variables["GDAL_HTTP_MERGE_CONSECUTIVE_RANGES"] == "NO"  # the user's goes before the site's
    plain = gets("pc", {"image": "a/b:1"}).spec
    assert (plain.worker.gpus, plain.variables["GDAL_DISABLE_READDIR_ON_OPEN"]) == (0, "EMPTY_DIR")
    assert "cpu" in str(plain.backend["worker"]["affinity"])


def test_nebari_and_rhg_choose_by_profile() -> None:
    gpu = gets("nebari", {"profile": "GPU Worker"}).spec
    assert (gpu.worker.gpus, gpu.image) == (1, "quay.io/nebari/nebari-dask-worker-gpu:2025.1")
    assert (gpu.variables["HOME"], gets("nebari", {}).spec.worker.threads) == ("/home/ada@example.org", 2)
    giant = gets("rhg", {"profile": "giant", "active_memory_manager": True, "gcsfuse_tokens": {"BUCKET": "hunter2"}})
    assert (giant.spec.worker.cores, giant.spec.worker.memory_bytes) == (7, 46 * GIB)
    assert giant.spec.scheduler_image == "gcr.io/rhg/scheduler:v1.3"
    assert (giant.spec.lease.idle_s, giant.spec.scheduler.memory_bytes) == (300, round(22.5 * GIB))
    assert "DASK_DISTRIBUTED__SCHEDULER__ACTIVE_MEMORY_MANAGER__START" in giant.spec.variables
    assert list(giant.secret_variables) == ["BUCKET"]


def test_purdue_has_an_environment_by_path_and_the_users_name_on_each_worker_and_no_other() -> None:
    spec = gets("purdue", {"conda_env": "/depot/cms/envs/a", "cluster": "hammer", "env": {"A": "1"}}).spec
    assert spec.environment == "/depot/cms/envs/a"
    assert spec.variables == {
        "A": "1",
        "NB_USER": "ada@example.org",
        "PATH": "/depot/cms/envs/a/bin:/usr/local/bin:/usr/bin:/bin",
        "DASK_LOGGING__DISTRIBUTED": "error",
        "PYTHONWARNINGS": "ignore",
    }
    assert spec.backend["worker"]["labels"] == {"cluster": "hammer", "user": "ada-40example-2eorg"}


def test_rspy_programs_say_everything() -> None:
    given = {
        "worker_extra_pod_config": {"priorityClassName": "low"},
        "cluster_max_workers": 7,
        "s3_secret_key": "hunter2",
    }
    result = gets("rspy", given)
    assert result.spec.backend["worker"]["pod"] == {"priorityClassName": "low"}
    assert (result.spec.max_workers, list(result.secret_variables)) == (7, ["S3_SECRETKEY"])
    assert result.spec.backend["worker"]["env_from"] == [{"secretRef": {"name": "obs"}}]


# What lived for months without an error, each where it did; see docs/coming-from-dask-gateway.md.
WRONG = [
    ("values at the wrong depth", "2i2c", "gateway.scheduler: is no value of dask-gateway's chart"),
    ("a part between two names left out", "pangeo", "gateway.backend.cores: is no value"),
    ("a key of pods in the wrong case", "2i2c", "Kubernetes has no node_selector"),
    ("a returned key that nobody knows", "rspy", "Was 'scheduler_cores_limit' meant?"),
    ("an option that went nowhere", "pc", "gpu: the handler gives back a key"),
    ("a setting of another backend", "purdue", "c.KubeBackend.cluster_start_timeout: had no effect"),
    ("a trait with a slip", "nebari", "Was DBBackendBase.cluster_start_timeout meant?"),
    ("limits that went with an upgrade", "pangeo", "limits.user.clusters: had no effect since"),
    ("everybody's configuration changed by one", "purdue", "two users at once got each other's values"),
    ("a name that is no label", "purdue", "a name such as ada@example.org is no value of a label"),
    ("two handlers, the alphabet decides", "pangeo", "was never used"),
    ("any token of the hub comes in", "pangeo", "any token of the hub could start clusters"),
    ("notebooks without the scope", "2i2c", "the role server lacks"),
    ("one underscore for two", "2i2c", "this variable says nothing to it"),
    ("every name comes in", "purdue", "every name was accepted"),
    ("a second public door", "daskhub", "by default opened a LoadBalancer"),
    ("secrets in listings", "rhg", "its values were kept with the cluster and shown"),
]
OTHERWISE: list[tuple[str, str, Kind, str]] = [
    ("nobody bounds a user", "pc", "decide", "nothing bounds what one user may take"),
    ("forgotten clusters", "daskhub", "changes", "clusters without work were never stopped"),
    ("administrators without a say", "pc", "changes", "read who is an administrator and never used it"),
    ("threads by the request", "2i2c", "changes", "4 threads for each worker instead of 3"),
    ("sizes reckoned by hand", "2i2c", "maps", "policy.nodes with 'node' and 'share'"),
    ("a scheduler that is too small", "2i2c", "decide", "is little for a scheduler"),
    ("schedulers on spot nodes", "pangeo", "changes", "schedulers tolerated cloud.google.com/gke-preemptible"),
    ("waiting for ever", "daskhub", "changes", "waited for ever for pods that could not start"),
    ("the registry's secret", "pc", "decide", "workers need its secret too"),
    ("custom resources", "2i2c", "dropped", "delete the old custom resources"),
    ("a token in clear", "daskhub", "decide", "the hub's token stands there in clear"),
    ("slow work within a request", "nebari", "changes", "urllib.request is slow work"),
    ("limits count what may be used", "pangeo", "changes", "counts what may be used"),
    ("choices found out by running code", "nebari", "decide", "policy.options_hook give them for each user"),
]


@pytest.mark.parametrize(("name", "text"), [pytest.param(name, text, id=what) for what, name, text in WRONG])
def test_what_was_wrong_before_is_said(name: str, text: str) -> None:
    assert text in said(name, "wrong")


@pytest.mark.parametrize(("name", "kind", "text"), [pytest.param(*rest, id=what) for what, *rest in OTHERWISE])
def test_what_changes_or_needs_a_decision_is_said(name: str, kind: Kind, text: str) -> None:
    assert text in said(name, kind)


def test_no_secret_of_the_old_values_is_printed() -> None:
    for name, secret in (("daskhub", "changeme-0123456789abcdef"), ("pc", "0123456789abcdef0123456789abcdef")):
        migration = migrated(name)
        assert secret not in migration.text() + migration.report.text()


def write() -> None:
    for name in NAMES:
        migration = migrated(name)
        (DEPLOYMENTS / f"{name}.golden.yaml").write_text(migration.text())
        (DEPLOYMENTS / f"{name}.golden.md").write_text(migration.report.text())


if __name__ == "__main__":
    write()
