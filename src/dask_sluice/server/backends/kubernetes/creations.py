"""Making the objects of a job: its pod first, then what goes with the pod, which the pod owns.

In that order nothing is ever left over: whatever a killed server had made is either found by the pod's labels, or
goes with the pod.
"""

from __future__ import annotations

import asyncio

from ..protocol import Job, JobKind, Unavailable
from . import names, objects, pods
from .agents import Agents
from .api import Api, ApiError, Object
from .creating import create
from .settings import KubernetesSettings
from .sights import Sights, cluster_of
from .turns import Turns

AT_ONCE = 16
"""Pods that are being made: enough to keep an API server busy that answers in 10 ms."""


class Creations:
    """Makes pods, and what goes with them."""

    def __init__(self, api: Api, sights: Sights, settings: KubernetesSettings, agents: Agents) -> None:
        self._api = api
        self._sights = sights
        self._settings = settings
        self._agents = agents
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
        return self._agents.name

    async def make(self, manifest: Object, namespace: str, what: str, *, turn: str = "") -> Object:
        """The pod as it is, made if it is not there. `turn`: whose turn that takes.

        raises  Refused, Unavailable
        """
        async with self._turns.turn(turn):
            await self._agents.make(namespace, what)
            path = f"/api/v1/namespaces/{namespace}/pods"
            made = await create(self._api, path, manifest, what)
            if made is None:
                try:
                    made = await self._api.get(f"{path}/{manifest['metadata']['name']}")
                except ApiError as error:  # gone at the very moment
                    raise Unavailable(error.message) from error
        self._sights.put(made)
        return made

    async def beside(self, job: Job, pod: Object, *, is_told: bool) -> None:
        """What goes with the pod: the Secret with its launch document, unless it is told what that says; and, with a
        scheduler, its cluster's network policy.

        raises  Refused, Unavailable
        """
        about = pod["metadata"]
        namespace, owner = about["namespace"], objects.owner_reference("Pod", about["name"], about["uid"])
        making = []
        if not is_told:
            grace_s = pod["spec"]["terminationGracePeriodSeconds"]
            secret = objects.secret_manifest(job, self._settings, namespace=namespace, owner=owner, grace_s=grace_s)
            making.append(create(self._api, f"/api/v1/namespaces/{namespace}/secrets", secret, about["name"]))
        if self._settings.isolate_clusters and job.kind is JobKind.SCHEDULER:
            policy = objects.policy_manifest(job, self._settings, namespace=namespace, owner=owner)
            path = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"
            making.append(create(self._api, path, policy, "the cluster's network policy"))
        await asyncio.gather(*making)

    def _scheduler_of(self, job: Job) -> Object | None:
        """A worker's objects go with its scheduler's pod, also when no server is there to see to it."""
        if job.kind is JobKind.SCHEDULER:
            return None
        for pod in self._sights.pods():
            component = pod["metadata"]["labels"].get(names.COMPONENT_LABEL)
            if component == names.COMPONENTS[JobKind.SCHEDULER] and cluster_of(pod) == job.cluster:
                return objects.owner_reference("Pod", pod["metadata"]["name"], pod["metadata"]["uid"])
        return None
