"""Bring a database to the schema that this release knows.

A new database is made from the tables as they are, an old one is brought up by Alembic, which is imported
only then: it takes longer than all the rest of opening a store. A test sees to it that both give the same.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import create_engine

from ...wire.errors import BackendUnavailable, SluiceError
from .tables import metadata

HEAD = "0004"
"""The newest migration; a test compares it with the migrations that are there."""


class SchemaUnknown(SluiceError):
    """The database was written by another release."""


def prepare(path: Path) -> None:
    """Create or upgrade the database; blocking, before anything else opens it.

    raises  SchemaUnknown for a database of a newer release, BackendUnavailable where it cannot be used
    """
    try:
        present = _revision(path)
    except (OSError, sqlite3.Error) as error:
        raise BackendUnavailable(
            f"the server cannot use its database {path}: {error}",
            hint="Look at the disk's free space and at the file's permissions.",
        ) from error
    if present == HEAD:
        return
    if present is not None and present > HEAD:
        raise SchemaUnknown(
            f"{path} was written by a newer dask-sluice (schema {present}, this one knows {HEAD})",
            hint="Run the newer release, or point --data-dir at another directory.",
        )
    if present is None:
        _create(path)
    else:
        upgrade(path)


def _create(path: Path) -> None:
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        metadata.create_all(connection)
        connection.exec_driver_sql(
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL,"
            " CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
        )
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES (?)", (HEAD,))
    engine.dispose()


def _revision(path: Path) -> str | None:
    """The schema's revision, None for a database without one."""
    path.touch(mode=0o600)
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone() if found else None
    return str(row[0]) if row else None


def upgrade(path: Path, revision: str = "head") -> None:
    """Run the migrations up to this one."""
    # Needed once per release.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["path"] = path
    command.upgrade(config, revision)
