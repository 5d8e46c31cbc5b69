"""Groups of workers: what a cluster's one kind of worker was is its default group now."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rewrite every cluster's document; a worker without a group is of the default one."""
    clusters = sa.table("clusters", sa.column("name"), sa.column("document"))
    connection = op.get_bind()
    for name, text in connection.execute(sa.select(clusters.c.name, clusters.c.document)).all():
        document = json.loads(text)
        spec = document["spec"]
        spec["worker_groups"] = [{"name": "default", "size": spec.pop("worker"), "options": {}}]
        connection.execute(sa.update(clusters).where(clusters.c.name == name).values(document=json.dumps(document)))
