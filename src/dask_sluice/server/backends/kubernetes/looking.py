"""What became of a pod, and why it waits or ended: pure, from what the API tells of it (the pod and its events).

A reason is given only where Kubernetes knows more than that a process ended: the rest is worded by `reconcile`.
"""

from __future__ import annotations

import json
import re
import signal as signals
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ....wire.reasons import Reason, ReasonCode
from ..protocol import JobState, Seen
from .api import Object
from .names import COMPONENT_LABEL
from .objects import LAUNCH_VOLUME
from .quantities import number
from .scheduling import why_unschedulable

GIB = 2**30
_LONGEST_MESSAGE = 400
_IMAGE_WAITS = (
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "RegistryUnavailable",
    "ImageInspectError",
    "SignatureValidationFailed",
)
_CONFIG_WAITS = ("CreateContainerConfigError", "CreateContainerError", "PreCreateHookError", "PreStartHookError")
_DENIED = ("denied", "unauthorized", "authorization failed", "401", "403 forbidden", "authentication required")
_NOT_FOUND = ("not found", "manifest unknown", "no such image", "does not exist")
_CANNOT_MOUNT = ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "FailedPostStartHook")
_START_FAILURES = (ReasonCode.SCHEDULER_START_FAILED, ReasonCode.WORKER_START_FAILED)
_LACKS_DASK = re.compile(r"No module named '(dask|distributed)\b")
_DISRUPTIONS = {
    "PreemptionByScheduler": ReasonCode.PREEMPTED,
    "EvictionByEvictionAPI": ReasonCode.EVICTED,
    "TerminationByKubelet": ReasonCode.EVICTED,
    "DeletionByTaintManager": ReasonCode.NODE_LOST,
    "DeletionByPodGC": ReasonCode.NODE_LOST,
}
"""Reasons of the condition DisruptionTarget."""
_POD_ENDS = {
    "Evicted": ReasonCode.EVICTED,
    "Preempting": ReasonCode.PREEMPTED,
    "NodeLost": ReasonCode.NODE_LOST,
    "NodeShutdown": ReasonCode.EVICTED,
    "Terminated": ReasonCode.EVICTED,
}
"""`status.reason` of a pod that the kubelet ended, or did not take."""


@dataclass(frozen=True)
class PodSight:
    """A pod as it was last told of."""

    pod: Object
    events: Sequence[Object] = ()
    """In the order of their times."""
    gone: bool = False
    """Whether it is not there any more; `pod` is then how it was in the end."""


def see(job_id: str, sight: PodSight | None, log_tail: str = "") -> Seen:
    """What is seen of a job by its pod; None: there is none, and nothing is known of one.

    log_tail   last lines of its log, wanted only where it has ended (`has_ended`)
    """
    if sight is None:
        return Seen(job_id, JobState.ENDED, reason=Reason(ReasonCode.POD_DELETED, {"message": ""}))
    if has_ended(sight):
        return _ended(job_id, sight, log_tail)
    status = sight.pod.get("status", {})
    state = _state_of(sight.pod)
    if "running" in state:
        reason = _disruption(sight) or _node_trouble(sight)
        return Seen(job_id, JobState.RUNNING, host=str(status.get("podIP", "")), reason=reason)
    if _condition(status, "PodScheduled").get("status") == "True":
        reason, is_stuck = _why_not_started(sight)
        return Seen(job_id, JobState.STARTING, reason=reason, is_stuck=is_stuck)
    return Seen(job_id, JobState.PENDING, reason=_why_not_placed(status))


def has_ended(sight: PodSight) -> bool:
    """Whether nothing of the job runs any more, or Kubernetes has given up the node that it ran on."""
    status = sight.pod.get("status", {})
    return (
        sight.gone
        or status.get("phase") in ("Succeeded", "Failed")
        or "terminated" in _state_of(sight.pod)
        or (_is_going(sight.pod) and _disruption_code(status) is ReasonCode.NODE_LOST)
    )


def has_started(pod: Object) -> bool:
    """Whether any container of it has run, so that there may be a log."""
    status = pod.get("status", {})
    states = [
        each["state"] for each in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
    ]
    return any("running" in state or "terminated" in state for state in states)


# -- waiting


def _why_not_placed(status: Mapping[str, Any]) -> Reason | None:
    placed = _condition(status, "PodScheduled")
    if placed.get("reason") == "Unschedulable":
        return why_unschedulable(str(placed.get("message", "")))
    if placed.get("reason") == "SchedulingGated":
        return Reason(ReasonCode.UNSCHEDULABLE, {"why": "something holds it back (scheduling gates)"})
    return None


