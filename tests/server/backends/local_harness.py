"""What tests of the local backend share: a staged agent that plays parts, and a look at what runs.

The nursery in it is the real one. Unless `warm` it imports nothing beforehand, so that a test takes milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import dask_sluice
from dask_sluice.server.backends.local import LocalBackend, LocalSettings
from dask_sluice.server.backends.protocol import Backend, Job, JobKind, Size
from dask_sluice.wire.launch import SchedulerLaunch, WorkerLaunch

from .conformance import Harness

_MAIN = """
import os, sys
from sluice_agent.agent.main import run
from sluice_agent.agent.nursery import main
sys.exit(main() if sys.argv[1] == "nursery" else run(os.environ["SLUICE_LAUNCH"]))
"""
OWNER = "ada"


def make_stage(directory: Path, *, warm: bool = False) -> Path:
    """A staged agent whose `run` is `local_stage/main.py`."""
    source = Path(dask_sluice.__file__).parent
    package = directory / "sluice_agent"
    for room in ("wire", "agent"):
        shutil.copytree(source / room, package / room)
    (package / "__init__.py").touch()
    shutil.copy(Path(__file__).parent / "local_stage" / "main.py", package / "agent")
    if not warm:
        (package / "agent" / "nursery_warm.py").write_text("def warm() -> None: pass\n")
    (directory / "__main__.py").write_text(_MAIN)
    return directory


def job(cluster: str, job_id: str, play: str, **fields: Any) -> Job:
    """A job that plays a part."""
    kind = JobKind.SCHEDULER if job_id == "scheduler" else JobKind.WORKER
    launch = cast("SchedulerLaunch | WorkerLaunch", {"role": str(kind), "cluster": cluster, "play": play})
    values: dict[str, Any] = {"owner": OWNER, "environment": "", **fields}
    return Job(id=f"{cluster}-{job_id}", kind=kind, cluster=cluster, size=Size(1, 0, 1), launch=launch, **values)


class LocalHarness(Harness):
    """A local backend over a data directory."""

    def __init__(self, directory: Path, settings: LocalSettings | None = None, *, warm: bool = False) -> None:
        self.data_dir = directory / "data"
        self.runtime_dir = directory / "run"
        for path in (directory, self.data_dir, self.runtime_dir):
            path.mkdir(mode=0o755, exist_ok=True)
        self.stage = make_stage(self.data_dir / "agent", warm=warm)
        self.settings = settings or LocalSettings(stop_grace_s=1.0)
        self._backend = self._new()

    def _new(self) -> LocalBackend:
        return LocalBackend(self.settings, data_dir=self.data_dir, runtime_dir=self.runtime_dir, stage=self.stage)

    @property
    def backend(self) -> LocalBackend:
        return self._backend

    async def reopen(self) -> Backend:
        await self._backend.close()
        self._backend = self._new()
        await self._backend.start()
        return self._backend

    def scheduler_job(self, cluster: str) -> Job:
        return job(cluster, "scheduler", "stay")

    def worker_job(self, cluster: str, number: int) -> Job:
        return job(cluster, f"worker-{number}", "family" if number == 1 else "stay")

    def dying_job(self, cluster: str) -> Job:
        return job(cluster, "worker-9", "die")

    def refused_job(self, cluster: str) -> Job:
        return job(cluster, "worker-8", "stay", environment="/nowhere/at/all")

    async def leftovers(self) -> Sequence[str]:
        return [f"{pid} {command(pid)}" for pid in self.processes()]

    def processes(self, prefix: str = "") -> list[int]:
        """Every process that writes to the log of a job whose name begins so."""
        logs = str(self.data_dir / "clusters")
        return [
            pid
            for pid in _pids()
            if any(target.startswith(logs) and Path(target).name.startswith(prefix) for target in _writes_to(pid))
        ]

    def nurseries(self) -> list[int]:
        """Every warm parent of this harness."""
        ours = [pid for pid in _pids() if str(self.stage) in command(pid) and command(pid).endswith("nursery")]
        return [pid for pid in ours if pid not in self.processes()]

    def files(self, cluster: str, job_id: str) -> Path:
        return self.data_dir / "clusters" / cluster / f"{cluster}-{job_id}"

    async def close(self) -> None:
        """Close the backend, and end what a test left."""
        await self._backend.close()
        while left := [*self.processes(), *self.nurseries()]:  # more than once: one may just be forking
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]


def command(pid: int) -> str:
    """The command line of a process; a fork has its nursery's."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def _writes_to(pid: int) -> list[str]:
    """Its standard output and errors. A warm parent also opens the folders of logs, to shorten them."""
    found = []
    for fd in (1, 2):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return found
