"""Who of several servers works on what: rows in `replicas`, and the column `holder` of `clusters`.

A replica lives for as long as it renews its row. Whoever finds a row that ran out deletes it, and a cluster whose
holder has no row belongs to the first who takes it. That the loser stops is not left to its goodwill: a step of
the loop compares the holder in the transaction in which it writes (`Loop._step`).
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from .database import Database
from .tables import clusters, replicas


class Replicas:
    """The replicas and what they hold, as one of them sees and changes it. Times are seconds since the epoch."""

    def __init__(self, database: Database, replica: str) -> None:
        self._database = database
        self._replica = replica

    async def renew(self, until: float) -> None:
        """Live until then, whether or not somebody has taken us for dead meanwhile."""
        row = insert(replicas).values(name=self._replica, lease_until=until)
        row = row.on_conflict_do_update(index_elements=["name"], set_={"lease_until": until})
        await self._database.write(lambda connection: connection.execute(row), durable=False)

    async def bury(self, now: float) -> list[str]:
        """Delete the rows of replicas that have not renewed them; of several that try, one is told the names."""
        dead = delete(replicas).where(replicas.c.lease_until < now, replicas.c.name != self._replica)
        returning = dead.returning(replicas.c.name)
        return await self._database.write(
            lambda connection: list(connection.execute(returning).scalars()), durable=False
        )

    async def take(self, limit: int) -> list[str]:
        """Take over at most so many clusters that nobody holds, passing over those that another is just taking."""
        nobodys = clusters.c.ended_at.is_(None) & clusters.c.holder.not_in(select(replicas.c.name))
        some = select(clusters.c.name).where(nobodys).limit(limit).with_for_update(skip_locked=True)

        def work(connection: Connection) -> list[str]:
            names = list(connection.execute(some).scalars())
            if names:
                connection.execute(update(clusters).where(clusters.c.name.in_(names)).values(holder=self._replica))
            return names

        return await self._database.write(work, durable=False)

    async def release(self) -> None:
        """Live no more: the others may take what is ours at once."""
        mine = delete(replicas).where(replicas.c.name == self._replica)
        await self._database.write(lambda connection: connection.execute(mine), durable=False)
