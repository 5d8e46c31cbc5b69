"""What a handle of this backend holds: a process, and a seal that ties it to its job. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from ..protocol import Handle, JobKind
from .directories import JobFiles, Mark
from .processes import Session


def make_handle(cluster: str, job_id: str, kind: JobKind, mark: Mark) -> Handle:
    """The handle of a forked job."""
    data = {"pid": mark.pid, "start_time": mark.start_time, "uid": mark.uid, "seal": _seal(cluster, job_id, mark)}
    return Handle(job_id, cluster, kind, data)


def session_of(handle: Handle, files: JobFiles) -> Session | None:
    """The processes that a handle stands for; None if its parts do not belong together."""
    data = handle.data
    mark = Mark(data["pid"], data["start_time"], data["uid"])
    if data["seal"] != _seal(handle.cluster, handle.job_id, mark):
        return None
    return Session(mark.pid, mark.start_time, mark.uid, str(files.launch))


def kind_of(launch: Mapping[str, Any]) -> JobKind:
    """Whether a launch document is a scheduler's or a worker's."""
    return JobKind.SCHEDULER if launch.get("role") == JobKind.SCHEDULER else JobKind.WORKER


def _seal(cluster: str, job_id: str, mark: Mark) -> str:
    """So that a handle put together from two touches neither."""
    return hashlib.sha256(repr((cluster, job_id, mark)).encode()).hexdigest()[:16]
