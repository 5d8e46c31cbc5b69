"""Whatever keeps a pod from starting, or ends it, is told by its own reason within 15 s: provoked on a real cluster."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from dask_sluice.server.backends.kubernetes.api import Api
from dask_sluice.server.backends.protocol import Handle, Job, JobState, Refused, Seen, Size, Unavailable
from dask_sluice.wire.reasons import ReasonCode

from ..server.backends.conformance import running, submit
from .harness import MIB, SMALL, KubernetesHarness, job
from .kube import Kube

TOLD_WITHIN_S = 15.0


@contextmanager
def registry(status: int) -> Iterator[str]:
    """A registry on this machine that answers so to whatever it is asked for; its address."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


async def told(harness: KubernetesHarness, handle: Handle, code: ReasonCode) -> Seen:
    """What is seen once this is the reason."""
    began, seen = time.monotonic(), None
    while time.monotonic() - began < TOLD_WITHIN_S:
        (seen,) = await harness.backend.observe([handle])
        if seen.reason is not None and seen.reason.code is code:
            assert "?" not in seen.reason.sentence
            return seen
        await asyncio.sleep(0.1)
    raise AssertionError(f"not {code} after {TOLD_WITHIN_S:g} s, but {seen}")


async def told_of(harness: KubernetesHarness, work: Job, code: ReasonCode) -> Seen:
    (handle,) = await submit(harness.backend, work)
    return await told(harness, handle, code)


# -- it waits


async def test_a_size_that_no_node_has_names_the_resources(harness: KubernetesHarness) -> None:
    huge = Size(cores=9000, memory_bytes=2**50, threads=1, gpus=8)
    seen = await told_of(harness, job("one", "scheduler", "stay", size=huge), ReasonCode.UNSCHEDULABLE)
    assert (seen.state, seen.is_stuck) == (JobState.PENDING, False)
    assert seen.reason is not None
    assert set(seen.reason.details["resources"]) == {"cpu", "memory", "nvidia.com/gpu"}


async def test_a_kind_of_node_that_there_is_not_is_told(harness: KubernetesHarness) -> None:
    work = job("one", "scheduler", "stay", pods={"node_selector": {"disk": "fast"}})
    seen = await told_of(harness, work, ReasonCode.UNSCHEDULABLE)
    assert seen.reason is not None
    assert "node_selector" in seen.reason.sentence


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, ReasonCode.IMAGE_NOT_FOUND), (403, ReasonCode.IMAGE_DENIED), (401, ReasonCode.IMAGE_DENIED)],
)
async def test_what_a_registry_does_not_give_out_is_told(
    harness: KubernetesHarness, status: int, code: ReasonCode
) -> None:
    with registry(status) as address:
        work = job("one", "scheduler", "stay", image=f"{address}/team/image:1")
        (handle,) = await submit(harness.backend, work)
        seen = await told(harness, handle, code)
        assert (seen.state, seen.is_stuck) == (JobState.STARTING, True)
        # While Kubernetes pauses and tries again, the reason stays what it was.
        for _ in range(20):
            await asyncio.sleep(0.25)
            assert (await harness.backend.observe([handle]))[0].reason == seen.reason


async def test_a_registry_that_does_not_answer_is_told(harness: KubernetesHarness) -> None:
    work = job("one", "scheduler", "stay", image="127.0.0.1:9/team/image:1")
    seen = await told_of(harness, work, ReasonCode.IMAGE_PULL_FAILED)
    assert seen.is_stuck


async def test_a_name_that_is_no_image_is_told(harness: KubernetesHarness) -> None:
    await told_of(harness, job("one", "scheduler", "stay", image="Registry/NOT:an:image"), ReasonCode.IMAGE_INVALID)


async def test_a_secret_that_is_not_there_is_named(harness: KubernetesHarness) -> None:
    variables = {"env_from": [{"secretRef": {"name": "nobody-made-it"}}]}
    volume = {
        "volumes": [{"name": "v", "secret": {"secretName": "nobody-made-it"}}],
        "volume_mounts": [{"name": "v", "mountPath": "/v"}],
    }
    for number, pods in enumerate((variables, volume)):
        work = job(f"c{number}", "scheduler", "stay", pods=pods)
        seen = await told_of(harness, work, ReasonCode.CONTAINER_CONFIG_INVALID)
        assert seen.is_stuck
        assert seen.reason is not None
        assert "nobody-made-it" in seen.reason.sentence


async def test_a_full_quota_is_told_and_leaves_nothing_behind(harness: KubernetesHarness) -> None:
    harness.kube.run("-n", harness.namespace, "create", "quota", "small", "--hard=pods=0")
    for _ in range(100):  # it counts only once Kubernetes has seen it
        try:
            await submit(harness.backend, job("one", "scheduler", "stay"))
        except Unavailable as error:
            assert error.reason is not None
            assert error.reason.code is ReasonCode.QUOTA_EXCEEDED
            assert "small" in error.reason.sentence
            break
        for handle in await harness.backend.recover():
            await harness.backend.remove(handle)
    else:
        pytest.fail("the quota was never full")
    assert await harness.backend.recover() == []