def _why_not_started(sight: PodSight) -> tuple[Reason | None, bool]:
    """Why a pod that has a node does not run yet, and whether that is trouble rather than work."""
    for status in _waiting(sight.pod):
        waiting = status["state"]["waiting"]
        word, message = str(waiting.get("reason", "")), str(waiting.get("message", ""))
        image = str(status.get("image") or _image_of(sight.pod, status["name"]))
        if word == "InvalidImageName":
            return _plain(ReasonCode.IMAGE_INVALID, image=image, message=_short(message)), True
        if word in _IMAGE_WAITS:
            return _image_trouble(image, message, sight.events), True
        if word in _CONFIG_WAITS:
            return _plain(ReasonCode.CONTAINER_CONFIG_INVALID, message=_short(message)), True
        if word in ("RunContainerError", "CrashLoopBackOff", "StartError"):
            return _plain(ReasonCode.CONTAINER_START_FAILED, message=_short(message)), True
    return _from_events(sight)


def _image_trouble(image: str, message: str, events: Sequence[Object]) -> Reason:
    """The cause stays the same while Kubernetes goes from trying to waiting and back."""
    failures = [e["message"] for e in events if e.get("reason") == "Failed" and "Failed to pull image" in e["message"]]
    cause = _pull_error(message) or _pull_error(failures[-1] if failures else "") or message
    lower = cause.lower()
    if any(word in lower for word in _DENIED):
        code = ReasonCode.IMAGE_DENIED
    elif "no such host" not in lower and any(word in lower for word in _NOT_FOUND):
        code = ReasonCode.IMAGE_NOT_FOUND
    else:
        code = ReasonCode.IMAGE_PULL_FAILED
    return _plain(code, image=image, message=_short(cause))


def _pull_error(message: str) -> str:
    """The innermost cause of `Failed to pull image "x": failed to pull and unpack ...: cause`, without addresses."""
    if "failed to" not in message:
        return ""
    cause = message.rpartition("failed to ")[2]
    return cause.partition(": ")[2] or cause


def _from_events(sight: PodSight) -> tuple[Reason | None, bool]:
    """A volume that cannot be mounted and a pull under way are told by events only."""
    for event in reversed(sight.events):
        word, message = event.get("reason", ""), str(event.get("message", ""))
        if f'"{LAUNCH_VOLUME}"' in message:
            continue  # our own Secret, made after the pod: on its way
        if word in _CANNOT_MOUNT:
            return _plain(ReasonCode.CONTAINER_CONFIG_INVALID, message=_short(message)), True
        if word == "Pulling":
            image = message.partition('"')[2].rstrip('"')
            return _plain(ReasonCode.IMAGE_PULLING, image=image), False
        if word in ("Pulled", "Created", "Started", "Scheduled"):
            break
    return None, False


# -- ended


def _ended(job_id: str, sight: PodSight, log_tail: str) -> Seen:
    over = _state_of(sight.pod).get("terminated", {})
    exit_code, signal = _exit(over)
    reason = _why_ended(sight, over)
    return Seen(job_id, JobState.ENDED, exit_code=exit_code, signal=signal, reason=reason, log_tail=log_tail)


def _why_ended(sight: PodSight, over: Mapping[str, Any]) -> Reason | None:
    status = sight.pod.get("status", {})
    if over.get("reason") == "OOMKilled":
        return _plain(ReasonCode.OUT_OF_MEMORY, limit_gib=_memory_limit(sight.pod) / GIB)
    if (own := _last_words(str(over.get("message", "")))) is not None:
        return _without_dask(sight.pod, own) or own
    if over.get("reason") in ("StartError", "ContainerCannotRun"):
        return _plain(ReasonCode.CONTAINER_START_FAILED, message=_short(_innermost(str(over.get("message", "")))))
    if (code := _POD_ENDS.get(str(status.get("reason", "")))) is not None:
        return _plain(code, node=_node(sight.pod), message=_short(str(status.get("message", ""))))
    if (disruption := _disruption(sight)) is not None:
        return disruption
    if status.get("reason"):  # the kubelet did not take it: OutOfcpu, NodeAffinity, UnexpectedAdmissionError ...
        message = f"{status['reason']}: {status.get('message', '')}"
        return _plain(ReasonCode.EVICTED, node=_node(sight.pod), message=_short(message))
    if sight.gone or _is_going(sight.pod):
        return _node_trouble(sight) or _plain(ReasonCode.POD_DELETED, message="")
    return None


