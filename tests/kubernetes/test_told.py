"""What keeps a cluster of pods from running reaches its user by its own code within 15 s, and ends no cluster too soon.

In the API of dask-gateway a cluster has no reason; its clients see the state, and a warning where one is connected.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dask_sluice import Gateway

from . import site
from .harness import PLAYER_IMAGE
from .kube import IMAGE, Kube, until
from .test_reasons import registry
from .user import TOLD_WITHIN_S, User

pytestmark = pytest.mark.filterwarnings("ignore:Mismatched versions found")


Site = Callable[..., Any]


@pytest.fixture
def user_of(kube: Kube, tmp_path: Path) -> Site:
    """A user of a server with these settings; `labels`: of the namespace."""

    @contextmanager
    def user_of(labels: dict[str, str] | None = None, quota: str = "", **settings: Any) -> Iterator[User]:
        with kube.namespace(**(labels or {})) as namespace:
            if quota:
                kube.run("-n", namespace, "create", "quota", "small", f"--hard={quota}")
                until(lambda: "status" in kube.items(namespace, "resourcequota")[0], "the quota counts")
            with site.server(kube, namespace, tmp_path, **settings) as server, User(server) as user:
                yield user

    return user_of


def pods(**keys: Any) -> dict[str, Any]:
    return {"backend": {"kubernetes": {"pods": keys}}}


def image(name: str) -> dict[str, Any]:
    return {"backend": {"kubernetes": {"image": name}}}


def test_an_image_that_cannot_be_had_is_told_and_fails_the_cluster_by_its_own_reason(user_of: Site) -> None:
    with user_of(**image("127.0.0.1:9/team/image:1"), timeouts={"scheduler_start_s": 12}) as user:
        name = user.create()
        assert user.told(name, "image_pull_failed")["state"] == "starting"
        assert user.old_status(name) == "PENDING"
        until(lambda: user.view(name)["state"] == "failed", "the cluster has failed")
        assert user.view(name)["reason"]["code"] == "image_pull_failed"
        assert user.old_status(name) == "FAILED"
        assert "image_pull_failed" in user.codes(name)


def test_what_is_wrong_with_an_image_is_told_with_its_name(user_of: Site) -> None:
    option = {"image": {"type": "string", "default": IMAGE, "sets": {"image": "{options.image}"}}}
    with registry(404) as public, registry(401) as private, user_of(options=option) as user:
        wrong = {
            f"{public}/team/image:1": "image_not_found",
            f"{private}/team/image:1": "image_denied",
            PLAYER_IMAGE: "image_without_dask",
        }
        names = [user.create(image=image) for image in wrong]
        for name, (image, code) in zip(names, wrong.items(), strict=True):
            assert image in user.told(name, code)["reason"]["sentence"]
        assert "No module named" in user.view(names[-1])["reason"]["sentence"]
        until(lambda: user.view(names[-1])["state"] == "failed", "nothing else can come of it")


def test_waiting_for_a_node_is_told_and_is_no_failure(user_of: Site) -> None:
    with user_of(**pods(node_selector={"disk": "fast"}), timeouts={"scheduler_start_s": 3}) as user:
        name = user.create()
        assert "node_selector" in user.told(name, "unschedulable")["reason"]["sentence"]
        time.sleep(4)  # longer than a start may take: what must not happen cannot be waited for
        assert user.view(name)["state"] == "starting"
        assert user.codes(name).count("unschedulable") == 1


def test_a_full_quota_is_told_and_then_fails_the_cluster_by_its_own_reason(user_of: Site) -> None:
    with user_of(quota="pods=0", timeouts={"scheduler_start_s": 8}) as user:
        name = user.create()
        assert "small" in user.told(name, "quota_exceeded")["reason"]["sentence"]
        until(lambda: user.view(name)["state"] == "failed", "the cluster has failed")
        assert user.view(name)["reason"]["code"] == "quota_exceeded"


def test_what_pod_security_refuses_fails_the_cluster_at_once(user_of: Site) -> None:
    with user_of({"pod-security.kubernetes.io/enforce": "restricted"}, **pods(run_as_user=0)) as user:
        name = user.create()
        until(lambda: user.view(name)["state"] == "failed", "the cluster has failed", TOLD_WITHIN_S)
        assert user.view(name)["reason"]["code"] == "pod_security_refused"


def test_a_connected_client_is_warned_of_workers_that_wait_for_a_node(
    kube: Kube, namespace: str, tmp_path: Path
) -> None:
    nowhere = {"backend": {"kubernetes": {"worker": {"node_selector": {"disk": "fast"}}}}}
    with (
        site.server(kube, namespace, tmp_path, **nowhere) as server,
        Gateway(server.url) as gateway,
        gateway.new_cluster() as cluster,
        cluster.get_client() as client,
    ):
        cluster.scale(1)
        with pytest.warns(UserWarning, match="worker-1: waits for a node"):
            until(lambda: client.get_events("warn"), "the scheduler has been told", TOLD_WITHIN_S)
            time.sleep(1)  # the client hears of it a moment later
        assert [worker.reason.code for worker in gateway.workers(cluster.name)] == ["unschedulable"]
