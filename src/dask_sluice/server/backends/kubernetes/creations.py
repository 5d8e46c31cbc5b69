"""Making the objects of a job: its pod first, then what the pod needs, which the pod owns.

In that order nothing is ever left over: whatever a killed server had made is either found by the pod's labels, or
goes with the pod.
"""

from __future__ import annotations

import asyncio
import random
import time

from ..protocol import Job, JobKind, Unavailable
from . import names, objects, pods
from .api import Api, ApiError, Object
from .refusals import already_there, is_worth_another_try, refusal
from .settings import KubernetesSettings
from .sights import Sights, cluster_of
from .turns import Turns

AT_ONCE = 16
"""Pods that are being made: enough to keep an API server busy that answers in 10 ms."""
TRIES = 5
"""Of a request that another one was in the way of."""
AGENT_AGAIN_S = 600.0
"""The agent's ConfigMap is made again after so long, should somebody have deleted it."""


class Creations:
    """Makes pods, Secrets and the agent's ConfigMaps."""

    def __init__(self, api: Api, sights: Sights, settings: KubernetesSettings, agent: tuple[bytes, str]) -> None:
        self._api = api
        self._sights = sights
        self._settings = settings
        self._agent, self._fingerprint = agent
        self._agent_made_at: dict[str, float] = {}
        self._making_agent = asyncio.Lock()
        self._turns = Turns(AT_ONCE)

    async def pod(self, job: Job, namespace: str) -> Object:
        """The job's pod, made if it is not there.

        raises  Refused, Unavailable
        """
        what = str(job.launch.get("name") or "the scheduler")
        manifest = pods.pod_manifest(
            job,
            self._settings,
            namespace=namespace,
            agent=self.agent_config_map,
            owner=self._scheduler_of(job),
        )
        return await self.make(manifest, namespace, what, turn=job.owner)

    @property
    def agent_config_map(self) -> str:
        """The name of the ConfigMap with the agent."""
        return names.agent_config_map(self._fingerprint)

    async def make(self, manifest: Object, namespace: str, what: str, *, turn: str = "") -> Object:
        """The pod as it is, made if it is not there. `turn`: whose turn that takes.

        raises  Refused, Unavailable
        """
        async with self._turns.turn(turn):
            await self._make_agent(namespace, what)
            path = f"/api/v1/namespaces/{namespace}/pods"
            made = await self._create(path, manifest, what)
            if made is None:
                try:
                    made = await self._api.get(f"{path}/{manifest['metadata']['name']}")
                except ApiError as error:  # gone at the very moment
                    raise Unavailable(error.message) from error
        self._sights.put(made)
        return made

    async def secret(self, job: Job, pod: Object) -> None:
        """What the pod is told: its launch document.

        raises  Refused, Unavailable
        """
        metadata = pod["metadata"]
        owner = objects.owner_reference("Pod", metadata["name"], metadata["uid"])
        manifest = objects.secret_manifest(job, self._settings, namespace=metadata["namespace"], owner=owner)
        await self._create(f"/api/v1/namespaces/{metadata['namespace']}/secrets", manifest, metadata["name"])

    async def _make_agent(self, namespace: str, what: str) -> None:
        async with self._making_agent:
            made_at = self._agent_made_at.get(namespace)
            if made_at is not None and time.monotonic() - made_at < AGENT_AGAIN_S:
                return
            manifest = objects.agent_manifest(self._agent, self._fingerprint, self._settings, namespace=namespace)
            await self._create(f"/api/v1/namespaces/{namespace}/configmaps", manifest, what)
            self._agent_made_at[namespace] = time.monotonic()

    async def _create(self, path: str, manifest: Object, what: str) -> Object | None:
        """The object as it is now; None where one of this name is there already."""
        for attempt in range(TRIES):
            try:
                return await self._api.create(path, manifest)
            except ApiError as error:
                if already_there(error):
                    return None
                if not is_worth_another_try(error) or attempt == TRIES - 1:
                    raise refusal(error, what) from error
            await asyncio.sleep(0.05 * 2**attempt * random.uniform(0.5, 1.5))
        raise AssertionError("the last try returns or raises")

    def _scheduler_of(self, job: Job) -> Object | None:
        """A worker's objects go with its scheduler's pod, also when no server is there to see to it."""
        if job.kind is JobKind.SCHEDULER:
            return None
        for pod in self._sights.pods():
            component = pod["metadata"]["labels"].get(names.COMPONENT_LABEL)
            if component == names.COMPONENTS[JobKind.SCHEDULER] and cluster_of(pod) == job.cluster:
                return objects.owner_reference("Pod", pod["metadata"]["name"], pod["metadata"]["uid"])
        return None
