"""Writes that wait at the same time, in one transaction: the disk is waited for once, not once for each.

Each is still written whole or not at all: where one fails, all are done again, that one alone being taken back.

Where several servers share the database, a transaction first takes the turns of all the owners that it writes for,
in one order for all servers, and only then touches their rows: so no two ever wait for each other.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from .engines import Engines
from .signals import announce, take_turns


@dataclass(frozen=True)
class Write:
    """One change of the database.

    work     makes it; may be called again, with nothing of the first time left
    durable  see `Database.write`
    owner    whose clusters it changes: nobody else changes any of theirs until it is written
    cluster  what the other servers are told of, once it is written
    alone    not together with others: it takes locks that they cannot know
    """

    work: Callable[[Connection], Any]
    durable: bool
    owner: str = ""
    cluster: str = ""
    alone: bool = False


_Waiting = tuple[Write, asyncio.Future[Any]]


class Lane:
    """One writing thread, and what waits for it. Written in the order of the calls."""

    def __init__(self, engines: Engines, replica: str) -> None:
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="store-write")
        self._engines = engines
        self._replica = replica
        self._waiting: deque[_Waiting] = deque()
        self._lock = threading.Lock()
        self._busy = False

    async def write(self, write: Write) -> Any:
        """What its work gives, once it is written; what that raises, with nothing of it written."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        with self._lock:
            self._waiting.append((write, done))
            if not self._busy:
                self._busy = True
                self.thread.submit(self._write_some, loop)
        return await done

    def _write_some(self, loop: asyncio.AbstractEventLoop) -> None:
        while batch := self._next():
            writes = [write for write, _ in batch]
            try:
                outcomes = self._outcomes(writes)
            except BaseException as error:  # noqa: BLE001 (raised where it is waited for; none of them is written)
                outcomes = [error] * len(batch)
            loop.call_soon_threadsafe(_tell, [done for _, done in batch], outcomes)
            with suppress(RuntimeError):  # closing: nobody else waits for this thread
                self.thread.submit(self._write_some, loop)  # behind the reads that came meanwhile
                return

    def _next(self) -> list[_Waiting]:
        """What comes first, and what goes together with it."""
        with self._lock:
            batch: list[_Waiting] = []
            while self._waiting and len(batch) < self._engines.at_once:
                if batch and (batch[0][0].alone or self._waiting[0][0].alone):
                    break
                batch.append(self._waiting.popleft())
            self._busy = bool(batch)
            return batch

    def _outcomes(self, writes: list[Write]) -> list[Any]:
        if len(writes) > 1:
            with suppress(Exception), self._transaction(writes) as connection:
                return [write.work(connection) for write in writes]
            with suppress(DBAPIError), self._transaction(writes) as connection:
                return [_taken_back_alone(connection, write.work) for write in writes]
        return [self._alone(write) for write in writes]

    def _alone(self, write: Write) -> Any:
        try:
            with self._transaction([write]) as connection:
                return write.work(connection)
        except Exception as error:  # noqa: BLE001 (raised where it is waited for)
            return error

    @contextmanager
    def _transaction(self, writes: list[Write]) -> Iterator[Connection]:
        durable = any(write.durable for write in writes)
        with (self._engines.durable if durable else self._engines.quick).begin() as connection:
            take_turns(connection, [write.owner for write in writes if write.owner])
            yield connection
            announce(connection, self._replica, [write.cluster for write in writes if write.cluster])


def _taken_back_alone(connection: Connection, work: Callable[[Connection], Any]) -> Any:
    try:
        with connection.begin_nested():
            return work(connection)
    except DBAPIError:
        raise
    except Exception as error:  # noqa: BLE001 (the failure of this one, raised where it is waited for)
        return error


def _tell(waiting: list[asyncio.Future[Any]], outcomes: list[Any]) -> None:
    for done, outcome in zip(waiting, outcomes, strict=True):
        if done.cancelled():
            continue
        if isinstance(outcome, BaseException):
            done.set_exception(outcome)
        else:
            done.set_result(outcome)
