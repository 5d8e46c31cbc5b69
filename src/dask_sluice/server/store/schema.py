"""Bring a database to the schema that this release knows. Alembic is imported only if there is something to do."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from ...wire.errors import SluiceError

HEAD = "0001"
"""The newest migration; a test compares it with the migrations that are there."""


class SchemaUnknown(SluiceError):
    """The database was written by another release."""


def prepare(path: Path) -> None:
    """Create or upgrade the database; blocking, before anything else opens it.

    raises  SchemaUnknown for a database of a newer release, BackendUnavailable's causes as OSError
    """
    present = _revision(path)
    if present == HEAD:
        return
    if present is not None and present > HEAD:
        raise SchemaUnknown(
            f"{path} was written by a newer dask-sluice (schema {present}, this one knows {HEAD})",
            hint="Run the newer release, or point --data-dir at another directory.",
        )
    upgrade(path)


def _revision(path: Path) -> str | None:
    """The schema's revision, None for a database without one."""
    path.touch(mode=0o600)
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone() if found else None
    return str(row[0]) if row else None


def upgrade(path: Path, revision: str = "head") -> None:
    """Run the migrations up to this one."""
    # Costs 0.2 s and is needed once per release.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["path"] = path
    command.upgrade(config, revision)
