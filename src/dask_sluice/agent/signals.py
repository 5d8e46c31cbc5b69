"""How a process of ours is asked to end: SIGTERM, or Ctrl-C in the shell of somebody who tries it by hand."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable
from typing import Any, NoReturn, TypeVar

_ASKS_TO_END = (signal.SIGTERM, signal.SIGINT)

T = TypeVar("T")


class Stopped(Exception):
    """A signal asked this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


async def until(done: Awaitable[T]) -> T:
    """What `done` gives.

    raises  Stopped when a signal comes first; `done` is then cancelled
    """
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[int] = loop.create_future()

    def stop(number: int) -> None:
        if not stopped.done():
            stopped.set_result(number)

    for number in _ASKS_TO_END:
        loop.add_signal_handler(number, stop, number)
    task = asyncio.ensure_future(done)
    both: list[asyncio.Future[Any]] = [task, stopped]
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    if not stopped.done():
        return task.result()
    task.cancel()
    await asyncio.wait([task], timeout=1)
    if not task.cancelled() and task.done():
        task.exception()  # seen: it is of no interest any more
    raise Stopped(stopped.result())


def end_by(number: int) -> NoReturn:
    """End by the signal itself, so that whoever waits for this process sees what ended it."""
    sys.stdout.flush()
    sys.stderr.flush()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    raise SystemExit(128 + number)
