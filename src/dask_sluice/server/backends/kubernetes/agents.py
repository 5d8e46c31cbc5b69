"""The agent's ConfigMap in every namespace with clusters: made, made again, and the old ones removed.

It is named by its content, so servers of two releases can run side by side, each with one of its own. One that is not
ours, that no pod uses and that has been there for a while is of a release that was here before, and goes. Should that
release still run somewhere, it sees its own go and makes it again at once; a pod that was being made meanwhile is told
by its kubelet to wait, and starts a second later (decision 0051).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from ..protocol import Refused, Unavailable
from . import names, objects
from .api import Api, ApiError, Object
from .creating import create
from .mirror import Mirror, key_of
from .settings import KubernetesSettings
from .sights import Sights

log = logging.getLogger(__name__)

AGAIN_S = 600.0
"""It is made again after so long, where nobody tells whether it is there still."""
TIDY_EVERY_S = 600.0
UNUSED_S = 3600.0
"""Longer than a rolling upgrade takes: so old is what is removed, at least."""


class Agents:
    """Keeps the ConfigMaps with the agent, in some namespaces or (None) in all."""

    def __init__(
        self,
        api: Api,
        sights: Sights,
        settings: KubernetesSettings,
        agent: tuple[bytes, str],
        namespaces: Sequence[str] | None,
        *,
        unused_s: float = UNUSED_S,
    ) -> None:
        self._api = api
        self._sights = sights
        self._settings = settings
        self._archive, fingerprint = agent
        self._fingerprint = fingerprint
        self.name = names.agent_config_map(fingerprint)
        """What the one of this server is called."""
        self._unused_s = unused_s
        self._made_at: dict[str, float] = {}
        """By namespace, by the monotonic clock."""
        self._making = asyncio.Lock()
        self._gone: asyncio.Queue[str] = asyncio.Queue()
        """Namespaces where ours was deleted."""
        selector = {"labelSelector": names.agent_selector(settings)}
        places = [f"/api/v1/namespaces/{name}" for name in namespaces] if namespaces is not None else ["/api/v1"]
        self._mirrors = [Mirror(api, f"{place}/configmaps", selector, self._changed) for place in places]

    async def run(self) -> None:
        """Keep ours and remove old ones until cancelled."""
        async with asyncio.TaskGroup() as group:
            for mirror in self._mirrors:
                group.create_task(mirror.run())
            group.create_task(self._make_again())
            while True:
                await asyncio.sleep(TIDY_EVERY_S)
                await self.tidy()

    async def make(self, namespace: str, what: str) -> None:
        """Have ours in this namespace.

        raises  Refused, Unavailable
        """
        async with self._making:
            made_at = self._made_at.get(namespace)
            if made_at is not None and time.monotonic() - made_at < AGAIN_S:
                return
            manifest = objects.agent_manifest(self._archive, self._fingerprint, self._settings, namespace=namespace)
            await create(self._api, f"/api/v1/namespaces/{namespace}/configmaps", manifest, what)
            self._made_at[namespace] = time.monotonic()

    async def tidy(self) -> None:
        """Remove those of other releases that nothing needs any more."""
        if self._sights.silence or any(mirror.silence is not None for mirror in self._mirrors):
            return  # a pod that uses one may not be known yet
        used = {(pod["metadata"]["namespace"], name) for pod in self._sights.pods() for name in config_maps(pod)}
        for mirror in self._mirrors:
            for found in list(mirror.objects.values()):
                place = found["metadata"]["namespace"], found["metadata"]["name"]
                if place[1] != self.name and place not in used and _age_s(found) >= self._unused_s:
                    await self._remove(*place)

    async def _remove(self, namespace: str, name: str) -> None:
        try:
            await self._api.delete(f"/api/v1/namespaces/{namespace}/configmaps/{name}")
        except (ApiError, Unavailable) as error:
            log.info("the agent of another release stays for now, %s/%s: %s", namespace, name, error)
        else:
            log.info("removed the agent of another release, which no pod uses: %s/%s", namespace, name)

    def _changed(self, before: Object | None, seen: Object | None) -> None:
        if seen is None and before is not None and before["metadata"]["name"] == self.name:
            namespace = key_of(before).partition("/")[0]
            if self._made_at.pop(namespace, None) is not None:
                self._gone.put_nowait(namespace)

    async def _make_again(self) -> None:
        while True:
            namespace = await self._gone.get()
            try:
                await self.make(namespace, "the agent")
            except (Refused, Unavailable) as error:  # with the next pod it is tried again
                log.info("the agent was deleted from %s and cannot be put back: %s", namespace, error)
            else:
                log.info("the agent was deleted from %s; it is back", namespace)


def config_maps(pod: Object) -> set[str]:
    """Names of the ConfigMaps that are mounted in a pod."""
    volumes = pod.get("spec", {}).get("volumes") or ()
    return {str(volume["configMap"].get("name", "")) for volume in volumes if "configMap" in volume}


def _age_s(seen: Object) -> float:
    """By the API server's clock and ours, which agree within minutes."""
    made = datetime.fromisoformat(str(seen["metadata"]["creationTimestamp"]))
    return (datetime.now(UTC) - made).total_seconds()
