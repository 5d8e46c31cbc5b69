"""The store keeps records and events together or not at all, and says plainly when it cannot."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

from dask_sluice.server.decision import Change
from dask_sluice.server.model import ClusterRecord, Event, JobRecord, Wanted, WorkerRecord
from dask_sluice.server.store import Secrets, Store
from dask_sluice.server.store.documents import cluster_from, cluster_row
from dask_sluice.server.store.engines import Location
from dask_sluice.wire.errors import BackendUnavailable, ClusterNotFound, IdempotencyConflict
from dask_sluice.wire.reasons import Reason, ReasonCode
from dask_sluice.wire.states import ClusterState, WorkerState

from ..postgresql import PostgreSQL
from .records import record_of

SECRETS = Secrets("token", "certificate", "key")


def happened(name: str, code: ReasonCode = ReasonCode.CREATED) -> Event:
    return Event(1.0, name, "cluster", "cluster", Reason(code, {"by": "ada"}))


def new(name: str, owner: str = "ada") -> Change:
    return Change(record_of(name, owner), (happened(name),))


def worker(number: int, state: WorkerState = WorkerState.PENDING) -> WorkerRecord:
    return WorkerRecord(f"worker-{number}", JobRecord(f"j{number}"), state, Reason(ReasonCode.WORKER_STARTING), 1.0)


@pytest.fixture
async def store(location: Location) -> AsyncIterator[Store]:
    async with open_store(location) as store:
        yield store


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(tmp_path / "sluice.db") as store:
        yield store


@asynccontextmanager
async def open_store(location: Location) -> AsyncIterator[Store]:
    store = Store(location)
    store.open()
    yield store
    await store.close()


async def test_a_record_comes_back_as_it_was(store: Store) -> None:
    change = new("ada-1")
    assert await store.create(change, SECRETS) == (change.record, True)
    assert await store.cluster("ada-1") == change.record
    assert await store.secrets("ada-1") == SECRETS


def test_a_record_that_a_newer_release_wrote_is_read_without_what_is_not_known() -> None:
    """Two releases share a database while servers are replaced one by one, and after a rollback."""
    record = replace(record_of("ada-1"), workers=())
    row = cluster_row(record)
    written = json.loads(row["document"])
    for part in (written, written["scheduler"], written["spec"], written["wanted"]):
        part["new"] = 1
    newer = SimpleNamespace(document=json.dumps(written), workers="", holder="")
    assert cluster_from(cast("Any", newer)) == record


async def test_a_record_survives_a_restart(store: Store) -> None:
    await store.create(new("ada-1"), SECRETS)
    await store.change("ada-1", lambda r: Change(replace(r, workers=(worker(1), worker(2)))), durable=False)
    before = await store.cluster("ada-1")
    await store.close()
    store.open()
    assert await store.cluster("ada-1") == before
    assert [w.name for w in before.workers] == ["worker-1", "worker-2"]


async def test_each_change_is_a_new_version_and_no_change_is_none(store: Store) -> None:
    await store.create(new("ada-1"), SECRETS)
    changed = await store.change("ada-1", lambda r: Change(replace(r, wanted=Wanted(workers=2))), durable=True)
    assert changed.record.version == 2
    unchanged = await store.change("ada-1", Change, durable=True)
    assert unchanged.record.version == 2
    assert (await store.cluster("ada-1")).wanted.workers == 2


async def test_listeners_are_told_in_order_after_each_change_and_only_then(store: Store) -> None:
    told: list[tuple[str, int, int]] = []
    store.on_change(lambda record, events: told.append(("first", record.version, len(events))))
    store.on_change(lambda record, events: told.append(("second", record.version, len(events))))
    await store.create(new("ada-1"), SECRETS)
    await store.change("ada-1", Change, durable=True)
    assert told == [("first", 1, 1), ("second", 1, 1)]


async def test_a_caller_that_gives_up_keeps_nobody_from_being_told(store: Store) -> None:
    told = asyncio.Event()
    store.on_change(lambda record, events: told.set())
    creating = asyncio.create_task(store.create(new("ada-1"), SECRETS))
    await asyncio.sleep(0)
    creating.cancel()
    async with asyncio.timeout(5):
        await told.wait()
    assert await store.cluster("ada-1")


async def test_a_change_that_fails_leaves_record_and_events_as_they_were(store: Store) -> None:
    await store.create(new("ada-1"), SECRETS)

    def fail(record: ClusterRecord) -> Change:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.change("ada-1", fail, durable=True)
    assert (await store.cluster("ada-1")).version == 1
    assert len(await store.events(cluster="ada-1")) == 1


async def test_changes_from_many_sides_are_all_kept(store: Store) -> None:
    await store.create(new("ada-1"), SECRETS)

    def one_more(record: ClusterRecord) -> Change:
        return Change(replace(record, wanted=replace(record.wanted, workers=record.wanted.workers + 1)))

    await asyncio.gather(*(store.change("ada-1", one_more, durable=False) for _ in range(50)))
    record = await store.cluster("ada-1")
    assert (record.wanted.workers, record.version) == (50, 51)


async def test_of_many_written_together_those_that_fail_fail_alone(store: Store) -> None:
    def fail(_: ClusterRecord) -> Change:
        raise ZeroDivisionError

    await store.create(new("ada-0"), SECRETS)
    known = await store.cluster("ada-0")
    names = [f"{owner}-{each}" for each in range(1, 10) for owner in ("ada", "grace")]
    outcomes = await asyncio.gather(
        *(store.create(new(name, name.partition("-")[0]), SECRETS) for name in names),
        store.create(new("ada-0"), SECRETS),
        store.change("ada-0", fail, durable=True),
        store.change("ada-0", lambda r: Change(replace(r, wanted=Wanted(3)), (happened("ada-0"),)), durable=False),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes if isinstance(outcome, Exception)] == [
        IntegrityError,
        ZeroDivisionError,
    ]
    assert {record.name for record in await store.clusters()} == {"ada-0", *names}
    assert ((await store.cluster("ada-0")).wanted.workers, known.version + 1) == (
        3,
        (await store.cluster("ada-0")).version,
    )
    assert len(await store.events(owner="ada")) == 11
    assert len(await store.events(owner="grace")) == 9


async def test_servers_that_write_for_the_same_owners_never_stand_in_each_others_way(postgresql: PostgreSQL) -> None:
    url = postgresql.new_database()
    async with open_store(url) as one, open_store(url) as other:
        owners = [f"user{each}" for each in range(12)]
        for owner in owners:
            await one.create(new(f"{owner}-1", owner), SECRETS)
        records = [await one.cluster(f"{owner}-1") for owner in owners]

        def one_more(record: ClusterRecord) -> Change:
            workers = record.wanted.workers + 1
            return Change(replace(record, wanted=Wanted(workers)), (happened(record.name),))

        # Each server in an order of its own, with a record that may be out of date.
        await asyncio.gather(
            *(one.change(record.name, one_more, durable=True, known=record) for _ in range(5) for record in records),
            *(
                other.change(record.name, one_more, durable=True, known=record)
                for _ in range(5)
                for record in records[::-1]
            ),
        )
        assert [record.wanted.workers for record in await other.clusters()] == [10] * len(owners)


async def test_a_database_that_was_away_for_a_while_fails_nobody(postgresql: PostgreSQL) -> None:
    async with open_store(postgresql.new_database()) as store:
        await store.create(new("ada-1"), SECRETS)
        await asyncio.gather(*(store.cluster("ada-1") for _ in range(20)))
        ours = "application_name = 'dask-sluice'"
        postgresql.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}")
        found = await asyncio.gather(*(store.cluster("ada-1") for _ in range(20)))
        assert {record.name for record in found} == {"ada-1"}
        await store.create(new("ada-2"), SECRETS)


async def test_a_worker_that_left_the_record_stays_in_its_history(store: Store) -> None:
    await store.create(new("ada-1"), SECRETS)
    await store.change("ada-1", lambda r: Change(replace(r, workers=(worker(1), worker(2)))), durable=False)
    ended = worker(2, WorkerState.FAILED)
    await store.change("ada-1", lambda r: Change(replace(r, workers=(ended,))), durable=False)
    assert (await store.cluster("ada-1")).workers == (ended,)
    assert [w.state for w in await store.workers("ada-1")] == [WorkerState.PENDING, WorkerState.FAILED]


async def test_the_same_key_gives_the_same_cluster(store: Store) -> None:
    first, _ = await store.create(new("ada-1"), SECRETS, ("key", "digest"))
    again, is_new = await store.create(new("ada-2"), SECRETS, ("key", "digest"))
    assert (again, is_new) == (first, False)
    other, is_new = await store.create(new("grace-1", "grace"), SECRETS, ("key", "digest"))
    assert (other.name, is_new) == ("grace-1", True)


async def test_the_same_key_for_another_request_is_refused(store: Store) -> None:
    await store.create(new("ada-1"), SECRETS, ("key", "digest"))
    with pytest.raises(IdempotencyConflict):
        await store.create(new("ada-2"), SECRETS, ("key", "another"))
    assert len(await store.clusters()) == 1


async def test_the_same_key_at_the_same_time_makes_one_cluster(store: Store) -> None:
    names = {
        record.name
        for record, _ in await asyncio.gather(
            *(store.create(new(f"ada-{n}"), SECRETS, ("key", "digest")) for n in range(10))
        )
    }
    assert len(names) == 1


async def test_clusters_are_found_by_owner_and_state(store: Store) -> None:
    for name, owner in (("ada-1", "ada"), ("ada-2", "ada"), ("grace-1", "grace")):
        await store.create(new(name, owner), SECRETS)
    await store.change("ada-2", lambda r: Change(replace(r, state=ClusterState.STARTING)), durable=False)
    assert {r.name for r in await store.clusters("ada")} == {"ada-1", "ada-2"}
    assert [r.name for r in await store.clusters("ada", [ClusterState.STARTING])] == ["ada-2"]
    assert len(await store.clusters(states=[ClusterState.PENDING])) == 2


async def test_events_are_read_from_where_one_left_off(store: Store) -> None:
    await store.create(new("ada-1"), SECRETS)
    await store.create(new("grace-1", "grace"), SECRETS)
    (first,) = await store.events(owner="ada")
    assert first.reason.details == {"by": "ada"}
    await store.change("ada-1", lambda r: Change(r, (happened("ada-1", ReasonCode.RUNNING),)), durable=False)
    (second,) = await store.events(owner="ada", after=first.id)
    assert second.reason.code is ReasonCode.RUNNING
    assert len(await store.events(limit=2)) == 2


async def test_what_ended_long_ago_is_forgotten_with_all_that_belongs_to_it(store: Store) -> None:
    await store.create(new("ada-1"), SECRETS, ("key", "digest"))
    await store.create(new("ada-2"), SECRETS)
    await store.change("ada-1", lambda r: Change(replace(r, ended_at=100.0)), durable=False)
    assert await store.forget_ended(99.0) == []
    assert await store.forget_ended(101.0) == ["ada-1"]
    with pytest.raises(ClusterNotFound):
        await store.cluster("ada-1")
    assert [e.cluster for e in await store.events()] == ["ada-2"]
    _, is_new = await store.create(new("ada-3"), SECRETS, ("key", "digest"))
    assert is_new


async def test_the_servers_own_keys_are_made_once(store: Store) -> None:
    assert await store.key("ticket", lambda: b"one") == b"one"
    assert await store.key("ticket", lambda: b"two") == b"one"


async def test_a_full_disk_is_said_in_words_and_reading_goes_on(sqlite: Store) -> None:
    await sqlite.create(new("ada-1"), SECRETS)
    engine = sqlite._db._durable
    engine.dispose()
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA max_page_count=1").close())
    with pytest.raises(BackendUnavailable, match=r"cannot write its database .*full"):
        for number in range(100):
            await sqlite.create(new(f"ada-{number + 2}"), SECRETS)
    assert (await sqlite.cluster("ada-1")).name == "ada-1"


async def test_a_read_only_database_is_said_in_words(sqlite: Store) -> None:
    engine = sqlite._db._durable
    engine.dispose()
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA query_only=ON").close())
    with pytest.raises(BackendUnavailable, match=r"cannot write its database .*readonly"):
        await sqlite.create(new("ada-1"), SECRETS)


async def test_the_database_is_its_owners_alone(tmp_path: Path, sqlite: Store) -> None:
    await sqlite.create(new("ada-1"), SECRETS)
    files = await asyncio.to_thread(lambda: [file.stat().st_mode & 0o777 for file in tmp_path.glob("sluice.db*")])
    assert set(files) == {0o600}
