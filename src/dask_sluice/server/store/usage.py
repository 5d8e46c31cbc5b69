"""The ledger's table: intervals written beside the records that they follow from, and read for reports.

Nothing here refers to clusters: what was used is kept when a cluster's record is long forgotten.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, case, func, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from ..backends.protocol import JobKind
from ..ledger import Interval
from .tables import intervals as table

_FIELDS = [field.name for field in dataclasses.fields(Interval)]
# `user` and `group` are words of SQL.
_COLUMNS = [{"user": "owner", "group": "group_name"}.get(name, name) for name in _FIELDS]
_KIND = _FIELDS.index("kind")


@dataclasses.dataclass(frozen=True)
class Spent:
    """What one user used up while one group was charged."""

    user: str
    group: str
    cost: float
    core_hours: float


def write(connection: Connection, entries: Sequence[Interval]) -> None:
    """Note these; one that is there already is put right, so that writing twice changes nothing."""
    if not entries:
        return
    connection.execute(_put(connection.dialect.name), [_row(entry) for entry in entries])


@cache
def _put(dialect: str) -> Any:
    statement = (postgresql if dialect == "postgresql" else sqlite).insert(table)
    times = {name: statement.excluded[name] for name in ("started_at", "ended_at")}
    return statement.on_conflict_do_update(index_elements=["job_id"], set_=times)


def within(connection: Connection, since: float, until: float, user: str | None) -> Iterator[Interval]:
    """Intervals that share some time with this window, uncut, in no order; of one user, or (None) of all."""
    query = select(*(table.c[name] for name in _COLUMNS)).where(table.c.started_at < until, _open_at(since))
    if user is not None:
        query = query.where(table.c.owner == user)
    for row in connection.execute(query):
        yield _interval(row)


def spent(connection: Connection, since: float, until: float, currency: str) -> list[Spent]:
    """What each user used up for each group in this window, open intervals until its end.

    Added up by the database: this is asked every minute, and a busy month has a million intervals.
    """
    begin = case((table.c.started_at < since, since), else_=table.c.started_at)
    end = case((or_(table.c.ended_at.is_(None), table.c.ended_at > until), until), else_=table.c.ended_at)
    hours = (end - begin) / 3600.0
    cost = case((table.c.currency == currency, table.c.price_hour), else_=0.0) * hours
    query = (
        select(table.c.owner, table.c.group_name, func.sum(cost), func.sum(table.c.cores * hours))
        .where(table.c.started_at < until, _open_at(since))
        .group_by(table.c.owner, table.c.group_name)
    )
    return [Spent(*row) for row in connection.execute(query)]


def _open_at(since: float) -> Any:
    return or_(table.c.ended_at.is_(None), table.c.ended_at > since)


def _row(entry: Interval) -> dict[str, Any]:
    return dict(zip(_COLUMNS, dataclasses.astuple(entry), strict=True))


def _interval(row: Row[Any]) -> Interval:
    values: list[Any] = list(row)
    values[_KIND] = JobKind(values[_KIND])
    return Interval(*values)
