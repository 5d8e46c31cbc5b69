"""A backend that several servers reach, as they reach a resource manager: processes whose marks lie in one directory.

What servers share in earnest (Kubernetes, Slurm) is a service of its own; here it is the file system, so that real
schedulers, workers and agents can be used without one. The process writes its mark itself, and only if none is there:
whoever submits a job once more, on whichever server, starts nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

from dask_sluice.server.backends.protocol import Capabilities, Handle, Job, JobKind, JobState, Seen, Unavailable
from dask_sluice.server.staging import stage
from dask_sluice.wire.processes import is_alive

MARK = """
import os, sys
from dask_sluice.wire.processes import process_stat
try:
    mark = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_EXCL)
except FileExistsError:
    sys.exit(0)
os.write(mark, f"{os.getpid()} {process_stat(os.getpid()).start_time}".encode())
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
STARTS_WITHIN_S = 30.0
GRACE_S = 3.0


class SharedProcesses:
    """Each job is a session of its own; its directory has launch document, log and mark."""

    def __init__(self, directory: str) -> None:
        self._jobs = Path(directory) / "jobs"
        self._stage = Path(directory) / "agent"

    async def start(self) -> None:
        self._jobs.mkdir(parents=True, exist_ok=True)
        self._stage = await asyncio.to_thread(stage, self._stage)

    async def close(self) -> None:
        """Jobs go on running."""

    def describe(self) -> Capabilities:
        return Capabilities("shared processes", enforces_memory=False, enforces_cores=False, separates_users=False)

    async def submit(self, job: Job) -> AsyncIterator[Handle]:
        await asyncio.to_thread(self._start, job)
        yield Handle(job.id, job.cluster, job.kind, {})

    async def observe(self, handles: Sequence[Handle]) -> list[Seen]:
        return [Seen(each.job_id, *self._look(each.cluster, each.job_id)) for each in handles]

    async def remove(self, handle: Handle) -> None:
        await end(self._jobs / handle.cluster / handle.job_id)

    async def recover(self) -> list[Handle]:
        return [
            Handle(place.name, place.parent.name, _kind(place.name), {})
            for place in self._jobs.glob("*/*")
            if lives(place)
        ]

    def _start(self, job: Job) -> None:
        place = self._jobs / job.cluster / job.id
        place.mkdir(parents=True, exist_ok=True)
        mark = place / "mark"
        if mark.exists():
            return
        launch = {**job.launch, **({"local_directory": str(place)} if job.kind is JobKind.WORKER else {})}
        written = place / f"launch-{os.getpid()}.json"
        written.write_text(json.dumps(launch))
        environment = {**os.environ, **job.variables, "SLUICE_LAUNCH": str(written)}
        with (place / "log").open("ab") as log:
            starting = subprocess.Popen(
                [sys.executable, "-c", MARK, mark, self._stage, job.kind],
                env=environment,
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + STARTS_WITHIN_S
        while not (mark.exists() and mark.read_text()):
            if starting.poll() not in (None, 0) or time.monotonic() > deadline:
                raise Unavailable("the process did not begin")
            time.sleep(0.02)

    def _look(self, cluster: str, job_id: str) -> tuple[JobState, str]:
        alive = lives(self._jobs / cluster / job_id)
        return (JobState.RUNNING, "127.0.0.1") if alive else (JobState.ENDED, "")


def lives(place: Path) -> bool:
    """Whether the process of the job in this directory runs."""
    return (mark := _mark(place)) is not None and is_alive(*mark)


async def end(place: Path) -> None:
    """End everything that the job started."""
    if (mark := _mark(place)) is None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        if is_alive(*mark) or number == signal.SIGKILL:
            with suppress(ProcessLookupError):
                os.killpg(mark[0], number)
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                while is_alive(*mark):  # noqa: ASYNC110  processes tell nobody of their end
                    await asyncio.sleep(0.02)


def jobs(directory: Path) -> set[str]:
    """Ids of all jobs that run."""
    return {place.name for place in (directory / "jobs").glob("*/*") if lives(place)}


def _mark(place: Path) -> tuple[int, str] | None:
    with suppress(OSError, ValueError):
        pid, start_time = (place / "mark").read_text().split()
        return int(pid), start_time
    return None


def _kind(job_id: str) -> JobKind:
    return JobKind.SCHEDULER if job_id.endswith("-scheduler") else JobKind.WORKER
