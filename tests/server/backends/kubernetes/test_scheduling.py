"""The words of Kubernetes' scheduler become words for people, with names of resources and taints for programs."""

from __future__ import annotations

import pytest

from dask_sluice.server.backends.kubernetes.scheduling import why_unschedulable


def why(message: str) -> str:
    return str(why_unschedulable(message).details["why"])


def test_each_group_of_nodes_has_its_cause() -> None:
    reason = why_unschedulable(
        "0/4 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 2 node(s) had untolerated taint "
        "{nvidia.com/gpu: present}, 1 node(s) didn't match Pod's node affinity/selector. preemption: 0/4 nodes are "
        "available: 1 No preemption victims found for incoming pod, 3 Preemption is not helpful for scheduling."
    )
    assert reason.details["resources"] == ["cpu", "memory"]
    assert reason.details["taints"] == ["nvidia.com/gpu=present"]
    assert reason.details["nodes"] == 4
    assert reason.details["why"] == (
        "1 of 4 nodes has too little cores free; 1 of 4 nodes has too little memory free; "
        "2 of 4 nodes have the taint nvidia.com/gpu=present, which it does not tolerate; "
        "1 of 4 nodes: not of the kind that is asked for (node_selector, affinity)"
    )


@pytest.mark.parametrize(
    ("message", "part"),
    [
        (
            "0/1 nodes are available: 1 node(s) were unschedulable. no new claims to deallocate, preemption: 0/1",
            "cordoned",
        ),
        ("0/2 nodes are available: 2 node(s) had untolerated taint {dedicated: }.", "the taint dedicated,"),
        ("0/1 nodes are available: 1 node(s) had untolerated taint(s). preemption: 0/1 nodes", "untolerated taint(s)"),
        ("no nodes available to schedule pods", "no nodes available to schedule pods"),
        ("0/0 nodes are available: .", "there are no nodes"),
        ("", "has not said why"),
    ],
)
def test_what_is_not_known_is_passed_on(message: str, part: str) -> None:
    assert part in why(message)
