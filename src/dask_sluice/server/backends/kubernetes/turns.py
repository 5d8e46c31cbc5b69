"""Turns at a door that lets few through at once: whoever wants one worker does not wait for another's thousand."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Lets `at_once` in; who waits is let in in turn by name, and in order under one name."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, who: str) -> AsyncIterator[None]:
        """Be inside."""
        if self._free and not self._waiting:
            self._free -= 1
        else:
            await self._wait(who)
        try:
            yield
        finally:
            self._free += 1
            self._let_in()

    async def _wait(self, who: str) -> None:
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(who, deque()).append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():  # let in at the very moment
                self._free += 1
                self._let_in()
            raise

    def _let_in(self) -> None:
        while self._free and self._waiting:
            who, queue = self._waiting.popitem(last=False)
            next_one = queue.popleft()
            if queue:
                self._waiting[who] = queue  # at the end: others come first
            if not next_one.done():
                self._free -= 1
                next_one.set_result(None)
