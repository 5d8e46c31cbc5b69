"""The first schema. What each table is for stands in `store/tables.py`."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "clusters",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("ended_at", sa.Float),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("ix_clusters_owner_state", "clusters", ["owner", "state"])
    op.create_index("ix_clusters_state", "clusters", ["state"])
    op.create_table(
        "workers",
        _cluster(primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("kept", sa.Boolean, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("ix_workers_cluster_kept", "workers", ["cluster", "kept"])
    op.create_table(
        "events",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("time", sa.Float, nullable=False),
        _cluster(nullable=False),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("code", sa.String(64), nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_cluster", "events", ["cluster", "id"])
    op.create_index("ix_events_owner", "events", ["owner", "id"])
    op.create_table(
        "requests",
        sa.Column("owner", sa.String(255), primary_key=True),
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        _cluster(nullable=False),
    )
    op.create_table(
        "secrets",
        _cluster(primary_key=True),
        sa.Column("link_token", sa.String(64), nullable=False),
        sa.Column("ca_certificate", sa.Text, nullable=False),
        sa.Column("ca_key", sa.Text, nullable=False),
    )
    op.create_table(
        "keys",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )


def _cluster(*, primary_key: bool = False, nullable: bool = False) -> sa.Column[str]:
    cluster = sa.ForeignKey("clusters.name", ondelete="CASCADE")
    return sa.Column("cluster", sa.String(63), cluster, primary_key=primary_key, nullable=nullable)
