"""Whoever is away is told what became of a cluster: once, whatever crashes, and nobody else is told."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from dask_sluice.server.backends.fake import World
from dask_sluice.server.clock import ManualClock
from dask_sluice.server.notices import TOO_OLD_S, Messenger, NotTaken
from dask_sluice.server.settings_leases import Leases
from dask_sluice.server.settings_notices import Notices
from dask_sluice.wire.api import LeaseRequest
from dask_sluice.wire.states import ClusterState

from ..webhook import Webhook, webhook
from .core import ADA, Core, end_world, eventually, running_core

LEASES = Leases.model_validate({"idle": {"default": 0}, "age": {"default": 7200}})


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as server:
        yield server


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_793_534_400.0)  # 2026-11-01 12:00 UTC


@pytest.fixture
async def core(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Core]:
    world = World()
    async with running_core(tmp_path, world=world, clock=clock, leases=LEASES) as core:
        yield core
    end_world(world)


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as http:
        yield http


def messenger(core: Core, hook: Webhook, clock: ManualClock, **settings: Any) -> Messenger:
    """As after a start: what was told before stands in the database only."""
    return Messenger(core.store, clock, Notices.model_validate({"url": hook.url, **settings}))


async def ended(core: Core, *, outlives: bool = True) -> str:
    """The name of a cluster that its user stopped."""
    lease = LeaseRequest(presence=not outlives)
    name = (await core.control.create(ADA, {}, None, lease))[0].name
    await core.until(name, ClusterState.RUNNING)
    await core.control.stop(ADA, name)
    await eventually(lambda: is_stopped(core, name))
    return name


async def is_stopped(core: Core, name: str) -> bool:
    return (await core.store.cluster(name)).state is ClusterState.STOPPED


async def test_the_end_of_a_cluster_that_outlives_its_notebook_is_told(
    core: Core, hook: Webhook, clock: ManualClock, http: httpx.AsyncClient
) -> None:
    ours = messenger(core, hook, clock)
    await ours.look(http)
    name = await ended(core)
    await ended(core, outlives=False)
    await ours.look(http)
    (told,) = hook.taken
    assert told["text"] == f"Dask cluster {name} of ada: stopped by ada"
    assert (told["user"], told["cluster"], told["what"], told["state"]) == ("ada", name, "ended", "stopped")
    assert (told["code"], told["sentence"]) == ("stopped_by_user", "stopped by ada")
    assert told["time"] == "2026-11-01T12:00:00+00:00"
    assert told["hint"]


async def test_or_of_every_cluster(core: Core, hook: Webhook, clock: ManualClock, http: httpx.AsyncClient) -> None:
    ours = messenger(core, hook, clock, clusters="all")
    await ours.look(http)
    names = [await ended(core), await ended(core, outlives=False)]
    await ours.look(http)
    assert [told["cluster"] for told in hook.taken] == names


async def test_a_restart_neither_repeats_nor_misses_anything(
    core: Core, hook: Webhook, clock: ManualClock, http: httpx.AsyncClient
) -> None:
    before = await ended(core)
    await messenger(core, hook, clock).look(http)
    assert not hook.taken, "what was past when messages were first asked for is no news"
    first = await ended(core)
    await messenger(core, hook, clock).look(http)
    second = await ended(core)
    for _ in range(2):
        await messenger(core, hook, clock).look(http)
        await clock.advance(3600)
    assert before not in [told["cluster"] for told in hook.taken]
    assert [told["cluster"] for told in hook.taken] == [first, second]
    assert len({told["id"] for told in hook.taken}) == 2


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_webhook_that_is_away_gets_everything_later_and_in_order(
    core: Core, hook: Webhook, clock: ManualClock, http: httpx.AsyncClient, status: int
) -> None:
    ours = messenger(core, hook, clock)
    await ours.look(http)
    names = [await ended(core), await ended(core)]
    hook.answers = [204, status]
    with pytest.raises(NotTaken, match=f"answers {status}"):
        await ours.look(http)
    assert [told["cluster"] for told in hook.taken] == names[:1]
    await messenger(core, hook, clock).look(http)
    assert [told["cluster"] for told in hook.taken] == names


async def test_one_that_nobody_answers_for_is_said_without_its_secret_address(
    core: Core, clock: ManualClock, http: httpx.AsyncClient
) -> None:
    ours = Messenger(core.store, clock, Notices.model_validate({"url": "http://127.0.0.1:9/secret"}))
    await ours.look(http)
    await ended(core)
    with pytest.raises(NotTaken, match="cannot be reached") as raised:
        await ours.look(http)
    assert "secret" not in str(raised.value)


async def test_a_message_that_is_refused_for_good_holds_up_no_other(
    core: Core, hook: Webhook, clock: ManualClock, http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    ours = messenger(core, hook, clock)
    await ours.look(http)
    refused, taken = await ended(core), await ended(core)
    hook.answers = [400]
    with caplog.at_level(logging.ERROR):
        await ours.look(http)
    assert [told["cluster"] for told in hook.taken] == [taken]
    assert f"{refused}: notices.url refuses the message: 400" in caplog.text


async def test_a_lease_that_ends_is_told_before_it_does(
    core: Core, hook: Webhook, clock: ManualClock, http: httpx.AsyncClient
) -> None:
    ours = messenger(core, hook, clock)
    await ours.look(http)
    lease = LeaseRequest(presence=False)
    name = (await core.control.create(ADA, {}, None, lease))[0].name
    await core.until(name, ClusterState.RUNNING)
    await clock.advance(7200 - 600)

    async def is_told() -> bool:
        await ours.look(http)
        return bool(hook.taken)

    await eventually(is_told)
    assert (hook.taken[0]["what"], hook.taken[0]["code"]) == ("warning", "lease_ends")
    assert "will be stopped in" in hook.taken[0]["text"]


async def test_what_was_not_taken_for_a_day_is_no_news(
    core: Core, hook: Webhook, clock: ManualClock, http: httpx.AsyncClient
) -> None:
    await messenger(core, hook, clock).look(http)
    await ended(core)
    await messenger(core, hook, ManualClock(clock.now() + TOO_OLD_S + 1)).look(http)
    assert not hook.taken


async def test_an_event_that_another_server_wrote_late_is_told_all_the_same(
    core: Core, hook: Webhook, clock: ManualClock, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = messenger(core, hook, clock)
    await ours.look(http)
    late, known = await ended(core), await ended(core)
    every = core.store.events

    async def without_the_late(**which: Any) -> list[Any]:
        return [event for event in await every(**which) if event.cluster != late]

    with monkeypatch.context() as patch:
        patch.setattr(core.store, "events", without_the_late)
        await ours.look(http)
    assert [told["cluster"] for told in hook.taken] == [known]
    await ours.look(http)
    assert [told["cluster"] for told in hook.taken] == [known, late]


async def test_only_the_server_that_leads_tells(core: Core, hook: Webhook, clock: ManualClock) -> None:
    leads, follows = messenger(core, hook, clock), messenger(core, hook, clock)
    leads.lead(True)
    for each in (leads, follows):
        core.loop.start_task(each.run())

    async def has_begun() -> bool:
        return await core.store.note("notices") is not None

    await eventually(has_begun)
    name = await ended(core)

    async def are_told(number: int) -> bool:
        await clock.advance(5)
        return len(hook.taken) >= number

    await eventually(lambda: are_told(1))
    leads.lead(False)
    follows.lead(True)
    second = await ended(core)
    await eventually(lambda: are_told(2))
    assert [told["cluster"] for told in hook.taken] == [name, second]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"url": "chat.example.org"}, "must be an address such as"),
        ({"url": "https://chat.example.org", "headers": {"A b": "c"}}, "must be the name of a header"),
        ({"url": "https://chat.example.org", "headers": {"A": "c\nd"}}, "must be one line of plain ASCII"),
        ({"url": "https://chat.example.org", "clusters": "mine"}, "outliving"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Notices.model_validate(settings)
