"""One user's thousand workers delay nobody else's one, and are made and deleted with few requests.

Most of them fit no node, so they wait as pods do on a full one; some run. Requests are counted and not timed.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import httpx
import pytest

from dask_sluice.server.backends.kubernetes.creations import AT_ONCE
from dask_sluice.server.backends.protocol import Handle, Job, JobState

from ..server.backends.conformance import submit
from .harness import KubernetesHarness, job

pytestmark = pytest.mark.slow
CROWD = 1000
RUNNING = 20
SOMEWHERE = {"stop_grace_s": 30}
NOWHERE = {**SOMEWHERE, "node_selector": {"dask-sluice/test": "no-such-node"}}
PATIENCE_S = 240.0


def requests_of(harness: KubernetesHarness) -> Counter[str]:
    """By method, what is asked of the API server from now on, watches aside."""
    count: Counter[str] = Counter()

    async def seen(request: httpx.Request) -> None:
        if request.url.params.get("watch") != "true":
            count[request.method] += 1

    harness.backend._api._http.event_hooks["request"].append(seen)
    return count


async def all_run(harness: KubernetesHarness, handles: list[Handle]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while any(seen.state is not JobState.RUNNING for seen in await harness.backend.observe(handles)):  # noqa: ASYNC110
            await asyncio.sleep(0.2)


async def test_a_thousand_workers_starve_nobody_and_go_in_bulk(harness: KubernetesHarness) -> None:
    requests = requests_of(harness)
    made: list[Handle] = []

    async def make(each: Job) -> Handle:
        (handle,) = await submit(harness.backend, each)
        made.append(handle)
        return handle

    crowd = [
        job("crowd", f"worker-{n}", "stay", owner="ada", pods=SOMEWHERE if n < RUNNING else NOWHERE)
        for n in range(CROWD)
    ]
    submitted = [asyncio.create_task(make(each)) for each in crowd]
    async with asyncio.timeout(PATIENCE_S):
        while len(made) < CROWD // 10:  # noqa: ASYNC110 (in the midst of it)
            await asyncio.sleep(0.01)
    before = len(made)
    one = await make(job("other", "worker-1", "stay", owner="bob"))
    meanwhile = len(made) - before - 1
    assert meanwhile <= 3 * AT_ONCE, f"{meanwhile} of {CROWD} went first"
    handles = await asyncio.gather(*submitted)
    assert len({handle.job_id for handle in handles}) == CROWD
    # A pod and a Secret each, one ConfigMap; some may have been turned away for a moment.
    assert requests["POST"] <= 2.1 * (CROWD + 1) + 1
    assert requests["GET"] <= CROWD // 50

    await all_run(harness, [*handles[:RUNNING], one])
    requests.clear()
    await asyncio.gather(*(harness.backend.remove(handle) for handle in handles))
    # A busy node may leave some to be deleted by force, which takes a look and a request for each that ran.
    assert requests["DELETE"] <= CROWD // 10 + RUNNING
    assert requests["GET"] <= 2 * RUNNING, "their logs, and that look"
    left = [pod["metadata"]["name"] for pod in harness.kube.items(harness.namespace, "pods")]
    assert left == [one.data["pod"]]
    await all_run(harness, [one])
    await harness.backend.remove(one)
