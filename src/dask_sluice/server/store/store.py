"""The store: the only writer of records, through a handful of named methods, one transaction each.

A change is a function from the record as it is to the record as it should be; it runs inside the
transaction, so two writers never overwrite one another. Events are written with the change they tell
of. Everybody else gets immutable copies.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, and_, bindparam, delete, func, insert, or_, select
from sqlalchemy.exc import IntegrityError

from ...wire.errors import IdempotencyConflict
from ...wire.states import ClusterState
from ..clock import Clock
from ..decision import Change
from ..ledger import Interval
from ..limits import Bound, too_many_clusters
from ..model import ClusterRecord, Event, WorkerRecord
from . import documents, rows, schema, usage
from .database import Database
from .engines import Location
from .kept_logs import KeptLogs
from .replicas import Replicas
from .signals import hear, lead
from .tables import clusters, events, keys, requests, secrets, workers

log = logging.getLogger(__name__)

NAMES_AT_ONCE = 500
"""In one question: databases bound how many."""
SECRETS_REMEMBERED = 2000
"""Of the clusters made last (4 kB each), as a line of them may wait: each needs its secrets twice at its start."""
_LIST = rows.RECORDS.order_by(clusters.c.created_at.desc(), clusters.c.name)
_LIST_OF_OWNER = _LIST.where(clusters.c.owner == bindparam("of"))
_IN_STATES = clusters.c.state.in_(bindparam("states", expanding=True))
_ADD_SECRETS = insert(secrets)
_ADD_REQUEST = insert(requests)
_EARLIER = select(requests).where(requests.c.owner == bindparam("of"), requests.c.key == bindparam("with_key"))
_ROOM_TAKEN = select(func.count()).where(clusters.c.owner == bindparam("of"), clusters.c.ended_at.is_(None))

C = TypeVar("C", bound=Change)
T = TypeVar("T")


@dataclass(frozen=True)
class Secrets:
    """What proves that a scheduler, worker or client belongs to a cluster. PEM texts."""

    link_token: str
    ca_certificate: str
    ca_key: str
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of its processes that are never shown."""

    def row(self) -> dict[str, str]:
        """As columns."""
        return {**vars(self), "variables": json.dumps(dict(self.variables))}


Listener = Callable[[ClusterRecord, tuple[Event, ...]], None]
"""Told of every change and its events, on the event loop, right after it was written; of another server's
change with the record as it now is, and no events: each event is told on the server that wrote it."""


