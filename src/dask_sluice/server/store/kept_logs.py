"""Logs of processes that are gone, where the backend loses them with the process: in the database, so that each of
several servers can show them (decision 0050).

A log is bytes, as the backend keeps it. The newest are kept: of one log, of one cluster, of all together.
"""

from __future__ import annotations

import asyncio
import zlib

from sqlalchemy import Connection, delete, func, select

from ..clock import Clock
from .database import Database
from .rows import upsert
from .tables import kept_logs

LOG_BYTES = 1_000_000
"""Of one log: some thousand lines, about 100 kB in the table."""
CLUSTER_BYTES = 50_000_000
"""Of one cluster, in the table: the last words of about 500 workers that wrote a megabyte each."""
ALL_BYTES = 2_000_000_000
"""Of all clusters, in the table."""


class KeptLogs:
    """One log for each job. Implements `backends.protocol.KeepsLogs`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def keep(self, cluster: str, job_id: str, log: bytes) -> None:
        """Keep this log in the place of an earlier one; an empty one only where there is none."""
        packed = await asyncio.to_thread(zlib.compress, log[-LOG_BYTES:])
        values = {"log": packed, "size": len(packed), "kept_at": self._clock.now()}

        def work(connection: Connection) -> None:
            row = upsert(connection.dialect.name, kept_logs).values(cluster=cluster, job_id=job_id, **values)
            key = ["cluster", "job_id"]
            connection.execute(
                row.on_conflict_do_update(index_elements=key, set_=values)
                if log
                else row.on_conflict_do_nothing(index_elements=key)
            )
            _trim(connection, CLUSTER_BYTES, cluster)

        await self._database.write(work, durable=False, alone=True)

    async def read(self, cluster: str, job_id: str) -> bytes | None:
        """The log; None where none is kept."""
        query = select(kept_logs.c.log).where(kept_logs.c.cluster == cluster, kept_logs.c.job_id == job_id)
        packed = await self._database.read(lambda connection: connection.execute(query).scalar_one_or_none())
        return None if packed is None else await asyncio.to_thread(zlib.decompress, packed)

    async def forget(self, cluster: str) -> None:
        """Delete those of this cluster."""
        theirs = delete(kept_logs).where(kept_logs.c.cluster == cluster)
        await self._database.write(lambda connection: connection.execute(theirs), durable=False, alone=True)

    async def clusters(self) -> list[str]:
        """Of which clusters some are kept, sorted."""
        query = select(kept_logs.c.cluster).distinct().order_by(kept_logs.c.cluster)
        return list(await self._database.read(lambda connection: connection.execute(query).scalars().all()))

    async def trim(self) -> None:
        """Delete the oldest where all together are too many."""
        await self._database.write(lambda connection: _trim(connection, ALL_BYTES), durable=False, alone=True)


def _trim(connection: Connection, most_bytes: int, cluster: str | None = None) -> None:
    """Delete the oldest, of one cluster or (None) of all, so that the rest is no larger than that.

    In one order of rows, so that two servers at it never wait for each other.
    """
    about = kept_logs.c.cluster == cluster if cluster is not None else kept_logs.c.size >= 0
    total = connection.execute(select(func.coalesce(func.sum(kept_logs.c.size), 0)).where(about)).scalar_one()
    if total <= most_bytes:
        return
    newest_first = (kept_logs.c.kept_at.desc(), kept_logs.c.cluster, kept_logs.c.job_id)
    sums = select(
        kept_logs.c.cluster, kept_logs.c.job_id, func.sum(kept_logs.c.size).over(order_by=newest_first).label("so_far")
    ).where(about)
    beyond = sums.subquery()
    for where in connection.execute(
        select(beyond.c.cluster, beyond.c.job_id)
        .where(beyond.c.so_far > most_bytes)
        .order_by(beyond.c.cluster, beyond.c.job_id)
    ).all():
        connection.execute(
            delete(kept_logs).where(kept_logs.c.cluster == where.cluster, kept_logs.c.job_id == where.job_id)
        )
