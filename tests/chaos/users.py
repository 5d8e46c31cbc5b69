"""People who create, scale, adapt and stop clusters while the server dies under them, and remember what they were told.

An answer that they got is a promise: a cluster that was accepted is there, a stop that was accepted ends it, a
number that was accepted is wanted. What was asked and never answered may have happened or not.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from dask_sluice.server.model import Caller, ClusterRecord
from dask_sluice.wire.errors import BackendUnavailable, ClusterNotRunning, LimitExceeded

from .mortal import Died, MortalCore

Wish = int | tuple[int, int | None] | None
"""A number of workers, adaptive bounds, or adaptive scaling turned off."""
AT_ONCE = 3


@dataclass
class Promise:
    """What one user knows of one cluster."""

    name: str
    wishes: list[Wish] = field(default_factory=lambda: [0])
    """Those that may hold now; one where the last was answered."""
    stop: str = ""
    """`asked` or `accepted`."""
    disturbed: bool = False
    """Whether its number of workers was changed since everything was last at rest."""


class Site(Protocol):
    """Where users find a server."""

    async def server(self) -> MortalCore:
        """The living one, once there is one."""


class User:
    """One person, doing one thing after another."""

    def __init__(self, name: str, seed: str, site: Site) -> None:
        self.caller = Caller(name)
        self.promises: dict[str, Promise] = {}
        self.given_up_creates = 0
        self.may_act = asyncio.Event()
        self.parked = asyncio.Event()
        self._site = site
        self._random = random.Random(seed)
        self._creates = 0

    async def live(self) -> None:
        """Act until cancelled, with pauses while nobody may."""
        while True:
            if not self.may_act.is_set():
                self.parked.set()
                await self.may_act.wait()
                self.parked.clear()
            await self._act()
            await asyncio.sleep(self._random.choice([0, 0, 0.01, 0.2, 1, 4]))

    async def _act(self) -> None:
        alive = [promise for promise in self.promises.values() if not promise.stop]
        if not alive or (len(alive) < AT_ONCE and self._random.random() < 0.4):
            await self._create()
            return
        promise = self._random.choice(alive)
        act = self._random.choices([self._scale, self._adapt, self._stop], [5, 2, 2])[0]
        await act(promise)

    async def _ask(
        self, request: Callable[[MortalCore], Coroutine[Any, Any, Any]], *, patience: float = 0.7
    ) -> tuple[bool, Any]:
        """Whether there was an answer, and the answer; asked again, or given up, where the server died meanwhile."""
        while True:
            server = await self._site.server()
            try:
                return True, await server.life.call(request(server))
            except Died:
                if self._random.random() > patience:
                    return False, None
            except BackendUnavailable:
                await asyncio.sleep(1)

    async def _create(self) -> None:
        self._creates += 1
        key = f"{self.caller.name}-{self._creates}"
        try:
            answered, created = await self._ask(lambda server: server.control.create(self.caller, {}, key))
        except LimitExceeded:
            return
        if not answered:
            self.given_up_creates += 1
            return
        record: ClusterRecord = created[0]
        assert record.name not in self.promises, "two creates gave the same cluster"
        self.promises[record.name] = Promise(record.name)

    async def _scale(self, promise: Promise) -> None:
        count = self._random.randint(0, 7)
        await self._wish(promise, count, lambda s: s.control.scale(self.caller, promise.name, count))

    async def _adapt(self, promise: Promise) -> None:
        minimum = self._random.randint(0, 3)
        maximum = self._random.choice([None, minimum, minimum + 2, 9])
        if self._random.random() < 0.2:
            wish: Wish = None
            minimum, maximum = 0, 0
        else:
            wish = (minimum, maximum)
        await self._wish(
            promise,
            wish,
            lambda s: s.control.adapt(self.caller, promise.name, minimum, maximum, active=wish is not None),
        )

    async def _wish(
        self, promise: Promise, wish: Wish, request: Callable[[MortalCore], Coroutine[Any, Any, Any]]
    ) -> None:
        promise.disturbed = True
        promise.wishes.append(wish)
        try:
            answered, _ = await self._ask(request)
        except ClusterNotRunning:
            return  # it has ended by itself; nothing is promised any more
        if answered:
            promise.wishes = [wish]

    async def _stop(self, promise: Promise) -> None:
        promise.stop = "asked"
        answered, _ = await self._ask(lambda server: server.control.stop(self.caller, promise.name))
        if answered:
            promise.stop = "accepted"
