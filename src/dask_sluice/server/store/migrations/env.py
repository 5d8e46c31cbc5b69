"""How Alembic reaches the database: `schema.upgrade` gives its connection and ends the transaction."""

from __future__ import annotations

from alembic import context

from dask_sluice.server.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
