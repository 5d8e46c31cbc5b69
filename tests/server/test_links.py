"""The server believes an agent as far as it must, and tells it what the record says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dask_sluice.server.backends.fake import World
from dask_sluice.server.backends.fake_agent import memory_lines
from dask_sluice.server.decision import plain
from dask_sluice.server.links import LinkMisused, _Link, outstanding, read_event, read_hello, read_report
from dask_sluice.server.model import Adaptive, JobRecord, Wanted, WorkerRecord
from dask_sluice.server.sightings import Sightings
from dask_sluice.wire.errors import AuthenticationRequired
from dask_sluice.wire.reasons import Reason, ReasonCode
from dask_sluice.wire.states import ClusterState, WorkerState

from .core import Core, end_world, eventually, running_core
from .records import record_of

HELLO = {"op": "hello", "cluster": "ada-1", "scheduler_port": 8786, "dashboard_port": None, "versions": {}, "pid": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"op": "report"},
        {"cluster": "grace-1"},
        {"scheduler_port": 0},
        {"scheduler_port": 65536},
        {"scheduler_port": "8786"},
        {"scheduler_port": True},
        {"dashboard_port": -1},
    ],
)
def test_a_hello_that_cannot_be_is_not_believed(change: Mapping[str, Any]) -> None:
    with pytest.raises(LinkMisused):
        read_hello({**HELLO, **change}, "ada-1")


def test_of_versions_only_what_clients_compare_is_kept() -> None:
    said = {"python": "3.11.4", "distributed": "2026.8.0" * 100, "secret": "x", "dask": None}
    kept = read_hello({**HELLO, "versions": said}, "ada-1").versions
    assert kept == {"python": "3.11.4", "distributed": ("2026.8.0" * 5), "dask": "None"}
    assert read_hello({**HELLO, "versions": "none"}, "ada-1").versions == {}


def test_a_report_without_workers_is_not_believed() -> None:
    with pytest.raises(LinkMisused):
        read_report({"op": "report", "workers": None})
    with pytest.raises(LinkMisused):
        read_report({"op": "report", "workers": [], "left": "worker-1"})


def test_who_has_left_since_the_last_report_is_known_as_it_last_was() -> None:
    one = {"name": "worker-1", "memory_used": 100, "processing": 1}
    sightings = Sightings()
    report = {"op": "report", "clients": 0, "retired": [], "active": False, "idle_since": None}
    sightings.reported("ada-1", read_report({**report, "workers": [one]}))
    sightings.reported("ada-1", read_report({**report, "workers": [], "left": [{**one, "memory_used": 900}]}))
    seen = sightings.observation("ada-1", 0.0, ()).report
    assert seen is not None
    assert seen.left["worker-1"].memory_bytes == 900


def test_an_event_that_is_too_long_or_unknown_is_not_believed() -> None:
    with pytest.raises(LinkMisused, match="unknown code"):
        read_event({"subject": "worker-1", "code": "made_up"})
    with pytest.raises(LinkMisused, match="too long"):
        read_event({"subject": "worker-1", "code": "worker_restarted", "details": {"how": "x" * 10_000}})


def link() -> _Link:
    return _Link(memory_lines()[0])


def test_a_new_link_is_told_everything_and_then_only_what_changed() -> None:
    record, fresh = record_of("ada-1", state=ClusterState.RUNNING), link()
    assert [m["op"] for m in outstanding(fresh, record)] == ["adapt", "wanted"]
    assert outstanding(fresh, record) == []
    record = replace(record, wanted=Wanted(workers=2, adaptive=Adaptive(1, 4)))
    assert outstanding(fresh, record) == [
        {"op": "adapt", "minimum": 1, "maximum": 4},
        {"op": "wanted", "count": 2},
    ]


def test_each_worker_is_to_be_retired_once_on_each_link() -> None:
    job = JobRecord("j")
    retiring = WorkerRecord("worker-1", job, WorkerState.RETIRING, Reason(ReasonCode.WORKER_SURPLUS), 0.0)
    record = replace(record_of("ada-1", state=ClusterState.RUNNING), workers=(retiring,))
    first = link()
    assert {"op": "retire", "names": ["worker-1"], "count": 0} in outstanding(first, record)
    assert outstanding(first, record) == []
    assert {"op": "retire", "names": ["worker-1"], "count": 0} in outstanding(link(), record)


def test_a_stopping_cluster_is_told_why_once() -> None:
    reason = plain(ReasonCode.STOPPED_BY_USER, by="ada")
    record = replace(record_of("ada-1", state=ClusterState.STOPPING), wanted=Wanted(stop=reason))
    fresh = link()
    assert outstanding(fresh, record)[-1] == {"op": "stop", "reason": "stopped by ada"}
    assert outstanding(fresh, record) == []


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    world = World()
    async with running_core(tmp_path, world=world) as core:
        yield core
    end_world(world)


async def test_only_the_clusters_own_token_opens_the_door(core: Core) -> None:
    one, other = await core.running(), await core.running()
    token = (await core.store.secrets(one.name)).link_token
    await core.links.admit(one.name, token)
    for name, shown in ((one.name, ""), (one.name, "wrong"), (other.name, token), ("nobody-1", token)):
        with pytest.raises(AuthenticationRequired, match="not the link token"):
            await core.links.admit(name, shown)


async def test_an_agent_that_talks_nonsense_is_cut_off_and_its_cluster_goes_on(core: Core) -> None:
    record = await core.running(workers=1)
    await core.agent(record.name).say({"op": "report", "workers": "many"})
    await eventually(lambda: [m["op"] for m in core.agent(record.name).heard].count("welcome") == 2)
    assert (await core.store.cluster(record.name)).state is ClusterState.RUNNING


async def test_ops_that_are_not_known_yet_are_passed_over(core: Core) -> None:
    record = await core.running()
    await core.agent(record.name).say({"op": "from_the_future"})
    await core.agent(record.name).say({"op": "event", "subject": "scheduler", "code": "running", "details": {}})

    async def told() -> bool:
        return "scheduler" in [
            e.subject for e in await core.store.events(cluster=record.name) if e.reason.code == "running"
        ]

    await eventually(told)
    assert [m["op"] for m in core.agent(record.name).heard].count("welcome") == 1
