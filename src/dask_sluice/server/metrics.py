"""Numbers for Prometheus, in a registry of this server's own. Names and meanings: docs/operating.md."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from ..wire.reasons import ReasonCode
from ..wire.states import ClusterState, WorkerState
from .links import Links
from .loop import Loop
from .model import ClusterRecord, Event
from .routes import Routes
from .store import Store
from .tally import Tally, durations

PREFIX = "dask_sluice"
START_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600)
QUICK_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
LAG_EVERY_S = 1.0


class Metrics:
    """Everything that is counted. Told by the store, the HTTP edge and `watch_lag`; the rest is read when asked."""

    def __init__(self, store: Store, loop: Loop, links: Links, routes: Routes) -> None:
        self._loop = loop
        self.tally = Tally()
        self.registry = CollectorRegistry()
        self._starts = self._histogram("start_seconds", "Phases of starts that succeeded", START_BUCKETS, "phase")
        self._ended = self._counter("clusters_ended", "Clusters that ended, by how and why", "state", "reason")
        self._limited = self._counter(
            "limit_refusals", "Requests that a limit refused, or cut to less", "what", "limit"
        )
        self._requests = self._histogram(
            "http_request_seconds", "Until an answer began", QUICK_BUCKETS, "method", "route", "status"
        )
        self._writes = self._histogram("store_write_seconds", "Writes, waiting included", QUICK_BUCKETS)
        self._lag = self._histogram("event_loop_lag_seconds", "How late the event loop was", QUICK_BUCKETS)
        self.registry.register(_Now(self.tally, loop, links, routes))
        ProcessCollector(registry=self.registry)
        store.on_change(self._changed)
        store.on_write(self._writes.observe)

    def load(self) -> None:
        """Count what was there before this server; the loop has read it."""
        self.tally.load(self._loop.records().values())

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self.registry)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """An HTTP request was answered."""
        self._requests.labels(method, route, str(status)).observe(seconds)

    def refused(self, limit: str) -> None:
        """A limit refused a request."""
        self._limited.labels("refused", limit).inc()

    def lagged(self, seconds: float) -> None:
        self._lag.observe(seconds)

    def _changed(self, record: ClusterRecord, happened: tuple[Event, ...]) -> None:
        before = self.tally.changed(record)
        for took in durations(before, record) if before is not None else ():
            self._starts.labels(took.phase).observe(took.seconds)
        if record.state.is_final and before is not None:
            self._ended.labels(str(record.state), str(record.reason.code)).inc()
        for event in happened:
            if event.reason.code is ReasonCode.LIMIT_CLAMPED:
                self._limited.labels("clamped", "").inc()

    def _histogram(self, name: str, told: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"{PREFIX}_{name}", told, labels, buckets=buckets, registry=self.registry)

    def _counter(self, name: str, told: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", told, labels, registry=self.registry)


@dataclass(frozen=True)
class _Now(Collector):
    """What is so at the moment of asking. Reads sums, never records."""

    tally: Tally
    loop: Loop
    links: Links
    routes: Routes

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        clusters = GaugeMetricFamily(f"{PREFIX}_clusters", "Clusters that have not ended", labels=["state"])
        for state in ClusterState:
            if not state.is_final:
                clusters.add_metric([str(state)], self.tally.clusters[state])
        yield clusters
        workers = GaugeMetricFamily(f"{PREFIX}_workers", "Workers that have not ended", labels=["state"])
        for worker_state in WorkerState:
            if not worker_state.is_final:
                workers.add_metric([str(worker_state)], self.tally.workers[worker_state])
        yield workers
        queue = GaugeMetricFamily(f"{PREFIX}_queue_length", "What limits have no room for yet", labels=["what"])
        queue.add_metric(["clusters"], self.tally.clusters_waiting)
        queue.add_metric(["workers"], self.tally.workers_waiting)
        yield queue
        pulse, silence = self.loop.pulse, self.loop.backend_silence
        yield CounterMetricFamily(f"{PREFIX}_loop_steps", "Steps that the loop has taken", pulse.steps)
        yield CounterMetricFamily(f"{PREFIX}_loop_failures", "Steps that failed and are tried again", pulse.failures)
        yield GaugeMetricFamily(f"{PREFIX}_loop_failing", "Clusters whose last step failed", len(pulse.failing))
        yield GaugeMetricFamily(f"{PREFIX}_backend_up", "Whether the backend answers", silence is None)
        yield GaugeMetricFamily(f"{PREFIX}_agent_links", "Schedulers that are linked to this server", self.links.count)
        yield GaugeMetricFamily(f"{PREFIX}_proxies", "Proxies that follow the routes", self.routes.followers)


async def watch_lag(metrics: Metrics) -> None:
    """Notice how late the event loop is, until cancelled. By its own clock: it is this very thing that is measured."""
    clock = asyncio.get_running_loop().time
    while True:
        due = clock() + LAG_EVERY_S
        await asyncio.sleep(LAG_EVERY_S)
        metrics.lagged(max(0.0, clock() - due))