def _exit(over: Mapping[str, Any]) -> tuple[int | None, str]:
    """Exit code and signal; a signal's number below zero, as `subprocess` counts."""
    code = over.get("exitCode")
    if not isinstance(code, int):
        return None, ""
    number_ = int(over.get("signal") or (code - 128 if code > 128 else 0))
    try:
        return (-number_, signals.Signals(number_).name) if number_ else (code, "")
    except ValueError:
        return code, ""


def _last_words(message: str) -> Reason | None:
    """What the agent left as its termination message; by default that holds the end of the log."""
    try:
        words = json.loads(message)
        details = words["details"]
        return Reason(ReasonCode(words["code"]), details if isinstance(details, dict) else {})
    except (ValueError, KeyError, TypeError):
        return None


def _without_dask(pod: Object, own: Reason) -> Reason | None:
    """Where the agent tripped over what its image lacks, the image is what to name."""
    how = str(own.details.get("how", ""))
    if own.code not in _START_FAILURES or not _LACKS_DASK.search(how):
        return None
    return _plain(ReasonCode.IMAGE_WITHOUT_DASK, image=_image_of(pod, main_container(pod)), message=_short(how))


def _disruption(sight: PodSight) -> Reason | None:
    status = sight.pod.get("status", {})
    if (code := _disruption_code(status)) is None:
        return None
    message = str(_condition(status, "DisruptionTarget").get("message", ""))
    return _plain(code, node=_node(sight.pod), message=_short(message))


def _disruption_code(status: Mapping[str, Any]) -> ReasonCode | None:
    condition = _condition(status, "DisruptionTarget")
    return _DISRUPTIONS.get(str(condition.get("reason"))) if condition.get("status") == "True" else None


def _node_trouble(sight: PodSight) -> Reason | None:
    """The node does not report: told by an event of the pod while it lasts."""
    for event in reversed(sight.events):
        if event.get("reason") == "NodeNotReady" and not _is_ready(sight.pod):
            return _plain(ReasonCode.NODE_LOST, node=_node(sight.pod), message=_short(str(event.get("message", ""))))
    return None


# -- parts of a pod


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next((each for each in status.get("conditions") or () if each.get("type") == kind), {})


def _is_ready(pod: Object) -> bool:
    return bool(_condition(pod.get("status", {}), "Ready").get("status") == "True")


def _is_going(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def main_container(pod: Object) -> str:
    """The name of the container whose end is the pod's: that of the component."""
    return str(pod["metadata"].get("labels", {}).get(COMPONENT_LABEL, ""))


def _state_of(pod: Object) -> Mapping[str, Any]:
    """Of our container."""
    for each in pod.get("status", {}).get("containerStatuses") or ():
        if each.get("name") == main_container(pod):
            return each.get("state") or {}
    return {}


def _waiting(pod: Object) -> Iterable[Mapping[str, Any]]:
    """Statuses of containers that wait: those that run before ours first, then ours, then others."""
    status = pod.get("status", {})
    before = status.get("initContainerStatuses") or ()
    beside = sorted(status.get("containerStatuses") or (), key=lambda each: each.get("name") != main_container(pod))
    return [each for each in (*before, *beside) if "waiting" in (each.get("state") or {})]


def _container_of(pod: Object, name: str) -> Mapping[str, Any]:
    spec = pod.get("spec", {})
    every = (*spec.get("containers", ()), *spec.get("initContainers", ()))
    return next((each for each in every if each.get("name") == name), {})


def _image_of(pod: Object, container: str) -> str:
    return str(_container_of(pod, container).get("image", "?"))


def _memory_limit(pod: Object) -> float:
    limits = (_container_of(pod, main_container(pod)).get("resources") or {}).get("limits") or {}
    return number(str(limits.get("memory", "0")))


def _node(pod: Object) -> str:
    return str(pod.get("spec", {}).get("nodeName", "?"))


def _innermost(message: str) -> str:
    """The last of what a runtime wraps in `failed to create ...: failed to ...: cause: unknown`."""
    return message.removesuffix(": unknown").rpartition("container process: ")[2]


def _short(message: str) -> str:
    message = " ".join(message.split())
    return message if len(message) <= _LONGEST_MESSAGE else f"{message[:_LONGEST_MESSAGE]}..."


def _plain(code: ReasonCode, **details: Any) -> Reason:
    return Reason(code, details)
