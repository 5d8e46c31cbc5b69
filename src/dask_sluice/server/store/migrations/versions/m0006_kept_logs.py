"""Logs of processes that are gone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of kept logs."""
    op.create_table(
        "kept_logs",
        sa.Column("cluster", sa.String(63), primary_key=True),
        sa.Column("job_id", sa.String(128), primary_key=True),
        sa.Column("kept_at", sa.Float, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("log", sa.LargeBinary, nullable=False),
    )
