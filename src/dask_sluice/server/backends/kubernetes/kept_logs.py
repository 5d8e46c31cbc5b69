"""Logs of pods that are gone, as files of the server's own: as long as the cluster's record is kept.

Kubernetes deletes a pod's log with the pod. A log is text in which each line begins with its time, as the API gives it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

KEPT_BYTES = 1_000_000
"""Of one log, the newest: some thousand lines."""


class KeptLogs:
    """`<root>/<cluster>/<job id>.log`. Blocks."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def prepare(self) -> None:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def keep(self, cluster: str, job_id: str, log: bytes) -> None:
        """Keep this log, whole or not at all."""
        path = self._path(cluster, job_id)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = path.with_suffix(".new")
        unfinished.write_bytes(log[-KEPT_BYTES:])
        unfinished.replace(path)

    def read(self, cluster: str, job_id: str) -> bytes | None:
        """A log that is kept; None where there is none."""
        try:
            return self._path(cluster, job_id).read_bytes()
        except OSError:
            return None

    def forget(self, cluster: str) -> None:
        shutil.rmtree(self._folder(cluster), ignore_errors=True)

    def clusters(self) -> list[str]:
        """Of which clusters something is kept."""
        return sorted(path.name for path in self._root.iterdir() if path.is_dir()) if self._root.is_dir() else []

    def _path(self, cluster: str, job_id: str) -> Path:
        return self._folder(cluster) / f"{_safe(job_id)}.log"

    def _folder(self, cluster: str) -> Path:
        return self._root / _safe(cluster)


def _safe(name: str) -> str:
    """Names are our own; one that would lead elsewhere is none of them."""
    if not name or "/" in name or name.startswith("."):
        raise ValueError(f"{name!r} is no name of a cluster or a job")
    return name
