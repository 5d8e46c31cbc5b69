"""The pod of a job: golden files, and what holds for every pod whatever a site says.

Restricted by default; requests and limits apart, exact; nothing secret in the spec; ours is ours.
After a change that is meant: `python -m tests.server.backends.kubernetes.cases`.
"""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dask_sluice.server.backends.kubernetes import objects, pods
from dask_sluice.server.backends.kubernetes.overlay import problems
from dask_sluice.server.backends.kubernetes.schema import Checker
from dask_sluice.server.backends.kubernetes.settings import GPUSettings, KubernetesSettings, PodSettings
from dask_sluice.server.backends.protocol import Job, Refused, Size

from .cases import CASES, GOLDEN, golden, job_of, made, made_of, settings_of

GIB = 2**30
PLAIN = job_of(settings_of(CASES["worker"].site), CASES["worker"])
SCHEDULER = job_of(settings_of(CASES["scheduler"].site), CASES["scheduler"])
SITE = KubernetesSettings(image="registry.test/dask:test")


def pod_of(job: Job = PLAIN, settings: KubernetesSettings = SITE, **worker: Any) -> dict[str, Any]:
    """The pod of a worker (or scheduler) for which policy said this."""
    said = {job.kind.value: worker} if worker else job.overlay
    assert list(problems(said, settings, filled=True)) == []
    return made_of(replace(job, overlay=said), settings)[0]


def ours(pod: dict[str, Any]) -> dict[str, Any]:
    container: dict[str, Any] = pod["spec"]["containers"][0]
    return container


@pytest.mark.parametrize("name", CASES)
def test_a_pod_is_the_one_in_the_golden_file(name: str) -> None:
    assert made(CASES[name])[0] == yaml.safe_load(golden(name).read_text())


def test_every_golden_file_has_its_case() -> None:
    assert {file.stem for file in GOLDEN.iterdir()} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_a_pod_fits_the_schema_of_kubernetes(name: str) -> None:
    spec = made(CASES[name])[0]["spec"]
    assert list(Checker({}, filled=True).problems(spec, {"$ref": "PodSpec"})) == []


