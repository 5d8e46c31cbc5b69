"""Events as a list, and as a stream that goes on as they happen and resumes where it broke off."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from dask_sluice.server.http.streams import until_stopping
from dask_sluice.wire.states import ClusterState

from ..core import ADA
from .site import PASSWORDS, Site, listening

STREAM = {"Accept": "text/event-stream"}


async def frames(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The events of a stream, each checked to carry its id."""
    number = ""
    async for line in answer.aiter_lines():
        if line.startswith("id: "):
            number = line[4:]
        elif line.startswith("data: "):
            event: dict[str, Any] = json.loads(line[6:])
            assert str(event["id"]) == number
            yield event


def reader(address: str, user: str = "ada") -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=address, auth=(user, PASSWORDS[user]), headers=STREAM, timeout=10)


async def test_events_are_listed_oldest_first_from_where_one_left_off(site: Site) -> None:
    record = await site.core.running()
    async with site.client("ada") as client:
        events = (await client.get(f"/api/v2/clusters/{record.name}/events")).json()
        assert [event["code"] for event in events][:2] == ["created", "scheduler_starting"]
        assert (await client.get("/api/v2/events")).json() == events
        assert (await client.get("/api/v2/events", params={"after": events[0]["id"], "limit": 1})).json() == events[1:2]
    async with site.client("grace") as client:
        assert (await client.get("/api/v2/events")).json() == []


async def test_the_stream_of_a_cluster_goes_on_until_the_cluster_has_ended(site: Site) -> None:
    record = await site.core.running()
    async with (
        listening(site) as address,
        reader(address) as client,
        client.stream("GET", f"/api/v2/clusters/{record.name}/events") as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        codes = []
        async for event in frames(answer):
            codes.append(event["code"])
            if event["code"] == "running":
                await site.core.control.stop(ADA, record.name)
    assert codes[0] == "created"
    assert "stopped_by_user" in codes
    assert (await site.core.store.cluster(record.name)).state is ClusterState.STOPPED


async def test_a_broken_stream_resumes_after_the_last_event_that_was_seen(site: Site) -> None:
    record = await site.core.running()
    events = await site.core.control.events(ADA, record.name)
    async with listening(site) as address, reader(address) as client:
        headers = {"Last-Event-ID": str(events[1].id)}
        async with client.stream("GET", "/api/v2/events", headers=headers) as answer:
            first = await anext(frames(answer))
    assert first["id"] == events[2].id


async def test_the_stream_of_all_clusters_tells_of_new_ones_and_of_nobody_elses(site: Site) -> None:
    async with (
        listening(site) as address,
        reader(address) as client,
        client.stream("GET", "/api/v2/events") as answer,
    ):
        await site.core.new(site.core_caller("grace"))
        record = await site.core.new()
        first = await anext(frames(answer))
    assert (first["cluster"], first["code"]) == (record.name, "created")


async def test_streams_end_cleanly_when_the_server_stops(site: Site) -> None:
    async with (
        listening(site) as address,
        reader(address) as client,
        client.stream("GET", "/api/v2/events") as answer,
    ):
        site.services.stopping.set()
        assert [event async for event in frames(answer)] == []


async def test_a_quiet_stream_shows_that_it_is_alive(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(until_stopping, "__kwdefaults__", {"quiet_s": 0.01})
    async with (
        listening(site) as address,
        reader(address) as client,
        client.stream("GET", "/api/v2/events") as answer,
    ):
        async for line in answer.aiter_lines():
            if line == ": still here":
                break


async def test_an_unknown_cluster_is_an_error_and_not_an_empty_stream(site: Site) -> None:
    async with site.client("ada", headers=STREAM) as client:
        answer = await client.get("/api/v2/clusters/none/events")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


async def test_whatever_ends_a_stream_its_source_is_closed() -> None:
    closed = []

    async def source() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    stopping = asyncio.Event()
    seen = []
    async for item in until_stopping(source(), stopping):
        seen.append(item)
        stopping.set()
    assert (seen, closed) == ([1], [True])


async def test_an_error_of_the_source_reaches_the_reader() -> None:
    async def source() -> AsyncIterator[int]:
        yield 1
        raise OSError("broken")

    items = until_stopping(source(), asyncio.Event())
    assert await anext(items) == 1
    with pytest.raises(OSError, match="broken"):
        await anext(items)
