"""A waiting pod holds nothing of anybody, fits only a job whose own pod would be the same, and is counted right.

Pure functions; that Kubernetes and the agent do as they are told, tests/kubernetes/test_warm.py and
tests/agent/test_waiting.py see to.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_sluice.server.backends.kubernetes import names, pods
from dask_sluice.server.backends.kubernetes.settings import KubernetesSettings
from dask_sluice.server.backends.kubernetes.warm import pods as warm
from dask_sluice.server.backends.kubernetes.warm.channel import Proofs, waiting_launch
from dask_sluice.server.backends.protocol import Job, JobKind

from . import cases

NOW = datetime(2026, 11, 26, tzinfo=UTC).timestamp()
SETTINGS = cases.settings_of(cases.PLAIN).backend.kubernetes
KEY = b"k" * 32


def scheduler(owner: str = "ada", site: str = cases.PLAIN, **options: Any) -> Job:
    return cases.job_of(cases.settings_of(site), cases.Case(site, owner, options, JobKind.SCHEDULER))


def shape(job: Job, settings: KubernetesSettings = SETTINGS, namespace: str = "hub", agent: str = "a") -> str:
    return warm.shape_of(job, settings, namespace=namespace, agent=agent, key=KEY)


def waiting(job: Job) -> dict[str, Any]:
    return warm.waiting_manifest(
        warm.template(job, "0a1b2c3d4e"), SETTINGS, namespace="hub", agent=cases.AGENT, shape="feed"
    )


# -- whose it is


def test_a_waiting_pod_says_nothing_of_anybody() -> None:
    job = replace(scheduler(cases.HOSTILE), variables={"TOKEN": "hunter2"})
    said = json.dumps(waiting(job))
    for secret in (cases.HOSTILE, names.slug(cases.HOSTILE), job.cluster, "hunter2"):
        assert secret not in said
    labels = waiting(job)["metadata"]["labels"]
    assert not {names.CLUSTER_LABEL, names.JOB_LABEL, SETTINGS.user_label} & labels.keys()


def test_what_a_waiting_pod_is_told_fits_no_other_pod_and_does_not_hold_the_token() -> None:
    one, other = Proofs.of(KEY, "uid-1"), Proofs.of(KEY, "uid-2")
    assert (one.token, one.public) != (other.token, other.public)
    assert (one.token, one.public) == (Proofs.of(KEY, "uid-1").token, Proofs.of(KEY, "uid-1").public)
    assert one.token != Proofs.of(b"l" * 32, "uid-1").token
    assert one.token not in json.dumps(waiting_launch(one))


def test_network_policies_for_schedulers_count_while_it_waits() -> None:
    own = pods.pod_manifest(scheduler(), SETTINGS, namespace="hub", agent=cases.AGENT)["metadata"]["labels"]
    labels = waiting(scheduler())["metadata"]["labels"]
    for key in (names.NAME_LABEL, names.COMPONENT_LABEL, names.MANAGED_BY_LABEL, names.INSTANCE_LABEL):
        assert labels[key] == own[key]


# -- whom it fits


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
def test_it_fits_everybody_with_the_same_choice(one: str, other: str) -> None:
    job = scheduler()
    assert shape(replace(job, owner=one, id="x-scheduler", cluster="x")) == shape(replace(job, owner=other))


@pytest.mark.parametrize(
    "changes",
    [
        {"image": "registry.test/other:1"},
        {"environment": "/opt/other"},
        {"overlay": {"scheduler": {"node_selector": {"pool": "a"}}}},
        {"overlay": {"scheduler": {"labels": {"team": "ice"}}}},
        {"overlay": {"scheduler": {"annotations": {"team": "ice"}}}},
        {"overlay": {"scheduler": {"container": {"env": [{"name": "A", "value": "b"}]}}}},
        {"overlay": {"scheduler": {"service_account_name": "powerful"}}},
        {"overlay": {"scheduler": {"volumes": [{"name": "home", "persistentVolumeClaim": {"claimName": "ada"}}]}}},
    ],
)
def test_it_fits_nobody_whose_pod_would_be_another(changes: dict[str, Any]) -> None:
    assert shape(replace(scheduler(), **changes)) != shape(scheduler())


def test_size_namespace_agent_key_and_settings_make_another_one() -> None:
    job = scheduler()
    size = job.size
    others = [
        shape(replace(job, size=replace(size, cores=size.cores + 1))),
        shape(replace(job, size=replace(size, cores_request=0.1))),
        shape(replace(job, size=replace(size, memory_bytes=2**30))),
        shape(replace(job, size=replace(size, gpus=1))),
        shape(job, namespace="other"),
        shape(job, agent="b"),
        shape(job, SETTINGS.model_copy(update={"instance": "another"})),
        warm.shape_of(job, SETTINGS, namespace="hub", agent="a", key=b"l" * 32),
    ]
    assert len({shape(job), *others}) == len(others) + 1


def test_what_a_template_makes_of_the_user_fits_that_user_only() -> None:
    site = cases.OVERLAY
    settings = cases.settings_of(site).backend.kubernetes
    ada, again, bob = (shape(scheduler(user, site), settings) for user in ("ada", "ada", "bob"))
    assert ada == again != bob


def test_a_scheduler_with_probes_of_the_site_cannot_wait() -> None:
    assert warm.cannot_wait(scheduler(), SETTINGS) == ""
    assert "startup_probe" in warm.cannot_wait(scheduler("ada", cases.OVERLAY, profile="heavy"), SETTINGS)
    container = {"scheduler": {"container": {"livenessProbe": {"tcpSocket": {"port": 1}}}}}
    assert "livenessProbe" in warm.cannot_wait(replace(scheduler(), overlay=container), SETTINGS)


# -- which are given away


def seen(name: str, state: str = warm.WAITING, made_s_ago: float = 60, **changes: Any) -> dict[str, Any]:
    """A pod as Kubernetes tells of it, ready."""
    made = datetime.fromtimestamp(NOW - made_s_ago, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    about = {
        "name": name,
        "namespace": changes.get("namespace", "hub"),
        "uid": f"uid-{name}",
        "resourceVersion": "7",
        "creationTimestamp": made,
        "labels": {names.WARM_LABEL: state, names.SHAPE_LABEL: changes.get("shape", "feed")},
    }
    if changes.get("going"):
        about["deletionTimestamp"] = made
    container = {"name": "dask-scheduler", "ready": changes.get("ready", True), "state": {"running": {}}}
    phase = changes.get("phase", "Running")
    return {"metadata": about, "status": {"phase": phase, "podIP": "10.0.0.1", "containerStatuses": [container]}}


def test_only_what_waits_ready_with_this_shape_in_this_namespace_is_given_away_the_oldest_first() -> None:
    there = [
        seen("new", made_s_ago=10),
        seen("old", made_s_ago=50),
        seen("claimed", warm.CLAIMED),
        seen("spoilt", warm.SPOILT),
        seen("not-ready", ready=False),
        seen("going", going=True),
        seen("other-shape", shape="beef"),
        seen("elsewhere", namespace="lab"),
    ]
    found = [pod["metadata"]["name"] for pod in warm.claimable(there, "hub", "feed")]
    assert found == ["old", "new"]


def test_a_claim_holds_only_for_the_pod_as_it_was_seen() -> None:
    patch = warm.claim(scheduler(), seen("one"), SETTINGS)["metadata"]
    assert (patch["uid"], patch["resourceVersion"]) == ("uid-one", "7")
    assert patch["labels"] == {**names.labels_of(scheduler(), SETTINGS), names.WARM_LABEL: warm.CLAIMED}


def test_a_spoilt_pod_is_nobodys_again() -> None:
    spoilt = warm.spoil(scheduler(), SETTINGS)["metadata"]
    assert {names.CLUSTER_LABEL, names.JOB_LABEL, SETTINGS.user_label, names.SHAPE_LABEL} <= spoilt["labels"].keys()
    assert all(value is None for key, value in spoilt["labels"].items() if key != names.WARM_LABEL)
    assert spoilt["labels"][names.WARM_LABEL] == warm.SPOILT


# -- how many there are


def plan(*there: dict[str, Any], count: int = 2) -> tuple[list[str], int, bool]:
    """Names of those to delete, how many to make, whether something failed."""
    found = warm.plan(there, [warm.Pool(scheduler(), count, "hub", "feed")], NOW)
    return [pod["metadata"]["name"] for pod in found.delete], found.make.get(0, 0), found.failed


def test_as_many_are_made_as_are_missing_and_those_given_away_do_not_count() -> None:
    assert plan() == ([], 2, False)
    assert plan(seen("a"), seen("b")) == ([], 0, False)
    assert plan(seen("a"), seen("b", warm.CLAIMED)) == ([], 1, False)
    assert plan(seen("a"), seen("b", ready=False)) == ([], 0, False)
    assert plan(seen("a"), seen("b", going=True)) == ([], 1, False)


def test_too_many_go_and_those_that_are_ready_stay() -> None:
    there = (seen("young", ready=False, made_s_ago=5), seen("a", made_s_ago=30), seen("b", made_s_ago=20))
    assert plan(*there) == (["young"], 0, False)
    assert plan(*there, count=0) == (["a", "b", "young"], 0, False)


def test_those_of_other_settings_or_another_agent_are_replaced() -> None:
    assert plan(seen("old", shape="beef"), seen("a")) == (["old"], 1, False)


def test_what_was_given_away_is_never_deleted_here() -> None:
    assert plan(seen("a", warm.CLAIMED, shape="beef"), seen("b", warm.CLAIMED, phase="Failed"), count=0) == (
        [],
        0,
        False,
    )


def test_what_ended_did_not_get_ready_or_was_spoilt_goes() -> None:
    assert plan(seen("waited-long", phase="Succeeded")) == (["waited-long"], 2, False)
    assert plan(seen("broken", phase="Failed")) == (["broken"], 2, True)
    assert plan(seen("stuck", ready=False, made_s_ago=1000)) == (["stuck"], 2, True)
    assert plan(seen("spoilt", warm.SPOILT)) == (["spoilt"], 2, False)
