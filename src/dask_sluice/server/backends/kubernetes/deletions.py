"""Ending pods: one by one where there are few, by one request for many, and by force where a node does not answer."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict

from ..protocol import Unavailable
from . import names
from .api import Api, ApiError
from .refusals import refusal
from .sights import Sights

log = logging.getLogger(__name__)

GATHER_S = 0.02
"""So long a deletion waits for others that come with it."""
MANY = 5
"""From this many on they go in one request."""
IN_ONE_REQUEST = 64
"""Names of jobs in one selector: it travels in the address of a request, which may be 8 kB long."""
LONGEST_GRACE_S = 40
"""A removal is to be over within a minute (`errands.REMOVE_TIMEOUT_S`)."""
BEYOND_GRACE_S = 10.0


class Deletions:
    """Deletes pods and waits until they are gone."""

    def __init__(self, api: Api, sights: Sights) -> None:
        self._api = api
        self._sights = sights
        self._gathered: defaultdict[tuple[str, int | None], dict[str, str]] = defaultdict(dict)
        """Pod and job by (namespace, grace)."""
        self._sending: dict[tuple[str, int | None], asyncio.Task[None]] = {}

    async def delete(self, namespace: str, name: str, job_id: str, *, grace_s: int) -> None:
        """Return once there is no such pod.

        raises  Unavailable
        """
        grace_s = min(grace_s, LONGEST_GRACE_S)
        await self._ask(namespace, name, job_id, grace_s)
        try:
            async with asyncio.timeout(grace_s + BEYOND_GRACE_S):
                await self._sights.gone(namespace, name)
        except TimeoutError:
            if await self._is_there(namespace, name):
                log.warning("%s: its node does not end it in %d s, so it is deleted by force", job_id, grace_s)
                await self._delete_one(namespace, name, 0)
            self._sights.forget(namespace, name)

    async def _ask(self, namespace: str, name: str, job_id: str, grace_s: int) -> None:
        place = (namespace, grace_s)
        self._gathered[place][name] = job_id
        if place not in self._sending:
            self._sending[place] = asyncio.create_task(self._send(place))
        await asyncio.shield(self._sending[place])

    async def _send(self, place: tuple[str, int | None]) -> None:
        await asyncio.sleep(GATHER_S)
        del self._sending[place]
        namespace, grace_s = place
        pods = list(self._gathered.pop(place).items())
        if len(pods) < MANY:
            await asyncio.gather(*(self._delete_one(namespace, name, grace_s) for name, _ in pods))
            return
        for begin in range(0, len(pods), IN_ONE_REQUEST):
            jobs = ",".join(job_id for _, job_id in pods[begin : begin + IN_ONE_REQUEST])
            await self._delete(
                f"/api/v1/namespaces/{namespace}/pods", grace_s, labelSelector=f"{names.JOB_LABEL} in ({jobs})"
            )

    async def _delete_one(self, namespace: str, name: str, grace_s: int | None) -> None:
        await self._delete(f"/api/v1/namespaces/{namespace}/pods/{name}", grace_s)

    async def _delete(self, path: str, grace_s: int | None, **selector: str) -> None:
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        try:
            await self._api.delete(path, {**options, "gracePeriodSeconds": grace_s}, **selector)
        except ApiError as error:
            if error.status == 404:
                return
            raise Unavailable(str(refusal(error, path))) from error

    async def _is_there(self, namespace: str, name: str) -> bool:
        try:
            await self._api.get(f"/api/v1/namespaces/{namespace}/pods/{name}")
        except ApiError as error:
            if error.status == 404:
                return False
            raise Unavailable(error.message) from error
        return True
