"""Each of several servers shows what pods wrote that another one looked after, also when that one is gone."""

from __future__ import annotations

from pathlib import Path

from dask_sluice.server.backends.protocol import JobState

from ..postgresql import PostgreSQL
from ..server.backends.conformance import remove_all, submit, until
from .harness import KubernetesHarness, job
from .kube import Kube


async def test_the_log_of_a_dead_pod_is_shown_by_the_server_that_never_saw_it(
    kube: Kube, namespace: str, tmp_path: Path, postgresql: PostgreSQL
) -> None:
    access, database = kube.account(namespace, tmp_path / "account"), postgresql.new_database()
    one = KubernetesHarness(kube, namespace, tmp_path, access, database)
    dying = job("one", "worker-9", "die")
    await one.backend.start()
    handles = await submit(one.backend, dying)
    told = await until(one, handles[0], JobState.ENDED)
    await remove_all(one.backend, handles)
    assert kube.items(namespace, "pods") == []
    await one.close()

    other = KubernetesHarness(kube, namespace, tmp_path, access, database)
    await other.backend.start()
    shown = await other.backend.logs("one", dying.id)
    assert told.log_tail
    assert shown.endswith(told.log_tail)
    assert await other.backend.kept() == ["one"]
    await other.backend.forget("one")
    assert await other.backend.logs("one", dying.id) == ""
    await other.close()
