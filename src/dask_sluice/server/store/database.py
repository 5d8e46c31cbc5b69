"""The database: transactions off the event loop, and its errors in plain words.

SQLAlchemy is used as it is, on threads. A whole transaction is then one hop to a thread, where the asyncio
drivers hop for every statement (0.4 ms against 2.8 ms for a typical change in SQLite;
`docs/decisions/0002-store-on-threads.md`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError

from ...wire.errors import BackendUnavailable
from .engines import READERS, Location, name_of, open_engines
from .gathering import Lane, Write

T = TypeVar("T")

HINTS = {
    "sqlite": "Ask the administrator to look at the disk's free space and at the file's permissions.",
    "postgresql": "Ask the administrator to look at the database server.",
}


class Database:
    """One SQLite file, or one database of a PostgreSQL server."""

    def __init__(self, location: Location, replica: str = "") -> None:
        self._name = name_of(location)
        engines = open_engines(location)
        self._durable, self._quick, self._reader = engines.durable, engines.quick, engines.reader
        self._shared = engines.shared
        # One thread: what is written is written in the order of the calls, and waits for no lock of ours.
        self._lane = Lane(engines, replica)
        self._reading = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")

    async def write(
        self,
        work: Callable[[Connection], T],
        *,
        durable: bool,
        cluster: str = "",
        owner: str = "",
        alone: bool = False,
    ) -> T:
        """Run `work` in one transaction: all of it is written when this returns, or none is.

        durable  On disk as well. Otherwise a machine that loses its power may forget it (a killed server does
                 not): right for what can be found out again by looking, and several times as fast.
        cluster  What it is about; the other servers are told. All work is done in the order of the calls.
        owner    Whose that is, if it is known: only then can it share a transaction with what others write.
        alone    It cannot in any case: `work` takes locks of its own.
        """
        alone = self._shared and (alone or bool(cluster and not owner))
        write = Write(work, durable, owner, cluster, alone)
        try:
            result: T = await self._lane.write(write)
        except IntegrityError:
            raise
        except DBAPIError as error:
            raise self._unavailable(error, "write") from error
        return result

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, each statement of which sees one consistent state of the database. It may be called again."""
        return await self._read_on(self._reading, work)

    async def read_in_order(self, work: Callable[[Connection], T], then: Callable[[T], None]) -> None:
        """Read after what was written before, with `then` called on the event loop before anybody learns that
        something later was written.
        """
        then(await self._read_on(self._lane.thread, work))

    async def close(self) -> None:
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        for thread in (self._reading, self._lane.thread):
            thread.shutdown()
        for engine in (self._reader, self._quick, self._durable):
            engine.dispose()

    async def _read_on(self, thread: ThreadPoolExecutor, work: Callable[[Connection], T]) -> T:
        def once() -> T:
            with self._reader.begin() as connection:
                return work(connection)

        def read() -> T:
            try:
                return once()
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
            return once()  # the database was away since this connection was last used: now there are new ones

        try:
            return await asyncio.get_running_loop().run_in_executor(thread, read)
        except DBAPIError as error:
            raise self._unavailable(error, "read") from error

    def _unavailable(self, error: DBAPIError, verb: str) -> BackendUnavailable:
        return BackendUnavailable(
            f"the server cannot {verb} its database {self._name}: {error.orig}",
            hint=HINTS[self._durable.dialect.name],
            retry_after_s=5,
        )