@pytest.mark.parametrize("name", CASES)
def test_a_pod_is_restricted_without_being_asked(name: str) -> None:
    spec = made(CASES[name])[0]["spec"]
    assert (
        spec["securityContext"].items() >= {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}.items()
    )
    assert ours({"spec": spec})["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert spec["automountServiceAccountToken"] is False
    assert spec["restartPolicy"] == "Never"


@pytest.mark.parametrize("name", CASES)
def test_each_mount_has_its_volume_and_no_path_or_name_is_given_twice(name: str) -> None:
    spec = made(CASES[name])[0]["spec"]
    volumes = [each["name"] for each in spec["volumes"]]
    mounts = ours({"spec": spec})["volumeMounts"]
    assert {each["name"] for each in mounts} <= set(volumes)
    assert len(volumes) == len(set(volumes))
    assert len({each["mountPath"] for each in mounts}) == len(mounts)


def test_secret_variables_and_keys_are_in_files_of_the_secret_and_nowhere_in_the_pod() -> None:
    launch = {**PLAIN.launch, "tls": {"key": "hunter2"}}
    job = replace(PLAIN, variables={"TOKEN": "hunter2", "A": "1"}, launch=launch)  # type: ignore[arg-type]
    pod, secret = made_of(job, SITE)
    assert "hunter2" not in json.dumps(pod)
    files = {name: json.loads(base64.b64decode(content)) for name, content in secret["data"].items()}
    assert files["variables.json"] == {"TOKEN": "hunter2", "A": "1"}
    assert files["launch.json"]["tls"] == {"key": "hunter2"}
    assert pod["spec"]["volumes"][-2]["secret"]["secretName"] == secret["metadata"]["name"]


def test_ports_are_fixed_and_the_launch_document_says_the_same() -> None:
    for job, ports in ((SCHEDULER, {"dask": 8786, "dashboard": 8787}), (PLAIN, {"dask": 8788, "nanny": 8789})):
        assert {each["name"]: each["containerPort"] for each in ours(pod_of(job))["ports"]} == ports
    scheduler, worker = objects.launch_of(SCHEDULER), objects.launch_of(PLAIN)
    assert (scheduler["port"], scheduler["dashboard_port"]) == (8786, 8787)
    assert (worker["port"], worker["nanny_port"], worker["local_directory"]) == (8788, 8789, "/sluice/scratch")


def test_a_worker_may_hand_over_what_it_holds_in_all_but_the_last_of_its_grace() -> None:
    assert [objects.launch_of(PLAIN, grace_s)["leave_s"] for grace_s in (30, 5, 2)] == [25, 0, 0]
    assert "leave_s" not in objects.launch_of(SCHEDULER, 30)


@pytest.mark.parametrize(
    ("size", "requests", "limits"),
    [
        (Size(2, 8 * GIB, 2), ("2000m", str(8 * GIB)), ("2000m", str(8 * GIB))),
        (Size(8, 32 * GIB, 8, cores_request=7.745, memory_request_bytes=30 * GIB + 1),
         ("7745m", str(30 * GIB + 1)), ("8000m", str(32 * GIB))),
        (Size(0.1, 0, 1), ("100m", None), ("100m", None)),
        (Size(1, 0, 1, memory_request_bytes=GIB), ("1000m", str(GIB)), ("1000m", None)),
        (Size(0.0004, GIB, 1), ("1m", str(GIB)), ("1m", str(GIB))),
    ],
)  # fmt: skip
def test_requests_and_limits_are_apart_and_exact(size: Size, requests: Any, limits: Any) -> None:
    found = pods.resources(size, "nvidia.com/gpu")
    for kind, (cpu, memory) in (("requests", requests), ("limits", limits)):
        assert found[kind]["cpu"] == cpu
        assert found[kind].get("memory") == memory
        assert "nvidia.com/gpu" not in found[kind]


@given(st.integers(1, 512_000))
def test_every_thousandth_of_a_core_is_kept(millicores: int) -> None:
    assert pods.millicores(millicores / 1000) == f"{millicores}m"


def test_a_gpu_brings_its_device_its_nodes_and_its_variables() -> None:
    amd = GPUSettings(
        resource="amd.com/gpu",
        node_selector={"pool": "gpu"},
        tolerations=({"key": "amd.com/gpu", "operator": "Exists"},),
        variables={"ROCR": "1"},
    )
    site = SITE.model_copy(update={"gpu": amd})
    pod = pod_of(replace(PLAIN, size=replace(PLAIN.size, gpus=2)), site)
    for kind in ("requests", "limits"):
        assert ours(pod)["resources"][kind]["amd.com/gpu"] == "2"
    assert pod["spec"]["nodeSelector"] == {"pool": "gpu"}
    assert {"key": "amd.com/gpu", "operator": "Exists"} in pod["spec"]["tolerations"]
    assert {"name": "ROCR", "value": "1"} in ours(pod)["env"]
    without = pod_of(PLAIN, site)
    assert "nodeSelector" not in without["spec"]
    assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"} in ours(without)["env"]


def test_dasks_own_nodes_are_tolerated_in_both_spellings_and_for_ones_own_role_only() -> None:
    for job in (PLAIN, SCHEDULER):
        found = [each for each in pod_of(job)["spec"]["tolerations"] if "dask" in each["key"]]
        assert {each["key"] for each in found} == {"k8s.dask.org/dedicated", "k8s.dask.org_dedicated"}
        assert {each["value"] for each in found} == {job.kind.value}


SPOT = {"cloud.google.com/gke-spot", "cloud.google.com/gke-preemptible", "kubernetes.azure.com/scalesetpriority",
        "eks.amazonaws.com/capacityType", "karpenter.sh/capacity-type"}  # fmt: skip
TERMS = [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"matchFields": [{"key": "metadata.name"}]}]


