"""An event loop whose time passes by itself whenever nothing is left to do: hours in milliseconds, always the same.

Nothing in it may use threads or sockets. The same seed then gives the same order of everything, so that a kill
between two turns of the loop can be repeated.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
EPOCH = 1_000_000.0


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Its time moves to the next timer once nothing is ready."""

    def __init__(self) -> None:
        self.passed_s = 0.0
        super().__init__(_Jump(self))

    def time(self) -> float:
        return self.passed_s


class _Jump(selectors.SelectSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everybody waits for something that nobody will do")
        self._loop.passed_s += max(0.0, timeout)
        return []


class VirtualClock:
    """The loop's time, for whoever wants a `Clock`."""

    def now(self) -> float:
        return EPOCH + asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def run(main: Coroutine[Any, Any, T]) -> T:
    """What `main` gives, in a loop of virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
