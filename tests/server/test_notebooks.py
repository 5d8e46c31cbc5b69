"""Clusters end with the notebook server that made them: only those, only then, and never because nobody answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from dask_sluice.server.clock import SystemClock
from dask_sluice.server.identity.protocol import Shown
from dask_sluice.server.identity.token import TokenAuthenticator
from dask_sluice.server.model import Caller
from dask_sluice.server.notebooks import NotebookWatch, user_of
from dask_sluice.wire.api import LeaseChange, LeaseRequest
from dask_sluice.wire.states import ClusterState

from .core import Core, running_core

FIRST = Caller("ada", notebook="ada/")
SECOND = Caller("ada", notebook="ada/second")
BY_HAND = Caller("ada")


class Hub(TokenAuthenticator):
    """Knows notebook servers; `servers` None: does not answer."""

    def __init__(self) -> None:
        super().__init__(token="t", account="ada")
        self.servers: dict[str, str] | None = {"ada/": "monday", "ada/second": "monday"}

    async def notebooks(self, user: str) -> Mapping[str, str] | None:
        assert user == "ada"
        return self.servers

    def is_herald(self, shown: Shown) -> bool:
        return True


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    async with running_core(tmp_path) as core:
        yield core


@pytest.fixture
def hub() -> Hub:
    return Hub()


@pytest.fixture
def watch(core: Core, hub: Hub) -> NotebookWatch:
    return NotebookWatch(core.store, core.loop, SystemClock(), hub)


async def made(core: Core, caller: Caller, presence: bool | None = True) -> str:
    return (await core.control.create(caller, {}, None, LeaseRequest(presence=presence)))[0].name


async def stopped(core: Core, *names: str) -> list[bool]:
    """Whether each is being stopped for its notebook's sake, or was."""
    records = [await core.control.cluster(BY_HAND, name) for name in names]
    assert all(record.wanted.stop is None or str(record.wanted.stop.code) == "notebook_ended" for record in records)
    return [record.wanted.stop is not None for record in records]


async def test_those_of_a_server_that_is_gone_end_and_nobody_elses(core: Core, hub: Hub, watch: NotebookWatch) -> None:
    first, second, by_hand = await made(core, FIRST), await made(core, SECOND), await made(core, BY_HAND)
    await watch._look()
    assert await stopped(core, first, second, by_hand) == [False, False, False]
    hub.servers = {"ada/second": "monday"}
    await watch._look()
    assert await stopped(core, first, second, by_hand) == [True, False, False]


async def test_a_server_that_was_started_anew_is_another_one(core: Core, hub: Hub, watch: NotebookWatch) -> None:
    before = await made(core, FIRST)
    await watch._look("ada")
    hub.servers = {"ada/": "tuesday"}
    after = await made(core, FIRST)
    await watch._look("ada")
    assert await stopped(core, before, after) == [True, False]


async def test_a_hub_that_does_not_answer_ends_nothing(core: Core, hub: Hub, watch: NotebookWatch) -> None:
    name = await made(core, FIRST)
    hub.servers = None
    await watch._look()
    assert await stopped(core, name) == [False]


async def test_one_that_is_to_outlive_its_notebook_does_and_an_old_clients_does_not(
    core: Core, hub: Hub, watch: NotebookWatch
) -> None:
    kept, old = await made(core, FIRST, presence=False), await made(core, FIRST, presence=None)
    hub.servers = {}
    await watch._look()
    assert await stopped(core, kept, old) == [False, True]


async def test_one_that_is_kept_alive_stays(core: Core, hub: Hub, watch: NotebookWatch) -> None:
    record = await core.running(FIRST)
    await core.control.lease(FIRST, record.name, LeaseChange(keep_alive_s=3600))
    hub.servers = {}
    await watch._look()
    assert (await core.control.cluster(FIRST, record.name)).state is ClusterState.RUNNING


def test_the_user_of_a_notebook_is_what_stands_before_the_last_slash() -> None:
    assert user_of("ada/") == user_of("ada/second") == "ada"
