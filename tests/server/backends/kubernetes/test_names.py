"""Names and labels of objects: valid for Kubernetes whatever a user is called, and never the same for two.

Also a contract with others: network policies go by dask-gateway's labels, and one person has one label,
whoever made the pod.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_sluice.server.backends.kubernetes import names
from dask_sluice.server.backends.kubernetes.backend import namespaces_of
from dask_sluice.server.backends.kubernetes.settings import KubernetesSettings
from dask_sluice.server.backends.kubernetes.syntax import is_label_value, is_name
from dask_sluice.server.backends.protocol import Job
from dask_sluice.server.identity.names import escaped
from dask_sluice.server.policy import cluster_name

from .cases import CASES, job_of, made, settings_of

# More than any authenticator lets through: letters of every script, signs, and far too many of them.
ANYBODY = st.text(min_size=1, max_size=150) | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._@+-]{0,127}", fullmatch=True)
JOB = job_of(settings_of(CASES["worker"].site), CASES["worker"])
ESCAPED = KubernetesSettings(user_label_form="escaped", namespace="dask-{user.escaped}")
_LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?")  # as Kubernetes' own error message has it
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def job_for(owner: str, suffix: str = "0a1b2c3d", worker: int = 1) -> Job:
    cluster = cluster_name(owner, suffix)
    return replace(JOB, id=f"{cluster}-worker-{worker}", cluster=cluster, owner=owner)


@given(owner=ANYBODY, worker=st.integers(1, 99_999))
def test_whatever_a_user_is_called_all_names_and_labels_are_valid(owner: str, worker: int) -> None:
    job = job_for(owner, worker=worker)
    for settings in (KubernetesSettings(), ESCAPED):
        for value in names.labels_of(job, settings).values():
            assert _LABEL.fullmatch(value), value
            assert len(value) <= 63
    for name in (names.object_name(job.id), names.namespace_of(job, ESCAPED, "own")):
        assert _NAME.fullmatch(name), name
        assert len(name) <= 63
    assert names.labels_of(job, ESCAPED)[names.JOB_LABEL] == job.id


@given(st.lists(ANYBODY, min_size=2, max_size=20, unique=True))
def test_no_two_users_share_a_label_or_a_namespace(owners: list[str]) -> None:
    jobs = [job_for(owner) for owner in owners]
    for settings in (KubernetesSettings(), ESCAPED):
        labels = {names.labels_of(job, settings)[settings.user_label] for job in jobs}
        assert len(labels) == len(owners)
    assert len({names.namespace_of(job, ESCAPED, "own") for job in jobs}) == len(owners)


@given(st.lists(st.text(max_size=100), min_size=2, max_size=20, unique=True))
def test_no_two_jobs_share_an_object_name(ids: list[str]) -> None:
    found = {names.object_name(job_id) for job_id in ids}
    assert len(found) == len(ids)
    assert all(is_name(name) for name in found)


@pytest.mark.parametrize(
    ("user", "label"),
    [
        # as kubespawner 7.1.0 gives them: safe_slug(name, is_valid=is_valid_label)
        ("ada", "ada"),
        ("Ada", "Ada"),
        ("ada.l", "ada.l"),
        ("ada@example.org", "ada-example-org---cfe00dde"),
        ("Zoe.O-Brien+dask@Example.ORG", "zoe-o-brien-dask-exam---b56b0a2e"),
        ("a--b", "a-b---90827a2e"),
        ("9lives@x", "x-9lives-x---55fe951d"),
        ("_x_", "x---f1f6bd62"),
        ("x" * 70, "xxxxxxxxxxxxxxxxxxxxx---c71bd109"),
        ("12345678901234567890-abc@", "x-1234567890123456789---95a32458"),
    ],
)
def test_a_users_label_is_the_one_that_kubespawner_gives_to_their_notebook(user: str, label: str) -> None:
    assert names.labels_of(job_for(user), KubernetesSettings())["hub.jupyter.org/username"] == label
    assert names.annotations_of(job_for(user), KubernetesSettings())["hub.jupyter.org/username"] == user


def test_the_older_form_of_kubespawner_can_be_had_and_is_that_of_templates() -> None:
    for user in ("ada@example.org", "a-b", "Ada"):
        assert names.labels_of(job_for(user), ESCAPED)[ESCAPED.user_label] == escaped(user)
    assert escaped("ada@example.org") == "ada-40example-2eorg"


def test_the_labels_of_dask_gateway_are_kept_and_the_users_label_can_be_another_or_none() -> None:
    labels = made(CASES["scheduler"])[0]["metadata"]["labels"]
    assert (
        labels.items()
        >= {
            "app.kubernetes.io/name": "dask-gateway",
            "app.kubernetes.io/component": "dask-scheduler",
            "gateway.dask.org/instance": "dask-sluice",
            "gateway.dask.org/cluster": "ada-0a1b2c3d",
        }.items()
    )
    ours = KubernetesSettings(app_name="dask-sluice", instance="hub-dask-gateway", user_label="user")
    labels = names.labels_of(job_for("ada"), ours)
    assert (labels["app.kubernetes.io/name"], labels["user"]) == ("dask-sluice", "ada")
    none = KubernetesSettings(user_label="")
    assert "ada" not in names.labels_of(job_for("ada"), none).values()
    assert not names.annotations_of(job_for("ada"), none)


def test_the_selector_finds_what_the_labels_mark_and_nothing_of_another_server() -> None:
    settings = KubernetesSettings(instance="one")
    labels = names.labels_of(job_for("ada"), settings)

    def finds(selector: str) -> bool:
        return all(labels.get(key) == value for key, value in (each.split("=") for each in selector.split(",")))

    assert finds(names.selector(settings))
    assert not finds(names.selector(KubernetesSettings(instance="two")))


@given(st.text(max_size=80))
def test_what_counts_as_a_labels_value_is_what_kubernetes_takes(text: str) -> None:
    assert is_label_value(text) == (len(text) <= 63 and _LABEL.fullmatch(text) is not None)


@pytest.mark.parametrize(
    ("said", "places"),
    [
        ({}, ["own"]),
        ({"namespace": "dask", "other_namespaces": ["gpu"]}, ["dask", "gpu"]),
        ({"namespace": "dask-{user.escaped}"}, None),
        ({"namespace": "dask", "other_namespaces": ["gpu-*"]}, None),
        ({"namespace": "dask-{user.escaped}", "namespaces": ["dask-b", "dask-a"]}, ["dask-a", "dask-b"]),
        ({"namespace": "dask", "other_namespaces": ["gpu-*"], "namespaces": ["gpu-1"]}, ["dask", "gpu-1"]),
    ],
)
def test_a_server_looks_into_those_namespaces_that_it_is_told_and_into_all_only_where_it_must(
    said: dict[str, Any], places: list[str] | None
) -> None:
    assert namespaces_of(KubernetesSettings(**said), "own") == places


def test_a_profile_may_send_its_clusters_elsewhere_and_else_the_settings_decide() -> None:
    site = settings_of(CASES["user-namespace"].site)
    shared = job_of(site, replace(CASES["user-namespace"], options={"profile": "shared"}))
    assert names.namespace_of(shared, site.backend.kubernetes, "own") == "dask-shared-gpu"
    assert made(CASES["user-namespace"])[0]["metadata"]["namespace"] == "dask-ada"
    assert made(CASES["worker"], own="hub")[0]["metadata"]["namespace"] == "hub"
