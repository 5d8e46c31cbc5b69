"""How servers that share a PostgreSQL tell each other of changes: NOTIFY with the change, LISTEN beside it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from sqlalchemy import URL, Connection, func, select

from ...wire.errors import BackendUnavailable
from .engines import CONNECT, name_of

if TYPE_CHECKING:
    from psycopg import AsyncConnection

CHANNEL = "dask_sluice"
LEADER_LOCK = 7_582_485
"""Of PostgreSQL's advisory locks, the leader's."""


def announce(connection: Connection, replica: str, cluster: str) -> None:
    """Tell the other servers of this cluster's change, once the transaction is written. SQLite has no others."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_notify(CHANNEL, f"{replica} {cluster}")))


async def hear(url: URL, replica: str) -> AsyncGenerator[str | None]:
    """None once we listen, then the name of each cluster that another replica changes.

    raises  BackendUnavailable when the connection cannot be made, or breaks
    """
    async with _connection(url) as connection:
        await connection.execute(f"LISTEN {CHANNEL}")
        yield None
        async for notification in connection.notifies():
            sender, _, cluster = notification.payload.partition(" ")
            if sender != replica:
                yield cluster


async def lead(url: URL) -> AsyncGenerator[None]:
    """Yields once no other server leads: from then on we do, until the connection breaks.

    raises  BackendUnavailable then
    """
    async with _connection(url) as connection:
        await connection.execute(f"SELECT pg_advisory_lock({LEADER_LOCK})")
        yield
        async for _ in connection.notifies():
            pass  # there are none: this is how one waits for the end of a connection


@asynccontextmanager
async def _connection(url: URL) -> AsyncIterator[AsyncConnection]:
    import psycopg  # the extra `postgresql`

    address = url.set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        async with await psycopg.AsyncConnection.connect(address, autocommit=True, **CONNECT) as connection:
            yield connection
    except psycopg.Error as error:
        raise BackendUnavailable(f"the server does not hear from {name_of(url)}: {error}") from error
