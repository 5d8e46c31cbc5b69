"""How SQLAlchemy reaches the two databases, with the same promises over both.

SQLite is a file of this server's own, PostgreSQL is shared by several. `durable` waits for the disk at a commit,
`quick` need not, and each statement of a `reader` sees one consistent state.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

Location = Path | URL
"""An SQLite file, or where PostgreSQL is."""

READERS = 2
"""Threads. More take the interpreter from each other: with four, a thousand people's lists took 25 times as long."""
TIMEOUTS = "-c statement_timeout=30000 -c idle_in_transaction_session_timeout=10000"
"""In ms. A server that hangs in the middle of a transaction must not hang the others that wait for its rows."""


@dataclass(frozen=True)
class Engines:
    """Connections for each purpose: to write, one thread may use them at a time (decision 0018), to read, several."""

    durable: Engine
    quick: Engine
    reader: Engine
    shared: bool
    """Whether other servers write too."""
    at_once: int
    """Writes that go into one transaction at most. More would make the first of them wait, and whoever else waits
    for their rows."""


def open_engines(location: Location) -> Engines:
    """Engines for the work of a store; nothing connects yet."""
    if isinstance(location, Path):
        return Engines(
            _sqlite(location, begin="BEGIN IMMEDIATE", pragmas=("synchronous=FULL", "foreign_keys=ON")),
            _sqlite(location, begin="BEGIN IMMEDIATE", pragmas=("synchronous=NORMAL", "foreign_keys=ON")),
            _sqlite(location, begin="BEGIN", pragmas=("synchronous=NORMAL",)),
            shared=False,
            at_once=100,
        )
    # Not quick: PostgreSQL may crash while we live, and must not know less afterwards than we have acted on.
    writer = _postgresql(location, TIMEOUTS, 1)
    return Engines(
        writer,
        writer,
        # Nothing goes back and forth but the question and its answer: no BEGIN, no COMMIT, no look whether it is there.
        _postgresql(location, TIMEOUTS, READERS, isolation_level="AUTOCOMMIT", pre_ping=False),
        shared=True,
        at_once=20,
    )


def schema_engine(location: Location) -> Engine:
    """For changing the tables: no foreign keys in SQLite, where making a table anew would empty those that
    refer to it, and no timeouts in PostgreSQL.
    """
    if isinstance(location, Path):
        return _sqlite(location, begin="BEGIN IMMEDIATE", pragmas=())
    return _postgresql(location, "", 1)


def name_of(location: Location) -> str:
    """What people are told of it: no password."""
    if isinstance(location, Path):
        return str(location)
    return location.set(drivername="postgresql", password=None).render_as_string()


def _sqlite(path: Path, *, begin: str, pragmas: tuple[str, ...]) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False, "timeout": 30})

    def connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves: see `begin`
        for pragma in ("journal_mode=WAL", *pragmas):
            connection.execute(f"PRAGMA {pragma}").close()

    def start_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "connect", connect)
    event.listen(engine, "begin", start_transaction)
    return engine


def _postgresql(
    url: URL, options: str, connections: int, *, isolation_level: Any = "READ COMMITTED", pre_ping: bool = True
) -> Engine:
    """pre_ping: the database was away for a while, and nobody's request need fail for that."""
    return create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_pre_ping=pre_ping,
        isolation_level=isolation_level,
        connect_args={"options": options, **CONNECT},
    )


CONNECT: dict[str, Any] = {
    "application_name": "dask-sluice",
    "connect_timeout": 10,
    # A database whose machine is gone without a word is missed after 25 s, not after two hours.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