def required(pod: dict[str, Any]) -> list[dict[str, Any]]:
    node = pod["spec"].get("affinity", {}).get("nodeAffinity", {})
    terms: list[dict[str, Any]] = node.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get(
        "nodeSelectorTerms", []
    )
    return terms


def test_workers_may_run_on_spot_nodes_and_schedulers_never_do_whatever_the_affinity_says() -> None:
    assert {each["key"] for each in pod_of(PLAIN)["spec"]["tolerations"]} >= SPOT
    own = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": TERMS}}}
    for said in ({}, {"affinity": own}, {"pod": {"affinity": own}}):
        pod = made_of(replace(SCHEDULER, overlay={"scheduler": said}), SITE)[0]
        assert not {each["key"] for each in pod["spec"]["tolerations"]} & SPOT
        terms = required(pod)
        assert len(terms) == (2 if said else 1)
        for term in terms:
            assert {each["key"] for each in term["matchExpressions"] if each["operator"] == "NotIn"} == SPOT


def test_workers_can_be_kept_on_spot_nodes_or_off_them_or_be_drawn_there() -> None:
    assert [len(term["matchExpressions"]) for term in required(pod_of(spot="require"))] == [1] * 5
    assert [len(term["matchExpressions"]) for term in required(pod_of(spot="never"))] == [5]
    assert not {each["key"] for each in pod_of(spot="never")["spec"]["tolerations"]} & SPOT
    wished = pod_of(spot="prefer")["spec"]["affinity"]["nodeAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]
    assert {each["preference"]["matchExpressions"][0]["key"] for each in wished} == SPOT
    assert "affinity" not in pod_of(spot="allow")["spec"]


def test_a_toleration_that_several_ask_for_is_there_once() -> None:
    twice = {"key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true", "effect": "NoSchedule"}
    found = pod_of(tolerations=[twice], tolerate=["gke_spot"])["spec"]["tolerations"]
    assert found.count(twice) == 1


def test_what_an_overlay_cannot_reach_is_set_last() -> None:
    """Even by somebody who gets past the checks."""
    hostile = {
        "labels": {"gateway.dask.org/cluster": "another"},
        "annotations": {"hub.jupyter.org/username": "grace"},
        "pod": {"restartPolicy": "Always", "containers": [], "volumes": [{"name": "sluice-launch", "emptyDir": {}}]},
        "container": {
            "name": "x",
            "env": [{"name": "SLUICE_LAUNCH", "value": "/tmp/x"}],
            "volumeMounts": [{"name": "sluice-scratch", "mountPath": "/sluice/launch"}],
            "terminationMessagePath": "/x",
        },
    }
    assert len(list(problems({"worker": hostile}, SITE, filled=True))) >= 7
    pod = made_of(replace(PLAIN, overlay={"worker": hostile}), SITE)[0]
    assert pod["metadata"]["labels"]["gateway.dask.org/cluster"] == PLAIN.cluster
    assert pod["metadata"]["annotations"]["hub.jupyter.org/username"] == "ada"
    plain = pod_of(PLAIN)
    assert pod["spec"]["restartPolicy"] == "Never"
    assert [each["name"] for each in pod["spec"]["containers"]] == ["dask-worker"]
    assert {each["name"]: each for each in pod["spec"]["volumes"]} == {
        each["name"]: each for each in plain["spec"]["volumes"]
    }
    for key in ("env", "volumeMounts"):
        assert sorted(ours(pod)[key], key=json.dumps) == sorted(ours(plain)[key], key=json.dumps)
    assert ours(pod)["terminationMessagePath"] == "/dev/termination-log"


@pytest.mark.parametrize(
    ("said", "mode"),
    [
        ({}, 0o400),
        ({"fs_group": "none"}, 0o444),
        ({"fs_group": "none", "run_as_user": 0}, 0o400),
        ({"fs_group": "none", "pod": {"securityContext": {"fsGroup": 100}}}, 0o400),
        ({"run_as_user": "none"}, 0o400),
    ],
)
def test_the_launch_document_is_as_closed_as_the_pods_user_allows(said: dict[str, Any], mode: int) -> None:
    spec = pod_of(**said)["spec"]
    volume = next(each for each in spec["volumes"] if each["name"] == "sluice-launch")
    assert volume["secret"]["defaultMode"] == mode


def test_a_folder_is_writable_once_ours_or_the_sites() -> None:
    def mounts(**said: Any) -> dict[str, str]:
        spec = pod_of(**said)["spec"]
        return {each["mountPath"]: each["name"] for each in ours({"spec": spec})["volumeMounts"]}

    disk = {"volumes": [{"name": "disk", "emptyDir": {}}], "volume_mounts": [{"name": "disk", "mountPath": "/tmp"}]}
    assert mounts()["/tmp"] == "sluice-writable-0"
    assert mounts(writable=["/var/cache"]).keys() >= {"/tmp", "/var/cache"}
    assert mounts(**disk)["/tmp"] == "disk"
    assert "/tmp" not in mounts(read_only_root=False)


@pytest.mark.parametrize(
    ("environment", "python"),
    [
        ("", "python"),
        ("/opt/conda", "/opt/conda/bin/python"),
        ("/depot/envs/base/", "/depot/envs/base/bin/python"),
        ("/usr/bin/python3.12", "/usr/bin/python3.12"),
    ],
)
def test_an_environment_is_where_its_python_is(environment: str, python: str) -> None:
    container = ours(pod_of(replace(PLAIN, environment=environment)))
    assert container["args"] == [python, "/sluice/agent/agent.zip", "worker"]
    assert "command" not in container


def test_the_images_entry_point_can_be_replaced_or_passed_over() -> None:
    agent = ["/opt/python", "/sluice/agent/agent.zip", "worker"]
    replaced = ours(pod_of(python="/opt/python", entrypoint=["/opt/run-in", "ada/base"]))
    assert (replaced["command"], replaced["args"]) == (["/opt/run-in", "ada/base"], agent)
    passed_over = ours(pod_of(python="/opt/python", entrypoint=[]))
    assert passed_over["command"] == agent
    assert "args" not in passed_over


def test_typed_keys_come_to_what_kubernetes_calls_them() -> None:
    pod = pod_of(
        labels={"cost": "ice"},
        annotations={"note": "of any length " * 10},
        prometheus_port=8787,
        node_selector={"pool": "dask"},
        affinity={"podAffinity": {}},
        service_account_name="user-sa",
        automount_service_account_token=True,
        run_as_user=1001,
        run_as_group=100,
        fs_group="none",
        scheduler_name="user-scheduler",
        priority_class_name="low",
        image_pull_policy="Always",
        image_pull_secrets=["a", "b"],
        env_from=[{"secretRef": {"name": "obs"}}],
        startup_probe={"tcpSocket": {"port": "dask"}},
        readiness_probe={"tcpSocket": {"port": "dask"}},
        liveness_probe={"tcpSocket": {"port": "dask"}},
        containers=[{"name": "sidecar", "image": "x/y:1"}],
        init_containers=[{"name": "first", "image": "x/y:1"}],
        stop_grace_s=5,
        pod={"dnsPolicy": "Default", "securityContext": {"supplementalGroups": [5]}},
        container={"workingDir": "/home/ada"},
    )
    spec, meta = pod["spec"], pod["metadata"]
    assert meta["labels"]["cost"] == "ice"
    assert meta["annotations"].items() >= {"prometheus.io/scrape": "true", "prometheus.io/port": "8787"}.items()
    assert (
        spec.items()
        >= {
            "nodeSelector": {"pool": "dask"},
            "affinity": {"podAffinity": {}},
            "serviceAccountName": "user-sa",
            "automountServiceAccountToken": True,
            "schedulerName": "user-scheduler",
            "priorityClassName": "low",
            "imagePullSecrets": [{"name": "a"}, {"name": "b"}],
            "terminationGracePeriodSeconds": 5,
            "dnsPolicy": "Default",
            "initContainers": [{"name": "first", "image": "x/y:1"}],
        }.items()
    )
    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 1001,
        "runAsGroup": 100,
        "supplementalGroups": [5],
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert [each["name"] for each in spec["containers"]] == ["dask-worker", "sidecar"]
    assert (
        ours(pod).items()
        >= {
            "imagePullPolicy": "Always",
            "envFrom": [{"secretRef": {"name": "obs"}}],
            "startupProbe": {"tcpSocket": {"port": "dask"}},
            "workingDir": "/home/ada",
        }.items()
    )


def test_every_key_of_a_pods_settings_changes_the_pod() -> None:
    """No setting is read and forgotten."""
    other: dict[str, Any] = {
        "labels": {"a": "b"}, "annotations": {"a": "b"}, "prometheus_port": 1, "node_selector": {"a": "b"},
        "tolerate": ["hub_user"], "tolerations": [{"key": "a"}], "spot": "require", "affinity": {"podAffinity": {}},
        "service_account_name": "a", "automount_service_account_token": True, "run_as_user": 1, "run_as_group": 1,
        "fs_group": 1, "read_only_root": False, "writable": ["/a"], "scheduler_name": "a", "priority_class_name": "a",
        "image_pull_policy": "Always", "image_pull_secrets": ["a"], "volumes": [{"name": "a", "emptyDir": {}}],
        "volume_mounts": [{"name": "sluice-scratch", "mountPath": "/a"}], "env_from": [{"prefix": "a"}],
        "startup_probe": {"periodSeconds": 1}, "readiness_probe": {"periodSeconds": 1},
        "liveness_probe": {"periodSeconds": 1}, "containers": [{"name": "a"}], "init_containers": [{"name": "a"}],
        "python": "a", "entrypoint": ["a"], "stop_grace_s": 1, "pod": {"hostname": "a"}, "container": {"tty": True},
    }  # fmt: skip
    assert other.keys() == PodSettings.model_fields.keys()
    plain = made_of(replace(PLAIN, overlay={}), SITE)[0]
    for key, value in other.items():
        assert made_of(replace(PLAIN, overlay={"worker": {key: value}}), SITE)[0] != plain, key


def test_without_an_image_a_job_is_refused_with_what_to_set() -> None:
    with pytest.raises(Refused, match=r"set backend\.kubernetes\.image, or image in a profile"):
        made_of(replace(PLAIN, image=""), KubernetesSettings())
    assert ours(made_of(replace(PLAIN, image="x/y:1"), SITE)[0])["image"] == "x/y:1"


def test_a_record_whose_settings_are_no_longer_known_is_refused_and_says_which() -> None:
    with pytest.raises(Refused, match=r"backend\.worker is not what a pod can have: old_key"):
        made_of(replace(PLAIN, overlay={"worker": {"old_key": 1}}), SITE)


def test_the_same_job_gives_the_same_pod_and_the_job_stays_as_it_is() -> None:
    job = job_of(settings_of(CASES["overlay"].site), CASES["overlay"])
    before = json.dumps(dict(job.overlay))
    assert made_of(job, SITE) == made_of(job, SITE)
    assert json.dumps(dict(job.overlay)) == before


def test_an_owner_is_named_on_pod_and_secret_and_holds_up_nobody() -> None:
    owner = objects.owner_reference("Pod", "dask-ada-scheduler", "uid-1")
    pod = pods.pod_manifest(PLAIN, SITE, namespace="x", agent="a", owner=owner)
    secret = objects.secret_manifest(PLAIN, SITE, namespace="x", owner=owner)
    for each in (pod, secret):
        (found,) = each["metadata"]["ownerReferences"]
        assert found == {
            "apiVersion": "v1", "kind": "Pod", "name": "dask-ada-scheduler", "uid": "uid-1",
            "controller": False, "blockOwnerDeletion": False,
        }  # fmt: skip
