"""How Alembic reaches the database: the path is given by `schema.upgrade`, there is no ini file."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine

from dask_sluice.server.store.tables import metadata

engine = create_engine(f"sqlite:///{context.config.attributes['path']}")
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
