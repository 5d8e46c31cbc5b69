"""The database: connections, transactions off the event loop, and its errors in plain words.

SQLAlchemy is used as it is, on threads: one for writing, two for reading. A whole transaction is then one
hop to a thread, where the asyncio drivers hop for every statement (0.4 ms against 2.8 ms for a typical
change; `docs/decisions/0002-store-on-threads.md`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError

from ...wire.errors import BackendUnavailable

T = TypeVar("T")


class Database:
    """One SQLite file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._durable = _engine(path, begin="BEGIN IMMEDIATE", synchronous="FULL")
        self._quick = _engine(path, begin="BEGIN IMMEDIATE", synchronous="NORMAL")
        self._reader = _engine(path, begin="BEGIN", synchronous="NORMAL")
        # One writing thread: SQLite has one writer anyway, and so none ever waits for a lock.
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="store-write")
        self._reading = ThreadPoolExecutor(2, thread_name_prefix="store-read")

    async def write(self, work: Callable[[Connection], T], *, durable: bool) -> T:
        """Run `work` in one transaction: all of it is written when this returns, or none is.

        durable  On disk as well. Otherwise a machine that loses its power may forget it (a killed server does
                 not): right for what can be found out again by looking, and several times as fast.
        """
        return await self._run(self._writing, self._durable if durable else self._quick, work, "write")

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on one consistent state of the database."""
        return await self._run(self._reading, self._reader, work, "read")

    async def close(self) -> None:
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        for executor in (self._reading, self._writing):
            executor.shutdown()
        for engine in (self._reader, self._quick, self._durable):
            engine.dispose()

    async def _run(self, executor: ThreadPoolExecutor, engine: Engine, work: Callable[[Connection], T], verb: str) -> T:
        def transaction() -> T:
            with engine.begin() as connection:
                return work(connection)

        try:
            return await asyncio.get_running_loop().run_in_executor(executor, transaction)
        except IntegrityError:
            raise
        except DBAPIError as error:
            raise BackendUnavailable(
                f"the server cannot {verb} its database {self.path}: {error.orig}",
                hint="Ask the administrator to look at the disk's free space and at the file's permissions.",
                retry_after_s=5,
            ) from error


def _engine(path: Path, *, begin: str, synchronous: str) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False, "timeout": 30})

    def connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves: see `begin`
        for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    def start_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "connect", connect)
    event.listen(engine, "begin", start_transaction)
    return engine
