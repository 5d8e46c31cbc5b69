"""What is measured, one function for each; every one starts a server of its own and gives rows of the table."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.scale.http import Answer, Wire, at_once, percentile
from bench.scale.population import count, fill
from bench.scale.server import ROOT, Server

HANDS = 32
REST_S = 10.0


@dataclass(frozen=True)
class Figure:
    """One number, and what it must be: at least, or at most, `goal`."""

    name: str
    number: int
    value: float
    unit: str
    goal: float | None = None
    more_is_better: bool = False
    database: str = "sqlite"

    @property
    def met(self) -> bool | None:
        if self.goal is None:
            return None
        return self.value >= self.goal if self.more_is_better else self.value <= self.goal


@contextlib.contextmanager
def _server(database: str | None, **kwargs: object) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as directory:
        server = Server(Path(directory), database=database, **kwargs)  # type: ignore[arg-type]
        server.start()
        try:
            yield server
        finally:
            server.stop()


def creates(database: str | None, number: int) -> list[Figure]:
    """Creates accepted in a second, durable, and brought to running."""
    with _server(database) as server:
        return asyncio.run(_creates(server, number))


async def _creates(server: Server, number: int) -> list[Figure]:
    free = [Wire(server.url, f"user{each}") for each in range(HANDS)]

    async def create() -> None:
        wire = free.pop()
        await wire.ask("POST", "/api/v2/clusters", {"options": {}})
        free.append(wire)

    began, cpu_s = time.perf_counter(), server.cpu_s()
    accepted_s = await at_once([create] * number, HANDS)
    running = "SELECT count(*) FROM clusters WHERE state = 'running'"
    while await asyncio.to_thread(count, server, running) < number:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    running_s = time.perf_counter() - began
    return [
        Figure("creates accepted, durable", number, number / accepted_s, "1/s", 200, more_is_better=True),
        Figure("creates to running", number, number / running_s, "1/s", 100, more_is_better=True),
        Figure("processor time of a create to running", number, 1000 * (server.cpu_s() - cpu_s) / number, "ms"),
    ]


def rest(database: str | None, number: int) -> list[Figure]:
    """Restart with so many running clusters; then their cost at rest, and that of one event among them."""
    with _server(database) as server:
        empty = server.memory_bytes(with_proxy=False)
        fill(server, number)
        answering_s = server.start()
        began = time.perf_counter()
        restarted = "SELECT count(*) FROM events WHERE code = 'server_restarted'"
        while count(server, restarted) < number:
            time.sleep(0.1)
        reconciled_s = answering_s + time.perf_counter() - began
        time.sleep(5)
        cpu_s = server.cpu_s()
        time.sleep(REST_S)
        busy = 100 * (server.cpu_s() - cpu_s) / REST_S
        each = (server.memory_bytes(with_proxy=False) - empty) / number
        event_ms = asyncio.run(_event_ms(server))
    return [
        Figure("restart: answering", number, answering_s, "s", 5),
        Figure("restart: all reconciled", number, reconciled_s, "s", 60),
        Figure("at rest: one core busy", number, busy, "%", 10),
        Figure("at rest: memory of a cluster", number, each / 1000, "kB", 50 if number >= 1000 else None),
        Figure("processor time of one event", number, event_ms, "ms"),
    ]


async def _event_ms(server: Server, events: int = 200) -> float:
    wire = Wire(server.url, "user0")
    (view,) = await wire.ask("GET", "/api/v2/clusters")
    cpu_s = server.cpu_s(with_proxy=False)
    for each in range(events):
        await wire.ask("POST", f"/api/v2/clusters/{view['name']}/adapt", {"minimum": 0, "maximum": 1 + each % 2})
    wire.close()
    return 1000 * (server.cpu_s(with_proxy=False) - cpu_s) / events


def links(database: str | None, number: int, every_s: float = 15.0) -> list[Figure]:
    """So many agents' links: memory, work, and how they come back after a kill -9 of the server."""
    with _server(database, agents=False) as server:
        server_agents = fill_without_agents(server, number)
        server.start()
        time.sleep(10 + number / 1000)
        before = server.memory_bytes()
        with _fleet(server, server_agents, every_s) as ask:
            _until(lambda: ask("linked") == number)
            time.sleep(10)
            each, cpu_s = (server.memory_bytes() - before) / number, server.cpu_s()
            time.sleep(2 * every_s)
            busy = 100 * (server.cpu_s() - cpu_s) / (2 * every_s)
            server.kill()
            _until(lambda: ask("linked") == 0)
            dialled = ask("dialled")
            server.start()
            began = time.perf_counter()
            _until(lambda: ask("linked") == number)
            back_s, again = time.perf_counter() - began, ask("dialled") - dialled
    return [
        Figure("links: memory of one, proxy included", number, each / 1000, "kB", 60 if number >= 100 else None),
        Figure("links: one core busy, a report each 15 s, proxy included", number, busy, "%", 15),
        Figure("links: all back after a restart", number, back_s, "s", 30),
        Figure("links: made again for each one lost", number, again / number, "", 1.2),
    ]


