"""One user's thousand workers delay nobody else's one, and are made and deleted with few requests.

Most of them fit no node, so they wait as pods do on a full one; some run. Requests are counted and not timed.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

import httpx
import pytest

from dask_sluice.server.backends.kubernetes.creations import AT_ONCE
from dask_sluice.server.backends.protocol import Handle, Job, JobState

from .harness import KubernetesHarness, job
from .kube import Kube

pytestmark = pytest.mark.slow
CROWD = int(os.environ.get("SLUICE_TEST_CROWD", "1000"))
RUNNING = 30
SOMEWHERE = {"stop_grace_s": 30}
NOWHERE = {**SOMEWHERE, "node_selector": {"dask-sluice/test": "no-such-node"}}
PATIENCE_S = 240.0


class Requests:
    """What is asked of the API server from now on, watches aside."""

    def __init__(self, harness: KubernetesHarness) -> None:
        self.count: Counter[str] = Counter()
        harness.backend._api._http.event_hooks["request"].append(self._seen)

    async def _seen(self, request: httpx.Request) -> None:
        if request.url.params.get("watch") != "true":
            self.count[request.method] += 1


async def test_a_thousand_workers_starve_nobody_and_go_in_bulk(kube: Kube, namespace: str, tmp_path: Path) -> None:
    harness = KubernetesHarness(kube, namespace, tmp_path)
    backend = harness.backend
    await backend.start()
    requests = Requests(harness)
    made: list[Handle] = []

    async def submit(each: Job) -> Handle:
        handles = [handle async for handle in backend.submit(each)]
        made.extend(handles)
        return handles[0]

    crowd = [
        job("crowd", f"worker-{n}", "stay", owner="ada", pods=SOMEWHERE if n < RUNNING else NOWHERE)
        for n in range(CROWD)
    ]
    submitted = [asyncio.create_task(submit(each)) for each in crowd]
    async with asyncio.timeout(PATIENCE_S):
        while len(made) < CROWD // 10:  # noqa: ASYNC110 - in the midst of it
            await asyncio.sleep(0.01)
    before = len(made)
    one = await submit(job("other", "worker-1", "stay", owner="bob"))
    meanwhile = len(made) - before - 1
    assert meanwhile <= 3 * AT_ONCE, f"{meanwhile} of {CROWD} went first"
    handles = await asyncio.gather(*submitted)
    assert len({handle.job_id for handle in handles}) == CROWD
    # A pod and a Secret each, one ConfigMap; some may have been turned away for a moment.
    assert requests.count["POST"] <= 2.1 * (CROWD + 1) + 1
    assert requests.count["GET"] <= CROWD // 50

    async def running(those: list[Handle]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while any(seen.state is not JobState.RUNNING for seen in await backend.observe(those)):  # noqa: ASYNC110
                await asyncio.sleep(0.2)

    await running([*handles[:RUNNING], one])
    requests.count.clear()
    await asyncio.gather(*(backend.remove(handle) for handle in handles))
    # A busy node may leave some to be deleted by force, which takes a look and a request for each that ran.
    assert requests.count["DELETE"] <= CROWD // 10 + RUNNING
    assert requests.count["GET"] <= 2 * RUNNING  # their logs, and that look
    assert [pod["metadata"]["name"] for pod in kube.items(namespace, "pods")] == [one.data["pod"]]
    await running([one])
    print(f"{meanwhile} of {CROWD} went before another's one; removal: {dict(requests.count)}")
    await backend.remove(one)
    await backend.close()
