"""What is seen of our pods: copies of them and of their events, and how those were in the end that are gone."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence

from . import names
from .api import Api, Object
from .looking import PodSight
from .mirror import Mirror, key_of

SILENT_S = 5.0
"""A watch that is back sooner was never missed."""
REMEMBERED = 10_000
"""So many pods that are gone are remembered."""


class Sights:
    """All pods with our mark, in some namespaces or (None) in all."""

    def __init__(self, api: Api, selector: str, namespaces: Sequence[str] | None, told: Callable[[str], None]) -> None:
        self._told = told
        """Told of each cluster to which something happened; '': to a pod that waits, or has just been given away."""
        self._events: defaultdict[str, dict[str, Object]] = defaultdict(dict)
        """By pod, then by the event's own key."""
        self._gone: OrderedDict[str, PodSight] = OrderedDict()
        self._leaving: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        places = [f"/api/v1/namespaces/{name}" for name in namespaces] if namespaces is not None else ["/api/v1"]
        self._pods = [Mirror(api, f"{place}/pods", {"labelSelector": selector}, self._pod_changed) for place in places]
        of_pods = {"fieldSelector": "involvedObject.kind=Pod"}
        self._told_events = [Mirror(api, f"{place}/events", of_pods, self._event_changed, _is_ours) for place in places]

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            for mirror in (*self._pods, *self._told_events):
                group.create_task(mirror.run())

    async def ready(self) -> None:
        """Return once it is known which pods there are."""
        for mirror in self._pods:
            await mirror.ready.wait()

    @property
    def silence(self) -> str:
        """Why what is seen may be out of date; empty while it is not."""
        silent = [mirror.silence for mirror in self._pods if mirror.silence is not None]
        return next((why for since, why in silent if time.monotonic() - since > SILENT_S), "")

    def put(self, pod: Object) -> None:
        """A pod as an answer to our own request showed it."""
        namespace = pod["metadata"]["namespace"]
        mirror = next((each for each in self._pods if f"/namespaces/{namespace}/" in each.path), self._pods[0])
        mirror.put(pod)

    def pods(self) -> Iterable[Object]:
        """All that are there."""
        for mirror in self._pods:
            yield from mirror.objects.values()

    def pod(self, namespace: str, name: str) -> Object | None:
        """One that is there."""
        key = f"{namespace}/{name}"
        return next((mirror.objects[key] for mirror in self._pods if key in mirror.objects), None)

    def sight(self, namespace: str, name: str) -> PodSight | None:
        """What is known of a pod, also of one that is gone; None: nothing."""
        pod = self.pod(namespace, name)
        if pod is None:
            return self._gone.get(f"{namespace}/{name}")
        return PodSight(pod, self._events_of(key_of(pod)))

    async def gone(self, namespace: str, name: str) -> None:
        """Return once there is no such pod."""
        if self.pod(namespace, name) is None:
            return
        key, left = f"{namespace}/{name}", asyncio.Event()
        self._leaving[key].add(left)
        try:
            await left.wait()
        finally:
            self._leaving[key].discard(left)
            if not self._leaving[key]:
                del self._leaving[key]

    def forget(self, namespace: str, name: str) -> None:
        """It is known to be gone, whatever the watch says later."""
        for mirror in self._pods:
            mirror.drop(f"{namespace}/{name}")

    def _pod_changed(self, before: Object | None, seen: Object | None) -> None:
        pod = seen or before
        if pod is None:
            return
        key = key_of(pod)
        if seen is None:
            self._gone[key] = PodSight(pod, self._events_of(key), gone=True)
            self._events.pop(key, None)
            while len(self._gone) > REMEMBERED:
                self._gone.popitem(last=False)
            for left in self._leaving.get(key, ()):
                left.set()
        self._told(cluster_of(pod))
        if before is not None and not cluster_of(before) and cluster_of(pod):
            self._told("")

    def _event_changed(self, before: Object | None, seen: Object | None) -> None:
        event = seen or before
        if event is None:
            return
        about = event["involvedObject"]
        key = f"{about.get('namespace')}/{about.get('name')}"
        if seen is None:
            self._events[key].pop(key_of(event), None)
            if not self._events[key]:
                del self._events[key]
            return
        self._events[key][key_of(event)] = seen
        if (pod := self.pod(str(about.get("namespace")), str(about.get("name")))) is not None:
            self._told(cluster_of(pod))

    def _events_of(self, key: str) -> tuple[Object, ...]:
        return tuple(sorted(self._events.get(key, {}).values(), key=_when))


def cluster_of(pod: Object) -> str:
    """The cluster that a pod belongs to."""
    return str(pod["metadata"].get("labels", {}).get(names.CLUSTER_LABEL, ""))


def _is_ours(event: Object) -> bool:
    return str(event.get("involvedObject", {}).get("name", "")).startswith("dask-")


def _when(event: Object) -> str:
    """When it happened last; times are written so that they sort."""
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return str(next((each for each in times if each), event["metadata"].get("creationTimestamp", "")))
