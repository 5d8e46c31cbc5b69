"""Why Kubernetes' scheduler finds no node, in words: its message says so for groups of nodes. Pure.

0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {gpu: true}. preemption: 0/3 ...
"""

from __future__ import annotations

import re

from ....wire.reasons import Reason, ReasonCode

_HEAD = re.compile(r"(\d+)/(\d+) nodes are available: (.*)", re.DOTALL)
_TAIL = re.compile(r"\.? (?:no new claims to deallocate|preemption: ).*", re.DOTALL)
_GROUP = re.compile(r"(\d+) (.+?)(?=, \d+ |$)", re.DOTALL)
_RESOURCE = re.compile(r"Insufficient (\S+)")
_TAINT = re.compile(r"node\(s\) had (?:un\w+ )?taints? \{([^:}]+)(?:: ?([^}]*))?\}")
_NAMES = {"cpu": "cores", "memory": "memory", "ephemeral-storage": "disk", "pods": "room for another pod"}


def why_unschedulable(message: str) -> Reason:
    """The reason, with `why` for people, and for programs `resources`, `taints`, `nodes` and the `message` itself."""
    head = _HEAD.match(message)
    if head is None:
        return Reason(ReasonCode.UNSCHEDULABLE, {"why": message or "it has not said why", "message": message})
    nodes = int(head[2])
    resources: list[str] = []
    taints: list[str] = []
    words: list[str] = []
    for count, text in _GROUP.findall(_TAIL.sub("", head[3]).rstrip(".")):
        who = f"{count} of {nodes} nodes" if nodes > 1 else "the only node"
        if resource := _RESOURCE.search(text):
            resources.append(resource[1])
            words.append(f"{who} {_has(int(count))} too little {_NAMES.get(resource[1], resource[1])} free")
        elif taint := _TAINT.search(text):
            name = f"{taint[1]}={taint[2]}" if taint[2] else taint[1]
            taints.append(name)
            words.append(f"{who} {_has(int(count))} the taint {name}, which it does not tolerate")
        else:
            words.append(f"{who}: {_reworded(text)}")
    why = "; ".join(words) if words else "there are no nodes"
    details = {"why": why, "resources": resources, "taints": taints, "nodes": nodes, "message": message}
    return Reason(ReasonCode.UNSCHEDULABLE, details)


def _has(count: int) -> str:
    return "has" if count == 1 else "have"


def _reworded(text: str) -> str:
    if "node affinity/selector" in text:
        return "not of the kind that is asked for (node_selector, affinity)"
    if "were unschedulable" in text:
        return "closed for new pods (cordoned)"
    return text.replace("node(s) ", "").strip()
