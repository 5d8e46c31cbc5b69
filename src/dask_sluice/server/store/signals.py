"""How servers that share a PostgreSQL take turns, and tell each other of changes.

NOTIFY is part of the change's transaction; LISTEN has a connection of its own.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from sqlalchemy import URL, Connection, text

from ...wire.errors import BackendUnavailable
from .engines import CONNECT, name_of

if TYPE_CHECKING:
    from psycopg import AsyncConnection

CHANNEL = "dask_sluice"
OWNER_LOCK = 7_582_484
"""Of PostgreSQL's advisory locks, those for taking turns at what concerns one owner."""
LEADER_LOCK = 7_582_485
"""The leader's."""
_TAKE_TURNS = text(
    f"SELECT pg_advisory_xact_lock({OWNER_LOCK}, turn) FROM"
    " (SELECT DISTINCT hashtext(owner) AS turn FROM unnest(CAST(:owners AS text[])) AS owner ORDER BY 1) AS turns"
)
_ANNOUNCE = text(f"SELECT pg_notify('{CHANNEL}', payload) FROM unnest(CAST(:payloads AS text[])) AS payload")


def take_turns(connection: Connection, owners: Sequence[str]) -> None:
    """Let no other transaction write for these owners, until this one ends. SQLite has one writer anyway.

    Whoever follows an owner's events remembers the last id, so a lower one must not appear after it; and two requests
    must not both take an owner's last place.
    """
    if owners and connection.dialect.name == "postgresql":
        connection.execute(_TAKE_TURNS, {"owners": list(owners)})


def announce(connection: Connection, replica: str, names: Sequence[str]) -> None:
    """Tell the other servers of these clusters' changes, once the transaction is written. SQLite has no others."""
    if names and connection.dialect.name == "postgresql":
        connection.execute(_ANNOUNCE, {"payloads": [f"{replica} {name}" for name in names]})


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
