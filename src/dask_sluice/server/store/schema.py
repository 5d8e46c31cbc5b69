"""Bring a database to the schema that this release knows.

A new database is made from the tables as they are, an old one is brought up by Alembic, which is imported
only then: it takes longer than all the rest of opening a store. A test sees to it that both give the same.
All of it is one transaction, and of several servers that start at once one does it while the others wait.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, func, inspect, select
from sqlalchemy.exc import DBAPIError

from ...wire.errors import BackendUnavailable, SluiceError
from .database import HINTS
from .engines import Location, name_of, schema_engine
from .tables import metadata

HEAD = "0006"
"""The newest migration; a test compares it with the migrations that are there."""

LOCK = 7_582_483
"""Of PostgreSQL's advisory locks, the one for changing our tables. Any number will do, if it stays the same."""


class SchemaUnknown(SluiceError):
    """The database was written by another release."""


def prepare(location: Location) -> None:
    """Create or upgrade the database; blocking, before anything else opens it.

    raises  SchemaUnknown for a database of a newer release, BackendUnavailable where it cannot be used
    """
    engine = schema_engine(location)
    try:
        if isinstance(location, Path):
            location.touch(mode=0o600)
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
            _bring_up_to_date(connection, name_of(location))
    except (OSError, DBAPIError) as error:
        why = str(error.orig if isinstance(error, DBAPIError) else error).partition("\n")[0]  # then libpq asks back
        raise BackendUnavailable(
            f"the server cannot use its database {name_of(location)}: {why}", hint=HINTS[engine.dialect.name]
        ) from error
    finally:
        engine.dispose()


def _bring_up_to_date(connection: Connection, name: str) -> None:
    present = _revision(connection)
    if present == HEAD:
        return
    if present is not None and present > HEAD:
        raise SchemaUnknown(
            f"{name} was written by a newer dask-sluice (schema {present}, this one knows {HEAD})",
            hint="Run the newer release, or use another database.",
        )
    if present is None:
        _create(connection)
    else:
        upgrade(connection)


def _create(connection: Connection) -> None:
    metadata.create_all(connection)
    connection.exec_driver_sql(
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL,"
        " CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
    )
    connection.exec_driver_sql(f"INSERT INTO alembic_version VALUES ('{HEAD}')")


def _revision(connection: Connection) -> str | None:
    """The schema's revision, None for a database without one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Run the migrations up to this one."""
    # Needed once per release.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
