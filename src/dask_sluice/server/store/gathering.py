"""Writes that wait at the same time, in one transaction: the disk is waited for once, not once for each.

Each is still written whole or not at all: one that fails is taken back alone, by a savepoint.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection

from .engines import Engines

T = TypeVar("T")
AT_ONCE = 100
"""More would make the first of them wait."""


@dataclass(frozen=True)
class _Write:
    work: Callable[[Connection], Any]
    durable: bool
    done: asyncio.Future[Any]


class Gathered:
    """One writing thread, and what waits for it. Written in the order of the calls."""

    def __init__(self, thread: Executor, engines: Engines) -> None:
        self._thread = thread
        self._engines = engines
        self._waiting: deque[_Write] = deque()
        self._lock = threading.Lock()
        self._busy = False

    async def write(self, work: Callable[[Connection], T], *, durable: bool) -> T:
        """What `work` gives, once it is written; what it raises, with nothing of it written."""
        loop = asyncio.get_running_loop()
        write = _Write(work, durable, loop.create_future())
        with self._lock:
            self._waiting.append(write)
            if not self._busy:
                self._busy = True
                self._thread.submit(self._write_all, loop)
        result: T = await write.done
        return result

    def _write_all(self, loop: asyncio.AbstractEventLoop) -> None:
        while batch := self._next():
            try:
                outcomes = self._transaction(batch)
            except BaseException as error:  # noqa: BLE001 (raised where it is waited for; none of them is written)
                outcomes = [error] * len(batch)
            loop.call_soon_threadsafe(_tell, batch, outcomes)

    def _next(self) -> list[_Write]:
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
            self._busy = bool(batch)
            return batch

    def _transaction(self, batch: list[_Write]) -> list[Any]:
        durable = any(write.durable for write in batch)
        with (self._engines.durable if durable else self._engines.quick).begin() as connection:
            if len(batch) == 1:
                return [batch[0].work(connection)]
            return [_one_of_many(connection, write.work) for write in batch]


def _one_of_many(connection: Connection, work: Callable[[Connection], Any]) -> Any:
    connection.exec_driver_sql("SAVEPOINT one")
    try:
        outcome = work(connection)
    except Exception as error:  # noqa: BLE001 (the failure of this one, raised where it is waited for)
        connection.exec_driver_sql("ROLLBACK TO one")
        outcome = error
    connection.exec_driver_sql("RELEASE one")
    return outcome


def _tell(batch: list[_Write], outcomes: list[Any]) -> None:
    for write, outcome in zip(batch, outcomes, strict=True):
        if write.done.cancelled():
            continue
        if isinstance(outcome, BaseException):
            write.done.set_exception(outcome)
        else:
            write.done.set_result(outcome)
