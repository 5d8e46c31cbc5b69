"""A crowd: so many requests at work at a time, the rest in a line in which callers take turns, and whoever would
stand there for too long is told at once when to come again. One caller's flood is that caller's own wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from dask_sluice.server.http.edge import AT_ONCE, Edge
from dask_sluice.server.http.pressure import Callers, Pace, Pressure
from dask_sluice.wire.errors import Overloaded

from .site import Site

FOREVER_S = 1e9


async def settle() -> None:
    """Everything that can go on without anything new has."""
    for _ in range(10):
        await asyncio.sleep(0)


@dataclass
class Desk:
    """Requests at a `Pressure`: who asks, who has come in, in which order."""

    pressure: Pressure
    came_in: list[str] = field(default_factory=list)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def ask(self, callers: Iterable[str]) -> None:
        for caller in callers:
            self.tasks.append(asyncio.create_task(self._enter(caller)))
            await settle()

    async def _enter(self, caller: str) -> None:
        await self.pressure.enter(caller, FOREVER_S)
        self.came_in.append(caller)

    async def leave(self, caller: str) -> None:
        self.pressure.leave(caller)
        await settle()


async def test_callers_take_turns_whoever_asked_more_often() -> None:
    desk = Desk(Pressure(2))
    await desk.ask(["first", "second"])
    await desk.ask(["flood"] * 5 + ["one", "two"])
    assert desk.came_in == ["first", "second"]
    await desk.leave("first")
    await desk.leave("flood")
    await desk.leave("one")
    assert desk.came_in[2:] == ["flood", "one", "two"]


async def test_one_caller_has_at_most_half_of_the_places() -> None:
    desk = Desk(Pressure(4))
    await desk.ask(["flood"] * 10)
    assert desk.came_in == ["flood"] * 2
    await desk.ask(["other"])
    assert desk.came_in[-1] == "other"


async def test_who_would_wait_too_long_is_told_when_to_come_again_and_who_comes_later_later() -> None:
    desk = Desk(Pressure(2))
    await desk.ask(["a", "b", *[f"user {each}" for each in range(400)]])
    after_s: list[float] = []
    for _ in range(1000):
        with pytest.raises(Overloaded) as told:
            await desk.pressure.enter("late", 1.0)
        after_s.append(told.value.retry_after_s or 0)
    assert after_s == sorted(after_s)
    assert after_s[0] < after_s[-1] <= 30
    for task in desk.tasks:
        task.cancel()


async def test_one_callers_flood_sends_only_that_caller_away() -> None:
    desk = Desk(Pressure(2))
    await desk.ask(["a", "b", *["flood"] * 400])
    with pytest.raises(Overloaded):
        await desk.pressure.enter("flood", 1.0)
    asked = asyncio.create_task(desk.pressure.enter("other", 1.0))
    await settle()
    assert not asked.done()
    await desk.leave("a")
    await desk.leave("flood")
    assert asked.done()
    for task in desk.tasks:
        task.cancel()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["ask", "leave", "give up"])), max_size=60))
def test_places_are_never_lost_and_never_given_twice(acts: list[tuple[str, str]]) -> None:
    async def play() -> None:
        desk = Desk(Pressure(4))
        held: list[str] = []
        for caller, act in acts:
            before = len(desk.came_in)
            if act == "ask":
                await desk.ask([caller])
            elif act == "leave" and caller in held:
                held.remove(caller)
                await desk.leave(caller)
            elif act == "give up" and (waiting := [task for task in desk.tasks if not task.done()]):
                waiting[0].cancel()
                await settle()
            held += desk.came_in[before:]
            assert desk.pressure.working == len(held) <= 4
            may_come_in = any(held.count(name) < 2 for name in desk.pressure._line)
            assert len(held) == 4 or not may_come_in, "a place is free, and somebody waits who may have it"
        for task in desk.tasks:
            task.cancel()
        await settle()
        for caller in held:
            await desk.leave(caller)
        assert (desk.pressure.working, desk.pressure.waiting) == (0, 0)

    asyncio.run(play())


def test_only_good_credentials_make_a_caller_of_ones_own() -> None:
    callers = Callers()
    assert callers.of("Basic x", "192.0.2.1") == callers.of("Basic y", "192.0.2.1") == callers.of("", "192.0.2.1")
    callers.learn("Basic x", "ada")
    assert callers.of("Basic x", "192.0.2.1") == callers.of("Basic x", "192.0.2.2") != callers.of("", "192.0.2.1")


def test_the_pace_is_that_of_work_not_of_idle_hours() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])
    for _ in range(200):
        now[0] += 0.1
        pace.done(more=True)
    assert pace.interval_s == pytest.approx(0.1, rel=0.1)
    pace.done(more=False)
    now[0] += 86400
    pace.done(more=True)
    assert pace.interval_s == pytest.approx(0.1, rel=0.1)


@dataclass
class Slow:
    """An app that answers once it may."""

    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    at_work: int = 0
    most: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.at_work += 1
        self.most = max(self.most, self.at_work)
        await self.may_answer.wait()
        self.at_work -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def edge_client(app: Slow) -> httpx.AsyncClient:
    edge = Edge(app, answered=lambda *_: None)
    return httpx.AsyncClient(transport=httpx.ASGITransport(edge), base_url="http://sluice.test")


async def test_a_flood_is_answered_by_429_and_a_time_and_the_rest_in_turn() -> None:
    app = Slow()
    async with edge_client(app) as client:
        asked = [asyncio.create_task(client.get("/api/v2/clusters")) for _ in range(500)]
        refused = [await each for each in asyncio.as_completed(asked[-100:])]
        for answer in refused:
            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["code"] == "overloaded"
        app.may_answer.set()
        statuses = [(await each).status_code for each in asked[:100]]
        await asyncio.gather(*asked)
    assert statuses == [200] * 100
    assert app.most == AT_ONCE // 2, "one address, one caller"


async def test_who_waits_for_something_to_happen_keeps_no_place_and_probes_and_proxies_need_none() -> None:
    app = Slow()
    waiting = [
        "/api/v2/clusters/x/wait",
        "/api/v1/clusters/x?wait",
        "/api/v2/events",
        "/api/v2/clusters/x/logs?follow=1",
    ]
    free = ["/api/health/ready", "/metrics", "/api/v2/routes", "/api/v2/access/x", "/static/page.css"]
    async with edge_client(app) as client:
        asked = [asyncio.create_task(client.get(path)) for path in waiting * AT_ONCE]
        asked += [asyncio.create_task(client.get("/api/v2/clusters")) for _ in range(AT_ONCE)]
        asked += [asyncio.create_task(client.get(path)) for path in free]
        while app.at_work < len(waiting) * AT_ONCE + AT_ONCE // 2 + len(free):  # noqa: ASYNC110
            await asyncio.sleep(0)
        app.may_answer.set()
        assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}


async def test_old_clients_wait_where_new_ones_are_told_to_come_again() -> None:
    app = Slow()
    async with edge_client(app) as client:
        asked = [asyncio.create_task(client.get("/api/v1/clusters/")) for _ in range(500)]
        await settle()
        assert not any(each.done() for each in asked)
        app.may_answer.set()
        assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}


async def test_a_crowd_at_the_real_app_gets_what_it_asks_for(site: Site) -> None:
    async with site.client("ada") as ada, site.client("grace") as grace:
        answers = await asyncio.gather(*(who.get("/api/v2/clusters") for who in (ada, grace) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