async def test_what_pod_security_refuses_is_told(kube: Kube, tmp_path: Path) -> None:
    with kube.namespace(**{"pod-security.kubernetes.io/enforce": "restricted"}) as namespace:
        harness = KubernetesHarness(kube, namespace, tmp_path)
        await harness.backend.start()
        with pytest.raises(Refused) as refused:
            await submit(harness.backend, job("one", "scheduler", "stay", pods={"run_as_user": 0}))
        assert refused.value.reason is not None
        assert refused.value.reason.code is ReasonCode.POD_SECURITY_REFUSED
        assert "runAsUser=0" in refused.value.reason.sentence
        # What a pod is by default fits the strictest level.
        await running(harness, job("two", "scheduler", "stay"))
        await harness.close()


# -- it ended


async def test_a_python_that_is_not_in_the_image_is_told(harness: KubernetesHarness) -> None:
    work = job("one", "scheduler", "stay", pods={"python": "nopython"})
    seen = await told_of(harness, work, ReasonCode.CONTAINER_START_FAILED)
    assert seen.state is JobState.ENDED
    assert seen.reason is not None
    assert "nopython" in seen.reason.sentence


async def test_out_of_memory_tells_the_limit(harness: KubernetesHarness) -> None:
    small = replace(SMALL, memory_bytes=48 * MIB)
    seen = await told_of(harness, job("one", "worker-1", "hog", size=small), ReasonCode.OUT_OF_MEMORY)
    assert seen.state is JobState.ENDED
    assert seen.reason is not None
    assert seen.reason.details["limit_gib"] == 48 / 1024


async def test_the_last_words_of_the_agent_come_back(harness: KubernetesHarness) -> None:
    seen = await told_of(harness, job("one", "worker-1", "say_why"), ReasonCode.WORKER_CRASH_LOOP)
    assert seen.reason is not None
    assert seen.reason.details["restarts"] == 3


async def test_an_eviction_is_told(harness: KubernetesHarness) -> None:
    (handle,) = await running(harness, job("one", "worker-1", "stay"))
    name = handle.data["pod"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    api = Api(harness.kube.access)
    await api.create(f"/api/v1/namespaces/{harness.namespace}/pods/{name}/eviction", eviction)
    await api.close()
    seen = await ended(harness, handle)
    assert seen.reason is not None
    assert seen.reason.code is ReasonCode.EVICTED


async def test_a_pod_that_somebody_deletes_is_told(harness: KubernetesHarness) -> None:
    (handle,) = await running(harness, job("one", "worker-1", "stay"))
    harness.kube.run("-n", harness.namespace, "delete", "pod", handle.data["pod"], "--wait=false")
    seen = await ended(harness, handle)
    assert seen.reason is not None
    assert seen.reason.code is ReasonCode.POD_DELETED


async def test_a_place_taken_by_something_more_important_is_told(harness: KubernetesHarness) -> None:
    kube, resource = harness.kube, "tests.example/slot"
    (node, *_) = json.loads(kube.run("get", "nodes", "-o", "json"))["items"]
    path = "/status/capacity/" + resource.replace("/", "~1")
    patch = json.dumps([{"op": "add", "path": path, "value": "1"}])
    kube.run("patch", "node", node["metadata"]["name"], "--subresource=status", "--type=json", "-p", patch)
    priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 1000}
    kube.apply(harness.namespace, {**priority, "metadata": {"name": harness.namespace}})
    try:
        slot = {"container": {"resources": {"limits": {resource: "1"}, "requests": {resource: "1"}}}}
        (handle,) = await running(harness, job("one", "worker-1", "stay", pods=slot))
        await submit(
            harness.backend,
            job("two", "worker-1", "stay", pods={**slot, "priority_class_name": harness.namespace}),
        )
        seen = await ended(harness, handle)
        assert seen.reason is not None
        assert seen.reason.code is ReasonCode.PREEMPTED
    finally:
        kube.run("delete", "priorityclass", harness.namespace)
        remove = json.dumps([{"op": "remove", "path": path}])
        kube.run("patch", "node", node["metadata"]["name"], "--subresource=status", "--type=json", "-p", remove)


async def ended(harness: KubernetesHarness, handle: Handle) -> Seen:
    """What is seen once it has ended."""
    began = time.monotonic()
    while time.monotonic() - began < harness.patience_s:
        (seen,) = await harness.backend.observe([handle])
        if seen.state is JobState.ENDED:
            return seen
        await asyncio.sleep(0.05)
    raise AssertionError(f"still {seen}")
