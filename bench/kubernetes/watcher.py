"""When things happened to pods, as the API server's watch tells it: its own times are whole seconds."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import defaultdict
from types import TracebackType
from typing import Any, Self

from dask_sluice.server.backends.kubernetes.access import Access
from dask_sluice.server.backends.kubernetes.api import Api, Object
from dask_sluice.server.backends.kubernetes.names import WARM_LABEL
from dask_sluice.server.backends.kubernetes.warm.pods import CLAIMED, WAITING, is_ready

STAGES = ("made", "placed", "runs", "claimed")


class Watcher:
    """Follows all pods of a namespace, in a thread of its own; times are those of `time.perf_counter`."""

    def __init__(self, access: Access, namespace: str) -> None:
        self._access = access
        self._path = f"/api/v1/namespaces/{namespace}/pods"
        self._at: defaultdict[str, dict[str, float]] = defaultdict(dict)
        self._waiting: set[str] = set()
        self._follows = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._follows.wait(30):
            raise RuntimeError("the API server does not tell of pods")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, where: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()
        self._loop.close()

    def at(self, stage: str, since: float) -> list[float]:
        """When each pod reached the stage, of those that did it after `since`; sorted."""
        return sorted(times[stage] for times in list(self._at.values()) if times.get(stage, 0.0) > since)

    def waiting(self) -> int:
        """How many schedulers wait, ready to be given away."""
        return len(self._waiting)

    async def _run(self) -> None:
        self._task = asyncio.ensure_future(self._follow())
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _follow(self) -> None:
        api = Api(self._access)
        try:
            version = (await api.get(self._path))["metadata"]["resourceVersion"]
            while True:
                async with api.watch(self._path, resourceVersion=version) as events:
                    self._follows.set()
                    async for event in events:
                        version = event["object"]["metadata"]["resourceVersion"]
                        if event["type"] != "DELETED":
                            self._note(event["object"], time.perf_counter())
        finally:
            await api.close()

    def _note(self, pod: Object, now: float) -> None:
        name = pod["metadata"]["name"]
        for stage in stages(pod):
            self._at[name].setdefault(stage, now)
        (self._waiting.add if is_claimable(pod) else self._waiting.discard)(name)


def is_claimable(pod: Object) -> bool:
    return pod["metadata"]["labels"].get(WARM_LABEL) == WAITING and is_ready(pod)


def stages(pod: Object) -> list[str]:
    """Those that the pod has reached."""
    status: dict[str, Any] = pod.get("status", {})
    containers = status.get("containerStatuses", ())
    runs = any("running" in each["state"] or "terminated" in each["state"] for each in containers)
    reached = {
        "made": True,
        "placed": bool(pod["spec"].get("nodeName")),
        "runs": runs,
        "claimed": pod["metadata"]["labels"].get(WARM_LABEL) == CLAIMED,
    }
    return [stage for stage, is_reached in reached.items() if is_reached]
