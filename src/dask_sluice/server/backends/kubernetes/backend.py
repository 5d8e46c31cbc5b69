"""The five calls, and the small optional ones, over the Kubernetes API."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from ...staging import archive
from ..news import News
from ..protocol import Capabilities, Handle, Job, JobKind, KeepsLogs, LogPart, Refused, Seen, Unavailable
from . import names
from .access import Access, find_access
from .agents import Agents
from .api import Api, Object
from .creations import Creations
from .deletions import Deletions
from .log_text import text_of
from .looking import has_ended, has_started, see
from .overlay import sentences
from .pod_logs import PodLogs, is_of
from .settings import KubernetesSettings
from .sights import Sights, cluster_of
from .syntax import is_name
from .warm.keeper import WarmKeeper
from .warm.pods import Wish

log = logging.getLogger(__name__)

LOG_TAIL_BYTES = 4000
READY_WITHIN_S = 5.0
"""So long a start waits for the first look; a server starts without an API server too, and says so."""
_KINDS = {component: kind for kind, component in names.COMPONENTS.items()}


class KubernetesBackend:
    """Runs jobs as pods."""

    def __init__(
        self,
        settings: KubernetesSettings,
        logs: KeepsLogs | None,
        *,
        access: Access | None = None,
        agent: tuple[bytes, str] | None = None,
    ) -> None:
        """`logs`: where those of pods are kept that are gone; None: it will not be started."""
        self._settings = settings
        self._given_access = access
        self._agent = agent or archive()
        self._kept = logs
        self._news = News()
        self._following: asyncio.Task[None] | None = None
        self._warm_key, self._wishes = b"", tuple[Wish, ...]()

    async def start(self) -> None:
        if self._kept is None:
            raise RuntimeError("there is no place for logs")
        access = self._given_access or find_access(self._settings.kubeconfig, self._settings.context)
        self._own_namespace = access.namespace
        self._api = Api(access)
        self._places = places = namespaces_of(self._settings, access.namespace)
        self._sights = Sights(self._api, names.selector(self._settings), places, self._tell)
        self._logs = PodLogs(self._api, self._kept)
        self._agents = Agents(self._api, self._sights, self._settings, self._agent, places)
        self._creations = Creations(self._api, self._sights, self._settings, self._agents)
        self._deletions = Deletions(self._api, self._sights)
        self._warm = WarmKeeper(
            self._api,
            self._sights,
            self._creations,
            self._settings,
            key=self._warm_key,
            wishes=self._wishes,
            own_namespace=self._own_namespace,
        )
        self._following = asyncio.create_task(self._follow())
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                await self._sights.ready()
        except TimeoutError:
            log.warning("Kubernetes does not say which pods there are: %s", self._sights.silence or "no answer yet")

    async def _follow(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sights.run())
            group.create_task(self._agents.run())
            group.create_task(self._warm.run())

    def _tell(self, cluster: str) -> None:
        if cluster:
            self._news.tell(cluster)
        else:
            self._warm.changed()

    async def close(self) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
            await self._api.close()
        self._news.close()

    def describe(self) -> Capabilities:
        return Capabilities(
            name="kubernetes",
            enforces_memory=True,
            enforces_cores=True,
            separates_users=True,
            runs_images=True,
            takes_overlay=True,
        )

    def check_overlay(self, overlay: Mapping[str, Any]) -> Sequence[str]:
        return sentences(overlay, self._settings)

    # -- the five calls

    async def submit(self, job: Job) -> AsyncIterator[Handle]:
        namespace = names.namespace_of(job, self._settings, self._own_namespace)
        if self._places is not None and namespace not in self._places:
            raise Refused(
                f'the namespace "{namespace}" is none of those where clusters may be: an administrator adds it to '
                "backend.kubernetes.namespaces (with the chart: rbac.namespaces)"
            )
        given = await self._warm.given(job, namespace)
        pod = given or await self._creations.pod(job, namespace)
        # The kubelet wants its Secret in some milliseconds: it is made while the handle is being saved.
        beside = asyncio.create_task(self._creations.beside(job, pod, is_told=given is not None))
        try:
            yield handle_of(pod)
            await beside
        finally:
            beside.cancel()
            await asyncio.gather(beside, return_exceptions=True)

    async def observe(self, handles: Sequence[Handle]) -> list[Seen]:
        if silence := self._sights.silence:
            raise Unavailable(silence)
        return list(await asyncio.gather(*(self._look(handle) for handle in handles)))

    async def remove(self, handle: Handle) -> None:
        namespace, name = place_of(handle)
        sight = self._sights.sight(namespace, name)
        pod = sight.pod if sight is not None and not sight.gone else None
        over = sight is not None and has_ended(sight)
        # Of a thousand that were never placed, a thousand requests would bring nothing.
        started = pod if pod is not None and has_started(pod) else None
        if over:
            await self._logs.whole(handle.cluster, handle.job_id, started)
        else:
            await self._logs.keep(handle.cluster, handle.job_id, started)
        grace_s = 0 if over or pod is None else int(pod["spec"].get("terminationGracePeriodSeconds", 30))
        await self._deletions.delete(namespace, name, handle.job_id, grace_s=grace_s)

    async def recover(self) -> list[Handle]:
        await self._sights.ready()
        if silence := self._sights.silence:
            raise Unavailable(silence)
        return [handle_of(pod) for pod in self._sights.pods() if names.JOB_LABEL in pod["metadata"]["labels"]]

    # -- the optional ones

    def changes(self) -> AsyncIterator[str]:
        return self._news.listen()

    async def logs(self, cluster: str, job_id: str, *, max_bytes: int = 1_000_000) -> str:
        return await self._logs.end(cluster, job_id, self._pod_of(cluster, job_id), max_bytes)

    async def log_after(self, cluster: str, job_id: str, position: str, *, max_bytes: int) -> LogPart:
        return await self._logs.after(cluster, job_id, self._pod_of(cluster, job_id), position, max_bytes)

    async def forget(self, cluster: str) -> None:
        left = [handle_of(pod) for pod in self._sights.pods() if is_of(pod, cluster)]
        await asyncio.gather(*(self.remove(handle) for handle in left))
        await self._logs.kept.forget(cluster)

    async def kept(self) -> list[str]:
        return await self._logs.kept.clusters()

    # -- schedulers that wait

    def keep_warm(self, key: bytes, wishes: Sequence[tuple[Job, int]]) -> None:
        self._warm_key, self._wishes = key, tuple(Wish(job, count) for job, count in wishes)

    def lead(self, leads: bool) -> None:
        self._warm.lead(leads)

    async def cool_down(self) -> None:
        await self._warm.empty()

    # -- looking

    async def _look(self, handle: Handle) -> Seen:
        sight = self._sights.sight(*place_of(handle))
        if sight is None or not has_ended(sight):
            return see(handle.job_id, sight)
        data = await self._logs.whole(handle.cluster, handle.job_id, None if sight.gone else sight.pod)
        return see(handle.job_id, sight, text_of(data, LOG_TAIL_BYTES))

    def _pod_of(self, cluster: str, job_id: str) -> Object | None:
        mine = (pod for pod in self._sights.pods() if is_of(pod, cluster))
        return next((pod for pod in mine if pod["metadata"]["labels"].get(names.JOB_LABEL) == job_id), None)


def namespaces_of(settings: KubernetesSettings, own: str) -> list[str] | None:
    """Where clusters may be; None where only a look at all namespaces can tell."""
    said = {settings.namespace or own, *settings.other_namespaces}
    fixed = {name for name in said if is_name(name)}
    if fixed == said or settings.namespaces:
        return sorted({*fixed, *settings.namespaces})
    return None


def handle_of(pod: Object) -> Handle:
    """The handle of a job, by its pod. Its Secret is the pod's, and goes with it."""
    metadata = pod["metadata"]
    labels = metadata["labels"]
    kind = _KINDS.get(labels.get(names.COMPONENT_LABEL), JobKind.WORKER)
    data = {"namespace": metadata["namespace"], "pod": metadata["name"]}
    return Handle(labels[names.JOB_LABEL], cluster_of(pod), kind, data)


def place_of(handle: Handle) -> tuple[str, str]:
    """Namespace and name of the pod that a handle stands for; of none, if its parts do not belong together."""
    name, said = names.object_name(handle.job_id), str(handle.data["pod"])
    fits = said == name or (handle.kind is JobKind.SCHEDULER and said.startswith(names.WARM_PREFIX))
    return str(handle.data["namespace"]), said if fits else f"{name}-none"
