"""What a scheduler of any release says of itself: its report to the server, and whether it has anything to do."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Any, Optional

import dask
import distributed

from ..wire.link import WorkerReport


def worker_reports(scheduler: Any) -> list[WorkerReport]:
    """Every worker that is connected now."""
    return [worker_report(ws) for ws in scheduler.workers.values()]


def worker_report(worker: Any) -> WorkerReport:
    """One worker by the scheduler's record, also after it has gone. Its name is text, exactly as it was given."""
    return WorkerReport(
        name=str(worker.name),
        address=worker.address,
        nthreads=worker.nthreads,
        memory_used=int(worker.metrics.get("memory") or 0),
        processing=len(worker.processing),
    )


def is_busy(scheduler: Any) -> bool:
    """Whether a task runs, is queued, or waits for a worker that could take it."""
    if any(ws.processing for ws in scheduler.workers.values()):
        return True
    return bool(scheduler.unrunnable or getattr(scheduler, "queued", ()))


@dataclass
class Activity:
    """Since when a scheduler has had nothing to do. Looked at often; short work between two looks counts too."""

    idle_since: Optional[float] = None
    """Epoch seconds; None while there is work."""
    _transitions: int = -1

    def look(self, scheduler: Any, now: float) -> bool:
        """Whether it became busy or idle since the last look."""
        was_idle = self.idle_since is not None
        transitions = int(scheduler.transition_counter)
        worked, self._transitions = transitions != self._transitions, transitions
        if is_busy(scheduler):
            self.idle_since = None
        elif worked or self.idle_since is None:
            self.idle_since = now
        return was_idle != (self.idle_since is not None)


def versions() -> dict[str, str]:
    """Of what matters to clients."""
    return {
        "python": platform.python_version(),
        "distributed": distributed.__version__,
        "dask": dask.__version__,
    }


def scheduler_port(scheduler: Any) -> int:
    """The port on which it listens for Dask's own protocol."""
    return int(scheduler.address.rsplit(":", 1)[1])


def dashboard_port(scheduler: Any) -> Optional[int]:
    """The port of its pages, None where they cannot be served."""
    server = getattr(scheduler, "http_server", None)
    return int(server.port) if server is not None and getattr(server, "port", None) else None
