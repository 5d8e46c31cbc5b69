"""Clusters as rows: read, inserted, put in the place of an earlier version. Statements are made once.

A cluster's workers and events have rows of their own, so that a change writes what it changes and no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, Table, bindparam, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ...wire.errors import ClusterNotFound
from ..decision import Change
from ..ledger import entries
from ..model import ClusterRecord
from . import documents, usage
from .signals import take_turns
from .tables import clusters, events, keys, workers

_ITS_WORKERS = (
    select(func.aggregate_strings(workers.c.document, "\n"))
    .where(workers.c.cluster == clusters.c.name, workers.c.kept)
    .scalar_subquery()
    .label("workers")
)
RECORDS: Select[Any] = select(clusters.c.name, clusters.c.document, clusters.c.holder, _ITS_WORKERS)
"""One query each: the documents of a cluster's workers, which have no line breaks, are lines of one text."""
_ONE = RECORDS.where(clusters.c.name == bindparam("one"))
_OWNER = select(clusters.c.owner).where(clusters.c.name == bindparam("one"))
_ONE_TO_CHANGE = _ONE.with_for_update()
_REPLACE = update(clusters).where(
    clusters.c.name == bindparam("old_name"),
    clusters.c.version == bindparam("old_version"),
    clusters.c.holder == bindparam("old_holder"),
)
_NOTE = select(keys.c.value).where(keys.c.name == bindparam("one"))
_PART = update(workers).where(workers.c.cluster == bindparam("of"), workers.c.number == bindparam("which"))
_FORGET_WORKER = _PART.values(kept=False)
_ADD_CLUSTER = insert(clusters)
_ADD_EVENTS = insert(events).inline()  # nobody asks for their ids


def not_found(name: str) -> ClusterNotFound:
    """The error."""
    return ClusterNotFound(f"no cluster named {name!r}", details={"cluster": name})


def load(connection: Connection, name: str, *, to_change: bool = False) -> ClusterRecord:
    """The record. To change it, it is its owner's turn, so that nobody writes its workers, and its row is locked: what
    is read stays true until the transaction ends.

    raises  ClusterNotFound
    """
    if to_change:
        take_turns(connection, connection.execute(_OWNER, {"one": name}).scalars().all())
    row = connection.execute(_ONE_TO_CHANGE if to_change else _ONE, {"one": name}).one_or_none()
    if row is None:
        raise not_found(name)
    return documents.cluster_from(row)


def load_many(
    connection: Connection, query: Select[Any], values: Mapping[str, Any] | None = None
) -> list[ClusterRecord]:
    """The records that a query on `RECORDS` finds, in its order; with values of its parameters."""
    return [documents.cluster_from(row) for row in connection.execute(query, values)]


def note(connection: Connection, name: str) -> bytes | None:
    """What was noted under this name."""
    found = connection.execute(_NOTE, {"one": name}).scalar_one_or_none()
    return None if found is None else bytes(found)


def add(connection: Connection, change: Change) -> None:
    """A new cluster."""
    connection.execute(_ADD_CLUSTER, documents.cluster_row(change.record))
    usage.write(connection, entries(None, change.record))
    _add_events(connection, change)


def put(connection: Connection, before: ClusterRecord, change: Change) -> bool:
    """Write a change of this version; False, and nothing is written, where the table has another one."""
    after = change.record
    old = {"old_name": before.name, "old_version": before.version, "old_holder": before.holder}
    if connection.execute(_REPLACE, old | documents.cluster_row(after)).rowcount == 0:
        return False
    was = {worker.name: worker for worker in before.workers}
    changed = [documents.worker_row(after.name, w) for w in after.workers if was.pop(w.name, None) != w]
    if changed:
        connection.execute(_put_workers(connection.dialect.name), changed)
    # Whoever is left in `was` is no longer part of the record.
    if was:
        gone = [{"of": after.name, "which": documents.worker_number(worker)} for worker in was.values()]
        connection.execute(_FORGET_WORKER, gone)
    usage.write(connection, entries(before, after))
    _add_events(connection, change)
    return True


@cache
def _put_workers(dialect: str) -> Any:
    statement = upsert(dialect, workers)
    new = {"document": statement.excluded.document, "kept": statement.excluded.kept}
    return statement.on_conflict_do_update(index_elements=["cluster", "number"], set_=new)


def upsert(dialect: str, table: Table) -> Any:
    """An INSERT that can say what to do where the row is there already: each database has its own."""
    return (postgresql if dialect == "postgresql" else sqlite).insert(table)


def _add_events(connection: Connection, change: Change) -> None:
    rows = [documents.event_row(event, change.record.spec.owner) for event in change.events]
    if rows:
        connection.execute(_ADD_EVENTS, rows)
