"""Keeps as many pods waiting as are wished, and gives them away: one to each, once.

Any server gives pods away, Kubernetes itself seeing to it that nobody else has just had the same one; only the server
that leads makes and deletes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Sequence

from ...protocol import Job, JobKind, Refused, Unavailable
from .. import names, objects
from ..api import Api, ApiError, Object
from ..creations import Creations
from ..refusals import refusal
from ..settings import KubernetesSettings
from ..sights import Sights
from . import channel, pods
from .channel import NotGiven, Proofs
from .pods import Pool

log = logging.getLogger(__name__)

LOOK_EVERY_S = 20.0
GATHER_S = 0.1
PAUSE_S = (5.0, 15.0, 60.0, 300.0)
"""After pods that could not be made, or did not get ready."""
TRIES = 3
"""Pods that somebody else may take before this job is given one of its own."""
PATCH = "application/merge-patch+json"


class WarmKeeper:
    """All pods of ours that wait."""

    def __init__(
        self,
        api: Api,
        sights: Sights,
        creations: Creations,
        settings: KubernetesSettings,
        *,
        key: bytes,
        wishes: Sequence[pods.Wish],
        own_namespace: str,
    ) -> None:
        self._api = api
        self._sights = sights
        self._creations = creations
        self._settings = settings
        self._key = key
        self._pools = [self._pool(wish, own_namespace) for wish in wishes]
        self._changed = asyncio.Event()
        self._failures = 0
        self._leads = False

    def _pool(self, wish: pods.Wish, own_namespace: str) -> Pool:
        namespace = names.namespace_of(wish.job, self._settings, own_namespace)
        return Pool(wish.job, wish.count, namespace, self._shape(wish.job, namespace))

    def _shape(self, job: Job, namespace: str) -> str:
        return pods.shape_of(
            job, self._settings, namespace=namespace, agent=self._creations.agent_config_map, key=self._key
        )

    def changed(self) -> None:
        """Something happened to a pod that waits or waited."""
        self._changed.set()

    def lead(self, leads: bool) -> None:
        """Whether this server is the one that makes and deletes them."""
        self._leads = leads
        self._changed.set()

    # -- giving away

    async def given(self, job: Job, namespace: str) -> Object | None:
        """A pod that is the job's from now on and knows it; None: the job needs one of its own."""
        if job.kind is not JobKind.SCHEDULER or not self._pools:
            return None
        try:
            there = await self._api.get(
                f"/api/v1/namespaces/{namespace}/pods", labelSelector=f"{names.JOB_LABEL}={job.id}"
            )
        except ApiError as error:
            raise refusal(error, "the scheduler") from error
        for pod in there["items"]:  # a submit is repeated
            if names.WARM_LABEL in pod["metadata"]["labels"] and "deletionTimestamp" not in pod["metadata"]:
                return await self._told(job, pod, again=True)
        if there["items"]:
            return None
        shape = self._shape(job, namespace)
        for pod in pods.claimable(self._sights.pods(), namespace, shape)[:TRIES]:
            claimed = await self._claim(job, pod, shape)
            if claimed is not None:
                return await self._told(job, claimed)
        return None

    async def _claim(self, job: Job, pod: Object, shape: str) -> Object | None:
        """The pod, if it is the job's now."""
        path = _path(pod)
        for _ in range(TRIES):
            try:
                return await self._api.patch(path, pods.claim(job, pod, self._settings), PATCH)
            except ApiError as error:
                if error.status != 409:
                    log.warning("a scheduler that waits cannot be given away: %s", error.message)
                    return None
            try:  # perhaps it only said once more that it is well
                pod = await self._api.get(path)
            except ApiError:
                return None
            if not pods.claimable([pod], pod["metadata"]["namespace"], shape):
                return None
        return None

    async def _told(self, job: Job, pod: Object, *, again: bool = False) -> Object | None:
        proofs = Proofs.of(self._key, pod["metadata"]["uid"])
        self._changed.set()
        try:
            await channel.give(str(pod["status"].get("podIP", "")), proofs, channel.claim_of(job, proofs))
        except NotGiven as error:
            if not again:  # else it has its identity: it does not listen for another one
                log.warning("%s cannot be told that it is %s: %s", pod["metadata"]["name"], job.id, error)
                await self._spoil(job, pod)
                return None
        return pod

    async def _spoil(self, job: Job, pod: Object) -> None:
        """Have it gone without ever being this job."""
        try:
            await self._api.patch(_path(pod), pods.spoil(job, self._settings), PATCH)
            await self._delete(pod, exactly=False)
        except ApiError as error:
            raise Unavailable(f"a scheduler that was given away is in an unknown state: {error.message}") from error

    # -- keeping

    async def run(self) -> None:
        """Until cancelled."""
        await self._sights.ready()
        while True:
            self._changed.clear()
            if self._leads:
                try:
                    await self._step()
                except Exception:  # waiting schedulers are a comfort: without them clusters start all the same
                    log.exception("schedulers that wait cannot be looked after")
                    self._failures += 1
            if self._failures:
                await asyncio.sleep(PAUSE_S[min(self._failures, len(PAUSE_S)) - 1])
                continue
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), LOOK_EVERY_S)
                await asyncio.sleep(GATHER_S)

    async def empty(self) -> None:
        """Let none wait any more."""
        self._pools, self._leads = [], False
        try:
            for pod in pods.plan(self._sights.pods(), [], time.time()).delete:
                await self._delete(pod)
        except ApiError as error:
            raise Unavailable(error.message) from error

    async def _step(self) -> None:
        todo = pods.plan(self._sights.pods(), self._pools, time.time())
        try:
            for pod in todo.delete:
                log.info("%s waits no longer: %s", pod["metadata"]["name"], pod.get("status", {}).get("phase"))
                await self._delete(pod)
            if todo.failed:
                self._fail("some did not get ready; `kubectl describe pod` says why while they are there")
                return
            for index, count in todo.make.items():
                for _ in range(count):
                    await self._make(self._pools[index])
        except (ApiError, Refused, Unavailable) as error:
            self._fail(str(error))
        else:
            self._failures = 0 if todo.settled else self._failures

    def _fail(self, why: str) -> None:
        if not self._failures:
            log.warning("not as many schedulers wait as are wished: %s", why)
        self._failures += 1

    async def _make(self, pool: Pool) -> None:
        job = pods.template(pool.job, secrets.token_hex(5))
        manifest = pods.waiting_manifest(
            job, self._settings, namespace=pool.namespace, agent=self._creations.agent_config_map, shape=pool.shape
        )
        pod = await self._creations.make(manifest, pool.namespace, "a scheduler that waits")
        about = pod["metadata"]
        launch = channel.waiting_launch(Proofs.of(self._key, about["uid"]))
        labels = {key: value for key, value in about["labels"].items() if key != names.WARM_LABEL}
        owner = objects.owner_reference("Pod", about["name"], about["uid"])
        secret = objects.secret_of(about["name"], pool.namespace, labels, launch, {}, owner)
        await self._api.create(f"/api/v1/namespaces/{pool.namespace}/secrets", secret)

    async def _delete(self, pod: Object, *, exactly: bool = True) -> None:
        """If it has not been given away at this moment."""
        about = pod["metadata"]
        version = {"resourceVersion": about["resourceVersion"]} if exactly else {}
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 1}
        try:
            await self._api.delete(_path(pod), {**options, "preconditions": {"uid": about["uid"], **version}})
        except ApiError as error:
            if error.status not in (404, 409):
                raise


def _path(pod: Object) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
