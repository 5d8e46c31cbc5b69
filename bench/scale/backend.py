"""A backend in which everything runs at once and stays, over restarts of the server too.

The fake's world is in memory; what a handle names and this world has not is taken to have survived. Agents are
in the server's process, silent once they have reported, or, with `agents=False`, come from outside (`fleet.py`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import cast

from dask_sluice.server.backends.fake import Dials, FakeBackend, JobDials, Thing
from dask_sluice.server.backends.protocol import Handle, Job, JobKind, JobState, Seen, Size
from dask_sluice.wire.launch import SchedulerLaunch


class Everlasting(FakeBackend):
    """The fake, with a world that outlives its server."""

    def __init__(self, *, agents: bool = True) -> None:
        never = JobDials(connect_after_s=None)
        super().__init__(dials=Dials() if agents else Dials(scheduler=never, worker=never))
        self._ended: set[str] = set()

    async def submit(self, job: Job) -> AsyncIterator[Handle]:
        async for handle in super().submit(job):
            token = cast(SchedulerLaunch, job.launch)["link_token"] if job.kind is JobKind.SCHEDULER else ""
            yield replace(handle, data={"token": token})

    async def observe(self, handles: Sequence[Handle]) -> list[Seen]:
        for handle in handles:
            if handle.job_id not in self.world.things and handle.job_id not in self._ended:
                self._revive(handle)
        return await super().observe(handles)

    async def remove(self, handle: Handle) -> None:
        await super().remove(handle)
        self._ended.add(handle.job_id)
        self.world.things.pop(handle.job_id, None)

    def _revive(self, handle: Handle) -> None:
        launch = cast(SchedulerLaunch, {"cluster": handle.cluster, "link_token": handle.data["token"]})
        job = Job(handle.job_id, handle.kind, handle.cluster, "", Size(1, 0, 1), "", launch)
        self.world.things[handle.job_id] = thing = Thing(job, state=JobState.RUNNING)
        self._begin(thing, self._dials(handle.kind))
