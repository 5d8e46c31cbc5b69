"""The database: connections, transactions off the event loop, and its errors in plain words.

SQLAlchemy is used as it is, on threads: one for writing, two for reading. A whole transaction is then one
hop to a thread, where the asyncio drivers hop for every statement (0.9 ms against 3 ms for a typical
change, both made durable; `docs/decisions/0002-store-on-threads.md`).
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
        self._writer = _engine(path, begin="BEGIN IMMEDIATE")
        self._reader = _engine(path, begin="BEGIN")
        # One writing thread: SQLite has one writer anyway, and so none ever waits for a lock.
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="store-write")
        self._reading = ThreadPoolExecutor(2, thread_name_prefix="store-read")

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction: all of it is on disk when this returns, or none is."""
        return await self._run(self._writing, self._writer, work, "write")

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on one consistent state of the database."""
        return await self._run(self._reading, self._reader, work, "read")

    async def close(self) -> None:
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        for executor, engine in ((self._reading, self._reader), (self._writing, self._writer)):
            executor.shutdown()
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


def _engine(path: Path, *, begin: str) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False, "timeout": 30})

    def connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves: see `begin`
        # FULL: a create that was answered is on disk, come what may; it costs half a millisecond.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    def start_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "connect", connect)
    event.listen(engine, "begin", start_transaction)
    return engine