def fill_without_agents(server: Server, number: int) -> list[tuple[str, str]]:
    """As `fill`, where the first cluster needs an agent in the server to get to running."""
    server.stop()
    server.agents = True
    server.start()
    agents = fill(server, number)
    server.agents = False
    return agents


@contextlib.contextmanager
def _fleet(server: Server, agents: list[tuple[str, str]], every_s: float) -> Iterator[Callable[[str], int]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.scale.fleet"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdin is not None
    assert process.stdout is not None
    url = server.url.replace("http", "ws", 1)

    def tell(line: str) -> None:
        assert process.stdin is not None
        process.stdin.write(line + "\n")
        process.stdin.flush()

    def ask(question: str) -> int:
        assert process.stdout is not None
        tell(question)
        return int(process.stdout.readline())

    tell(json.dumps({"url": url, "every_s": every_s, "agents": agents}))
    try:
        yield ask
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def _until(true: Callable[[], bool], patience_s: float = 60.0) -> None:
    deadline = time.monotonic() + patience_s
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError("the bench waited in vain")
        time.sleep(0.1)


def crowd(database: str | None, number: int, within_s: float = 60.0) -> list[Figure]:
    """So many users list and look at clusters within a minute; then a flood, which is turned away with a time."""
    with _server(database) as server:
        fill(server, number)
        server.start()
        time.sleep(5)
        return asyncio.run(_crowd(server, number, within_s))


async def _crowd(server: Server, number: int, within_s: float) -> list[Figure]:
    took: list[float] = []
    statuses: list[int] = []

    async def user(each: int) -> None:
        wire = Wire(server.url, f"user{each}")
        for _ in range(4):
            await asyncio.sleep(random.uniform(0, within_s / 4))
            for path in ("/api/v2/clusters", "/api/v1/clusters/"):
                began = time.perf_counter()
                with contextlib.suppress(Answer):
                    await wire.ask("GET", path)
                took.append(time.perf_counter() - began)
        wire.close()

    await asyncio.gather(*(user(each) for each in range(number)))

    async def flood(each: int) -> None:
        wire = Wire(server.url, f"user{each}")
        for _ in range(3):
            try:
                await wire.ask("GET", "/api/v2/clusters?all=1")
                statuses.append(200)
            except Answer as answer:
                statuses.append(answer.status if "retry-after" in answer.headers or answer.status != 429 else 0)
        wire.close()

    await asyncio.gather(*(flood(each) for each in range(number)))
    return [
        Figure("crowd: lists in a minute, p99", number, percentile(took, 0.99), "s", 1),
        Figure("flood: answered 200", number, statuses.count(200) / len(statuses) * 100, "%"),
        Figure("flood: turned away with Retry-After", number, statuses.count(429) / len(statuses) * 100, "%"),
        Figure("flood: anything else", number, sum(each not in (200, 429) for each in statuses), "", 0),
    ]


def lesson(database: str | None, number: int) -> list[Figure]:
    """So many users create, scale to two, see both and stop, all of them beginning within ten seconds."""
    with _server(database) as server:
        return asyncio.run(_lesson(server, number))


async def _lesson(server: Server, number: int) -> list[Figure]:
    took: list[float] = []
    refused: list[int] = []

    async def ask(wire: Wire, method: str, path: str, body: object = None) -> dict[str, object]:
        began = time.perf_counter()
        try:
            answer: dict[str, object] = await wire.ask(method, path, body)
        except Answer as error:
            refused.append(error.status)
            raise
        if "/wait" not in path:
            took.append(time.perf_counter() - began)
        return answer

    async def student(each: int) -> float:
        wire = Wire(server.url, f"student{each}")
        await asyncio.sleep(random.uniform(0, 10))
        began = time.perf_counter()
        view = await ask(wire, "POST", "/api/v2/clusters", {"options": {}})
        path = f"/api/v2/clusters/{view['name']}"
        await ask(wire, "POST", f"{path}/scale", {"count": 2})
        while view["workers"]["running"] < 2:  # type: ignore[index]
            view = await ask(wire, "GET", f"{path}/wait?after_version={view['version']}")
        lasted = time.perf_counter() - began
        await ask(wire, "DELETE", path)
        wire.close()
        return lasted

    lasted = await asyncio.gather(*(student(each) for each in range(number)))
    return [
        Figure("lesson: calls, p95", number, percentile(took, 0.95), "s", 1),
        Figure("lesson: create to two workers, p95", number, percentile(lasted, 0.95), "s"),
        Figure("lesson: refused", number, len(refused), "", 0),
    ]
