"""Several servers: which replicas there are, and which of them works on a cluster.

Records made before there were leases and limits get both: the idle time that they had, and room for what they have.
"""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A column more in `clusters`, and one table."""
    op.add_column("clusters", sa.Column("holder", sa.String(80), nullable=False, server_default=""))
    op.create_index("ix_clusters_holder", "clusters", ["ended_at", "holder"])
    op.create_table(
        "replicas",
        sa.Column("name", sa.String(80), primary_key=True),
        sa.Column("lease_until", sa.Float, nullable=False),
    )
    clusters = sa.table("clusters", sa.column("name"), sa.column("document"))
    connection = op.get_bind()
    for name, text in connection.execute(sa.select(clusters.c.name, clusters.c.document)).all():
        document = with_lease_and_grant(json.loads(text))
        change = sa.update(clusters).where(clusters.c.name == name).values(document=json.dumps(document))
        connection.execute(change)


def with_lease_and_grant(document: dict[str, object]) -> dict[str, object]:
    """The record, with what was added to records since the first release."""
    spec, wanted = document["spec"], document["wanted"]
    assert isinstance(spec, dict)
    assert isinstance(wanted, dict)
    spec.setdefault("lease", {"idle_s": spec.pop("idle_timeout_s", 0.0)})
    document.setdefault("grant", {"scheduler": True, "workers": wanted["workers"]})
    return document