class Store:
    """Clusters, their workers, events and secrets in one database.

    replica  This server's name among those that share a PostgreSQL; empty with SQLite, which one server has alone.
    """

    def __init__(self, location: Location, replica: str = "") -> None:
        self.replica = replica
        self._location = location
        self._database: Database | None = None
        self._listeners: list[Listener] = []
        self._timers: list[Callable[[float], Any]] = []
        self._secrets: OrderedDict[str, Secrets] = OrderedDict()

    def open(self) -> None:
        """Bring the schema up to date and connect; blocking."""
        schema.prepare(self._location)
        self._database = Database(self._location, self.replica)

    @property
    def replicas(self) -> Replicas:
        """Who of several servers works on what."""
        return Replicas(self._db, self.replica)

    def kept_logs(self, clock: Clock) -> KeptLogs:
        """What processes wrote that are gone."""
        return KeptLogs(self._db, clock)

    async def close(self) -> None:
        if self._database is not None:
            await self._database.close()

    def on_change(self, listener: Listener) -> None:
        """Call this after every change from now on; listeners are called in order."""
        self._listeners.append(listener)

    def on_write(self, timer: Callable[[float], Any]) -> None:
        """Call this with the seconds that each write of a record took, waiting included."""
        self._timers.append(timer)

    async def create(
        self,
        change: Change,
        secret: Secrets,
        idempotency: tuple[str, str] | None = None,
        *,
        most: Bound | None = None,
        admit: Callable[[Callable[[str], bytes | None]], None] | None = None,
    ) -> tuple[ClusterRecord, bool]:
        """The stored record, and whether it is new.

        idempotency  the request's key and a digest of what it asks for
        most         how many clusters the owner may have that have not ended
        admit        raises where a new cluster may not be, of which notes may tell; not asked about one made before
        raises       IdempotencyConflict where the key was used for another request, LimitExceeded
        """
        owner = change.record.spec.owner
        change = replace(change, record=replace(change.record, holder=self.replica))

        def work(connection: Connection) -> tuple[ClusterRecord, bool]:
            if idempotency is not None and (name := _earlier(connection, owner, *idempotency)):
                return rows.load(connection, name), False
            if admit is not None:
                admit(partial(rows.note, connection))
            if most is not None:
                _check_room(connection, owner, most)
            rows.add(connection, change)
            connection.execute(_ADD_SECRETS, {"cluster": change.record.name, **secret.row()})
            if idempotency is not None:
                key, digest = idempotency
                request = {"owner": owner, "key": key, "digest": digest, "cluster": change.record.name}
                connection.execute(_ADD_REQUEST, request)
            return change.record, True

        def written(result: tuple[ClusterRecord, bool]) -> Change | None:
            return change if result[1] else None

        try:
            made = await self._write(work, written, durable=True, cluster=change.record.name, owner=owner)
        except IntegrityError:
            if idempotency is None:
                raise
            # The same request reached another thread or server at the same time: now its cluster is there.
            made = await self._write(work, written, durable=True, cluster=change.record.name, owner=owner)
        if made[1]:
            self._remember(change.record.name, secret)
        return made

    async def change(
        self, name: str, decide: Callable[[ClusterRecord], C], *, durable: bool, known: ClusterRecord | None = None
    ) -> C:
        """What `decide` made of the record; its record and events are written, with the next version.

        `decide` may be called on another thread, and again where somebody else was quicker. Nothing is written
        where it changes nothing.
        durable  for what somebody asked for; what was seen of the outside can be seen again
        known    the record as the caller knows it: need not be read where it is still the newest
        raises   ClusterNotFound
        """
        guess = decide(known) if known is not None else None
        if guess is not None and guess.record == known and not guess.events:
            return guess

        def put(connection: Connection, before: ClusterRecord, change: C) -> C | None:
            """The change as it is written; None where the table has another version."""
            change = replace(change, record=replace(change.record, version=before.version + 1))
            return change if rows.put(connection, before, change) else None

        def work(connection: Connection) -> tuple[C, bool]:
            if known is not None and guess is not None and (change := put(connection, known, guess)):
                return change, True
            before = rows.load(connection, name, to_change=True)
            change = decide(before)
            if change.record == before and not change.events:
                return change, False
            written = put(connection, before, change)
            if written is None:
                raise RuntimeError(f"the row of {name} changed while it was locked")
            return written, True

        def told(result: tuple[C, bool]) -> Change | None:
            return result[0] if result[1] else None

        owner = known.spec.owner if known is not None else ""
        change, _ = await self._write(work, told, durable=durable, cluster=name, owner=owner)
        return change

    async def cluster(self, name: str) -> ClusterRecord:
        """The record; ClusterNotFound where there is none."""
        return await self._db.read(lambda connection: rows.load(connection, name))

    async def clusters(
        self, owner: str | None = None, states: Sequence[ClusterState] | None = None
    ) -> list[ClusterRecord]:
        """Records, newest first; None: of all owners, in all states."""
        query = _LIST if owner is None else _LIST_OF_OWNER
        if states is not None:
            query = query.where(_IN_STATES)
        values = {"of": owner, "states": [str(state) for state in states or ()]}
        return await self._db.read(lambda connection: rows.load_many(connection, query, values))

    async def count(self, states: Sequence[ClusterState]) -> int:
        """How many clusters are in these states."""
        query = select(func.count()).where(clusters.c.state.in_([str(state) for state in states]))
        return int(await self._db.read(lambda connection: connection.execute(query).scalar_one()))

    async def workers(self, name: str, *, limit: int = 1000) -> list[WorkerRecord]:
        """Workers of a cluster, living and ended, the newest `limit` of them, oldest first."""
        query = (
            select(workers.c.document).where(workers.c.cluster == name).order_by(workers.c.number.desc()).limit(limit)
        )
        rows = await self._db.read(lambda connection: connection.execute(query).scalars().all())
        return [documents.worker_from(row) for row in reversed(rows)]

    async def events(
        self,
        *,
        owner: str | None = None,
        cluster: str | None = None,
        subject: str | None = None,
        after: int = 0,
        limit: int = 1000,
    ) -> list[Event]:
        """Events with an id above `after`, in order; None: of all owners, of all clusters, about anything in them."""
        query = select(events).where(events.c.id > after).order_by(events.c.id).limit(limit)
        if owner is not None:
            query = query.where(events.c.owner == owner)
        if cluster is not None:
            query = query.where(events.c.cluster == cluster)
        if subject is not None:
            query = query.where(events.c.subject == subject)
        rows = await self._db.read(lambda connection: connection.execute(query).all())
        return [documents.event_from(row) for row in rows]

    async def last_event(self, owner: str | None = None) -> int:
        """The id of the newest event of this owner's clusters, or of anybody's; 0 where there is none."""
        query = select(events.c.id).order_by(events.c.id.desc()).limit(1)
        query = query if owner is None else query.where(events.c.owner == owner)
        return await self._db.read(lambda connection: connection.execute(query).scalar()) or 0

    async def secrets(self, name: str) -> Secrets:
        """The secrets of a cluster; ClusterNotFound where there is none."""
        if name in self._secrets:
            return self._secrets[name]
        query = select(secrets).where(secrets.c.cluster == name)
        row = await self._db.read(lambda connection: connection.execute(query).one_or_none())
        if row is None:
            raise rows.not_found(name)
        secret = Secrets(row.link_token, row.ca_certificate, row.ca_key, json.loads(row.variables))
        self._remember(name, secret)
        return secret

    def _remember(self, name: str, secret: Secrets) -> None:
        """They never change."""
        self._secrets[name] = secret
        if len(self._secrets) > SECRETS_REMEMBERED:
            self._secrets.popitem(last=False)

    async def key(self, name: str, fresh: Callable[[], bytes]) -> bytes:
        """The server's own key of this name: the stored one, or a fresh one that is now stored."""

        def work(connection: Connection) -> bytes:
            row = rows.upsert(connection.dialect.name, keys).values(name=name, value=fresh())
            connection.execute(row.on_conflict_do_nothing())
            return bytes(connection.execute(select(keys.c.value).where(keys.c.name == name)).scalar_one())

        return await self._db.write(work, durable=True)

    async def note(self, name: str) -> bytes | None:
        """What was noted under this name, for every server on this store."""
        return await self._db.read(lambda connection: rows.note(connection, name))

    async def set_note(self, name: str, value: bytes | None) -> None:
        """Note it; None: forget it."""

        def work(connection: Connection) -> None:
            if value is None:
                connection.execute(delete(keys).where(keys.c.name == name))
                return
            row = rows.upsert(connection.dialect.name, keys).values(name=name, value=value)
            connection.execute(row.on_conflict_do_update(index_elements=["name"], set_={"value": value}))

        await self._db.write(work, durable=True)

    async def known(self, names: Sequence[str]) -> set[str]:
        """Those of the names that clusters on record have."""

        def work(connection: Connection) -> set[str]:
            found: set[str] = set()
            for begin in range(0, len(names), NAMES_AT_ONCE):
                some = clusters.c.name.in_(names[begin : begin + NAMES_AT_ONCE])
                found.update(connection.execute(select(clusters.c.name).where(some)).scalars())
            return found

        return await self._db.read(work)

    async def intervals(
        self, since: float, until: float, user: str | None, fold: Callable[[Iterable[Interval]], T]
    ) -> T:
        """What `fold` makes, on another thread, of the ledger's intervals in this window; `user` None: everybody's."""
        return await self._db.read(lambda connection: fold(usage.within(connection, since, until, user)))

    async def spent(self, since: float, until: float, currency: str) -> list[usage.Spent]:
        """What each user used up for each group in this window; costs in other currencies are left out."""
        return await self._db.read(lambda connection: usage.spent(connection, since, until, currency))

    async def forget_ended(self, before: float) -> list[str]:
        """Delete clusters that ended before that time, with all that was kept of them; their names."""
        old = and_(clusters.c.ended_at.is_not(None), clusters.c.ended_at < before)

        def work(connection: Connection) -> list[str]:
            names = connection.execute(select(clusters.c.name).where(old)).scalars().all()
            if names:
                connection.execute(delete(clusters).where(old))
            return list(names)

        return await self._db.write(work, durable=True, alone=True)

    async def news(self) -> AsyncGenerator[str | None]:
        """Names of clusters as other servers change them; first None, once nothing is missed any more.

        raises  BackendUnavailable when the connection breaks
        """
        if not isinstance(self._location, Path):
            async for name in hear(self._location, self.replica):
                yield name

    async def leadership(self) -> AsyncGenerator[None]:
        """Yields once this server leads those that share the database, for as long as the connection lasts.

        raises  BackendUnavailable when the connection breaks: another may lead from then on
        """
        if not isinstance(self._location, Path):
            async for _ in lead(self._location):
                yield

    async def tell(self, names: Sequence[str]) -> None:
        """Tell the listeners of these clusters as they are now: another server has changed them."""

        def tell(records: Iterable[ClusterRecord]) -> None:
            for record in records:
                self._tell(record, ())

        for start in range(0, len(names), NAMES_AT_ONCE):
            query = rows.RECORDS.where(clusters.c.name.in_(names[start : start + NAMES_AT_ONCE]))
            await self._db.read_in_order(partial(rows.load_many, query=query), tell)

    async def names(self, ended_after: float) -> list[str]:
        """Clusters that have not ended, or after that time only."""
        query = select(clusters.c.name).where(or_(clusters.c.ended_at.is_(None), clusters.c.ended_at > ended_after))
        return list(await self._db.read(lambda connection: connection.execute(query).scalars().all()))

    @property
    def _db(self) -> Database:
        if self._database is None:
            raise RuntimeError("the store is not open")
        return self._database

    async def _write(
        self,
        work: Callable[[Connection], T],
        written: Callable[[T], Change | None],
        *,
        durable: bool,
        cluster: str,
        owner: str,
    ) -> T:
        """Write, then tell the listeners; both happen even if whoever asked has gone away meanwhile."""

        async def write_and_tell() -> T:
            began = time.perf_counter()
            result = await self._db.write(work, durable=durable, cluster=cluster, owner=owner)
            for timer in self._timers:
                timer(time.perf_counter() - began)
            if change := written(result):
                for event in change.events if log.isEnabledFor(logging.DEBUG) else ():
                    sentence = event.reason.sentence.partition("\n")[0]
                    log.debug("%s: %s: %s", event.cluster, event.subject, sentence)
                self._tell(change.record, change.events)
            return result

        return await asyncio.shield(write_and_tell())

    def _tell(self, record: ClusterRecord, happened: tuple[Event, ...]) -> None:
        for listener in self._listeners:
            listener(record, happened)


def _earlier(connection: Connection, owner: str, key: str, digest: str) -> str | None:
    """The cluster that an earlier request with this key made."""
    row = connection.execute(_EARLIER, {"of": owner, "with_key": key}).one_or_none()
    if row is None:
        return None
    if row.digest != digest:
        raise IdempotencyConflict(
            f"the idempotency key {key!r} was used before, for another request",
            hint="Use a new key for each new cluster.",
        )
    return str(row.cluster)


def _check_room(connection: Connection, owner: str, most: Bound) -> None:
    """Counted where it is written, so that two requests at once cannot both take the last place."""
    used = connection.execute(_ROOM_TAKEN, {"of": owner}).scalar_one()
    if used >= most.most:
        raise too_many_clusters(owner, used, most)
