"""What our pods write: asked of Kubernetes while the pod is there, and kept before it goes."""

from __future__ import annotations

import asyncio
import logging

from ....wire.errors import BackendUnavailable
from ..protocol import KeepsLogs, LogPart, Unavailable
from . import names
from .api import Api, ApiError, Object
from .log_text import STAMP_BYTES, part_after, since_of, text_of
from .looking import main_container

log = logging.getLogger(__name__)

KEEP_WITHIN_S = 10.0
"""A node that does not answer in this time keeps its logs to itself."""
KEPT_BYTES = 1_000_000
"""Of one log, the newest."""
AT_ONCE = 8
TAIL_LINES = "5000"
MOST_BYTES = 20_000_000
"""Of a log that is followed from a position far behind."""


class PodLogs:
    """Reads and keeps logs."""

    def __init__(self, api: Api, kept: KeepsLogs) -> None:
        self.kept = kept
        self._api = api
        self._keeping = asyncio.Semaphore(AT_ONCE)

    async def keep(self, cluster: str, job_id: str, pod: Object | None) -> bytes:
        """Keep the log as it is now, also one of which nothing can be read, and give it.

        raises  Unavailable where it cannot be kept
        """
        data = b""
        if pod is not None:
            async with self._keeping:
                try:
                    async with asyncio.timeout(KEEP_WITHIN_S):
                        data = await self._fetch(pod, KEPT_BYTES, tailLines=TAIL_LINES)
                except (ApiError, Unavailable, TimeoutError) as error:
                    log.info("%s: its last log cannot be read: %s", job_id, error or "no answer in time")
        try:
            await self.kept.keep(cluster, job_id, data)
        except BackendUnavailable as error:
            raise Unavailable(error.message) from error
        return data

    async def whole(self, cluster: str, job_id: str, pod: Object | None) -> bytes:
        """The log of a pod that has ended, which is kept now if it was not.

        raises  Unavailable
        """
        try:
            data = await self.kept.read(cluster, job_id)
        except BackendUnavailable as error:
            raise Unavailable(error.message) from error
        return await self.keep(cluster, job_id, pod) if data is None else data

    async def end(self, cluster: str, job_id: str, pod: Object | None, most_bytes: int) -> str:
        """The newest of a log, living or kept."""
        data = await self._living(pod, min(2 * most_bytes + STAMP_BYTES, MOST_BYTES))
        if data is None:
            data = await self.kept.read(cluster, job_id)
        return text_of(data or b"", most_bytes)

    async def after(self, cluster: str, job_id: str, pod: Object | None, position: str, most_bytes: int) -> LogPart:
        """What was written after the position."""
        since = {"sinceTime": f"{since_of(position)}Z"} if position else {}
        data = await self._living(pod, MOST_BYTES, **since)
        if data is None:
            data = await self.kept.read(cluster, job_id)
        return part_after(data or b"", position, most_bytes)

    async def _living(self, pod: Object | None, most_bytes: int, **parameters: str) -> bytes | None:
        if pod is None:
            return None
        try:
            return await self._fetch(pod, most_bytes, **parameters)
        except ApiError:  # nothing was started yet, or the pod has just gone
            return None

    async def _fetch(self, pod: Object, most_bytes: int, **parameters: str) -> bytes:
        place = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}/log"
        return await self._api.text(place, most_bytes, container=main_container(pod), timestamps="true", **parameters)


def is_of(pod: Object | None, cluster: str) -> bool:
    """Whether the pod belongs to this cluster."""
    return pod is not None and pod["metadata"]["labels"].get(names.CLUSTER_LABEL) == cluster
