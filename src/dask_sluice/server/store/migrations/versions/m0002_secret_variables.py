"""Secret environment variables of a cluster's processes, kept with its other secrets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; clusters of before have none."""
    op.add_column("secrets", sa.Column("variables", sa.Text, nullable=False, server_default="{}"))
