"""What is seen of a pod: state, place and the exact reason, from API objects as real servers wrote them.

`recorded/trouble.json` was recorded from Kubernetes 1.34 with containerd; what that cannot be brought to do is made by
hand in the same shape, after the documentation of the API.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from dask_sluice.server.backends.kubernetes.looking import PodSight, has_started, see
from dask_sluice.server.backends.kubernetes.names import COMPONENT_LABEL
from dask_sluice.server.backends.protocol import JobState, Seen
from dask_sluice.wire.reasons import ReasonCode

RECORDED = json.loads((Path(__file__).parent / "recorded" / "trouble.json").read_text())


def recorded(name: str, *, gone: bool = False) -> PodSight:
    """A recorded pod with its events; its only container is ours."""
    pod = copy.deepcopy(RECORDED[name]["pod"])
    pod["metadata"]["labels"] = {COMPONENT_LABEL: "dask"}
    return PodSight(pod, tuple(RECORDED[name]["events"]), gone)


def running(**status: Any) -> dict[str, Any]:
    """A pod that runs."""
    return {
        "metadata": {"name": "p", "namespace": "n", "labels": {COMPONENT_LABEL: "dask"}},
        "spec": {"nodeName": "node-7", "containers": [{"name": "dask", "image": "i:1"}]},
        "status": {
            "phase": "Running",
            "podIP": "198.18.64.9",
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": "True"},
            ],
            "containerStatuses": [{"name": "dask", "state": {"running": {}}}],
            **status,
        },
    }


def over(pod: dict[str, Any] | None = None, **terminated: Any) -> Seen:
    pod = pod or running()
    pod["status"]["containerStatuses"] = [{"name": "dask", "state": {"terminated": terminated}}]
    pod["status"]["phase"] = "Failed"
    return see("job", PodSight(pod), "the last line")


def disrupted(reason: str, message: str, *, gone: bool) -> Seen:
    pod = running()
    pod["metadata"]["deletionTimestamp"] = "2026-11-25T20:00:00Z"
    pod["status"]["conditions"].append(
        {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
    )
    return see("job", PodSight(pod, gone=gone))


def code(seen: Seen) -> ReasonCode | None:
    return seen.reason.code if seen.reason else None


# -- waiting


def test_what_no_node_has_room_for_waits_for_a_node_with_resources_and_taints() -> None:
    seen = see("job", recorded("big"))
    assert (seen.state, code(seen), seen.is_stuck) == (JobState.PENDING, ReasonCode.UNSCHEDULABLE, False)
    assert seen.reason is not None
    assert seen.reason.details["resources"] == ["cpu", "nvidia.com/gpu"]
    assert "the only node has too little cores free" in seen.reason.sentence


@pytest.mark.parametrize(
    ("name", "expected", "part"),
    [
        ("noimg", ReasonCode.IMAGE_PULL_FAILED, "registry.test/nothere:1 cannot be pulled"),
        ("badname", ReasonCode.IMAGE_INVALID, "must be lowercase"),
        ("cfg", ReasonCode.CONTAINER_CONFIG_INVALID, 'secret "nope" not found'),
        ("mnt", ReasonCode.CONTAINER_CONFIG_INVALID, 'secret "nope" not found'),
    ],
)
def test_a_pod_that_cannot_start_is_stuck_and_says_why(name: str, expected: ReasonCode, part: str) -> None:
    seen = see("job", recorded(name))
    assert (seen.state, code(seen), seen.is_stuck) == (JobState.STARTING, expected, True)
    assert seen.reason is not None
    assert part in seen.reason.sentence


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        ('failed to resolve reference "r/i:1": r/i:1: not found', ReasonCode.IMAGE_NOT_FOUND),
        (
            'failed to resolve reference "r/i:1": unexpected status from HEAD request to http://r/v2/i/manifests/1: '
            "403 Forbidden",
            ReasonCode.IMAGE_DENIED,
        ),
        (
            'failed to resolve reference "r/i:1": pull access denied, repository does not exist or may require '
            "authorization: server message: insufficient_scope: authorization failed",
            ReasonCode.IMAGE_DENIED,
        ),
        ('failed to resolve reference "r/i:1": dial tcp: lookup r: no such host', ReasonCode.IMAGE_PULL_FAILED),
    ],
)
@pytest.mark.parametrize("told_by", ["the status", "an event only"])
def test_the_cause_of_a_failed_pull_is_the_same_while_kubernetes_tries_and_waits(
    cause: str, expected: ReasonCode, told_by: str
) -> None:
    message = f'failed to pull and unpack image "r/i:1": {cause}'
    sight = recorded("noimg")
    waiting = {"reason": "ErrImagePull", "message": message}
    event = {"reason": "Failed", "message": f'Failed to pull image "r/i:1": {message}', "metadata": {}}
    if told_by == "an event only":  # so did kubelets before 1.31
        waiting = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "r/i:1"'}
    sight.pod["status"]["containerStatuses"][0]["state"] = {"waiting": waiting}
    assert code(see("job", PodSight(sight.pod, (event,)))) is expected


def test_a_pull_under_way_is_no_trouble() -> None:
    sight = recorded("mnt")
    seen = see("job", PodSight(sight.pod, ({"reason": "Pulling", "message": 'Pulling image "r/i:1"'},)))
    assert (code(seen), seen.is_stuck) == (ReasonCode.IMAGE_PULLING, False)
    assert seen.reason is not None
    assert seen.reason.details["image"] == "r/i:1"


def test_a_mount_that_worked_at_last_is_forgotten() -> None:
    sight = recorded("mnt")
    events = ({"reason": "FailedMount", "message": "no secret yet"}, {"reason": "Pulled", "message": "is there"})
    assert see("job", PodSight(sight.pod, events)).reason is None


def test_a_pod_that_waits_for_its_launch_document_is_in_no_trouble() -> None:
    """It is made right after the pod; the kubelet may look a moment too early, and then tries again."""
    message = 'MountVolume.SetUp failed for volume "sluice-launch" : secret "dask-one-scheduler" not found'
    sight = PodSight(recorded("mnt").pod, ({"reason": "FailedMount", "message": message},))
    assert see("job", sight) == Seen("job", JobState.STARTING)


# -- running


def test_a_running_pod_is_where_its_address_is_and_has_no_reason() -> None:
    assert see("job", PodSight(running())) == Seen("job", JobState.RUNNING, host="198.18.64.9")


def test_a_pod_on_a_node_that_does_not_report_runs_under_a_cloud() -> None:
    pod = running()
    pod["status"]["conditions"][1]["status"] = "False"
    event = {"reason": "NodeNotReady", "message": "Node is not ready"}
    seen = see("job", PodSight(pod, (event,)))
    assert (seen.state, code(seen)) == (JobState.RUNNING, ReasonCode.NODE_LOST)


# -- ended


def test_out_of_memory_tells_the_limit() -> None:
    seen = see("job", recorded("oom"))
    assert (seen.state, code(seen), seen.exit_code) == (JobState.ENDED, ReasonCode.OUT_OF_MEMORY, -9)
    assert seen.reason is not None
    assert "at its limit of 0.06 GiB" in seen.reason.sentence


def test_a_command_that_is_not_in_the_image_is_named() -> None:
    seen = see("job", recorded("exe"))
    assert code(seen) is ReasonCode.CONTAINER_START_FAILED
    assert seen.reason is not None
    assert seen.reason.sentence.endswith('exec: "nopython": executable file not found in $PATH')


def test_what_the_agent_said_of_its_end_is_the_reason() -> None:
    words = json.dumps({"code": "worker_crash_loop", "details": {"restarts": 3, "window_s": 10, "how": "it crashed"}})
    seen = over(exitCode=1, reason="Error", message=words)
    assert (code(seen), seen.exit_code) == (ReasonCode.WORKER_CRASH_LOOP, 1)


@pytest.mark.parametrize("lacks", ["dask", "distributed", "distributed.nanny"])
def test_an_image_without_dask_is_named(lacks: str) -> None:
    how = f"ModuleNotFoundError: No module named '{lacks}'"
    for role in ("scheduler", "worker"):
        seen = over(exitCode=1, message=json.dumps({"code": f"{role}_start_failed", "details": {"how": how}}))
        assert code(seen) is ReasonCode.IMAGE_WITHOUT_DASK
        assert seen.reason is not None
        assert seen.reason.sentence == f"the image i:1 cannot run Dask: {how}"
    for other in (how.replace(lacks, "my_preload"), how.replace(lacks, "daskless"), "exit code 9"):
        seen = over(exitCode=1, message=json.dumps({"code": "worker_start_failed", "details": {"how": other}}))
        assert code(seen) is ReasonCode.WORKER_START_FAILED


@pytest.mark.parametrize("message", ["", "Traceback ...", "[1]", '{"code": "no such code", "details": {}}'])
def test_an_end_without_words_has_its_exit_code_and_last_lines(message: str) -> None:
    seen = over(exitCode=3, reason="Error", message=message)
    assert seen == Seen("job", JobState.ENDED, exit_code=3, log_tail="the last line")


def test_a_signal_is_told_as_one() -> None:
    seen = over(exitCode=143, reason="Error")
    assert (seen.exit_code, seen.signal) == (-15, "SIGTERM")


def test_a_pod_whose_own_container_ended_is_over_although_another_goes_on() -> None:
    pod = running()
    pod["status"]["containerStatuses"] = [
        {"name": "sidecar", "state": {"running": {}}},
        {"name": "dask", "state": {"terminated": {"exitCode": 0}}},
    ]
    assert see("job", PodSight(pod)).state is JobState.ENDED


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("EvictionByEvictionAPI", ReasonCode.EVICTED),
        ("PreemptionByScheduler", ReasonCode.PREEMPTED),
        ("TerminationByKubelet", ReasonCode.EVICTED),
        ("DeletionByPodGC", ReasonCode.NODE_LOST),
        ("DeletionByTaintManager", ReasonCode.NODE_LOST),
    ],
)
def test_a_pod_that_was_taken_away_says_by_what(reason: str, expected: ReasonCode) -> None:
    seen = disrupted(reason, "because", gone=True)
    assert (seen.state, code(seen)) == (JobState.ENDED, expected)


def test_a_pod_that_is_being_evicted_still_runs_under_a_cloud() -> None:
    seen = disrupted("EvictionByEvictionAPI", "Eviction API: evicting", gone=False)
    assert (seen.state, code(seen)) == (JobState.RUNNING, ReasonCode.EVICTED)


def test_a_pod_on_a_lost_node_is_over_although_nobody_confirms_its_end() -> None:
    seen = disrupted("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint", gone=False)
    assert (seen.state, code(seen)) == (JobState.ENDED, ReasonCode.NODE_LOST)


def test_a_node_that_ran_short_evicts_with_its_words() -> None:
    pod = running(reason="Evicted", message="The node was low on resource: memory.", phase="Failed")
    seen = see("job", PodSight(pod))
    assert code(seen) is ReasonCode.EVICTED
    assert seen.reason is not None
    assert "low on resource: memory" in seen.reason.sentence


def test_a_pod_that_the_node_did_not_take_says_so() -> None:
    pod = running(reason="OutOfcpu", message="Node didn't have enough resource: cpu", phase="Failed")
    pod["status"]["containerStatuses"] = []
    assert code(see("job", PodSight(pod))) is ReasonCode.EVICTED


@pytest.mark.parametrize("sight", [None, PodSight(running(), gone=True)])
def test_a_pod_that_somebody_deleted_is_said_to_be(sight: PodSight | None) -> None:
    seen = see("job", sight)
    assert (seen.state, code(seen)) == (JobState.ENDED, ReasonCode.POD_DELETED)


def test_a_pod_has_started_once_a_container_of_it_runs_or_ran() -> None:
    assert has_started(running())
    assert not has_started({"status": {"phase": "Pending"}})
    waiting = {"name": "dask-worker", "state": {"waiting": {"reason": "ImagePullBackOff"}}}
    assert not has_started({"status": {"phase": "Pending", "containerStatuses": [waiting]}})
    assert has_started({"status": {"containerStatuses": [{"state": {"terminated": {"exitCode": 1}}}]}})
