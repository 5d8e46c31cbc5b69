"""A database of any earlier release is brought up to this one, with what is in it; one of a later is left alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, inspect, text

import dask_sluice.server.store
from dask_sluice.server.backends.protocol import Size
from dask_sluice.server.model import Grant, WorkerGroup
from dask_sluice.server.store import Store
from dask_sluice.server.store.engines import Location, schema_engine
from dask_sluice.server.store.schema import HEAD, SchemaUnknown, prepare, upgrade
from dask_sluice.wire.errors import BackendUnavailable

from ..postgresql import PostgreSQL

MIGRATIONS = Path(dask_sluice.server.store.__file__).parent / "migrations" / "versions"
EARLIER = sorted(path.name[1:5] for path in MIGRATIONS.glob("m[0-9]*.py"))[:-1]
"""Every revision but the newest."""

AS_FIRST_WRITTEN: dict[str, dict[str, Any]] = {
    "clusters": {
        "name": "ada-1",
        "owner": "ada",
        "state": "running",
        "version": 7,
        "created_at": 1.0,
        "document": json.dumps(
            {
                "spec": {
                    "name": "ada-1",
                    "owner": "ada",
                    "options": {"worker_cores": 1.0},
                    "environment": "",
                    "scheduler": {"cores": 1, "memory_bytes": 0, "threads": 1},
                    "worker": {"cores": 1, "memory_bytes": 1073741824, "threads": 1},
                    "max_workers": 6,
                    "start_timeout_s": 60,
                    "worker_start_timeout_s": 60,
                    "idle_timeout_s": 600,
                },
                "wanted": {"workers": 1},
                "state": "running",
                "reason": {"code": "running", "details": {}},
                "version": 7,
                "created_at": 1.0,
                "scheduler": {"job": {"job_id": "ada-1-scheduler"}, "host": "127.0.0.1", "port": 8786},
            }
        ),
    },
    "workers": {
        "cluster": "ada-1",
        "number": 1,
        "kept": True,
        "document": json.dumps(
            {
                "name": "worker-1",
                "job": {"job_id": "ada-1-worker-1"},
                "state": "running",
                "reason": {"code": "worker_connected", "details": {}},
                "created_at": 2.0,
            }
        ),
    },
    "events": {
        "time": 1.0,
        "cluster": "ada-1",
        "owner": "ada",
        "subject": "cluster",
        "kind": "cluster",
        "code": "running",
        "details": "{}",
    },
    "requests": {"owner": "ada", "key": "key", "digest": "digest", "cluster": "ada-1"},
    "secrets": {"cluster": "ada-1", "link_token": "token", "ca_certificate": "certificate", "ca_key": "key"},
    "keys": {"name": "ticket-key", "value": b"key"},
}
"""One row of each table of the first release, as that release wrote it."""


@contextmanager
def connected(location: Location) -> Iterator[Connection]:
    engine = schema_engine(location)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def schema_of(connection: Connection) -> object:
    inspector = inspect(connection)
    return {
        table: (
            [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in inspector.get_columns(table)],
            inspector.get_pk_constraint(table)["constrained_columns"],
            sorted((i["name"] or "", i["column_names"]) for i in inspector.get_indexes(table)),
            [(f["constrained_columns"], f["referred_table"], f["options"]) for f in inspector.get_foreign_keys(table)],
        )
        for table in inspector.get_table_names()
    }


def revision_of(connection: Connection) -> str:
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one())


def test_the_newest_migration_is_the_one_that_the_schema_names() -> None:
    assert max(path.name[1:5] for path in MIGRATIONS.glob("m[0-9]*.py")) == HEAD


@pytest.mark.parametrize("revision", EARLIER)
async def test_every_earlier_revision_is_brought_up_with_what_is_in_it(revision: str, location: Location) -> None:
    with connected(location) as connection:
        upgrade(connection, EARLIER[0])
        for table, row in AS_FIRST_WRITTEN.items():
            names = ", ".join(row), ", ".join(f":{column}" for column in row)
            connection.execute(text(f"INSERT INTO {table} ({names[0]}) VALUES ({names[1]})"), row)
        upgrade(connection, revision)
    store = Store(location)
    store.open()
    try:
        record = await store.cluster("ada-1")
        assert (record.version, [worker.name for worker in record.workers]) == (7, ["worker-1"])
        assert record.spec.worker_groups == (WorkerGroup("default", Size(1, 2**30, 1)),)
        assert [worker.group for worker in record.workers] == ["default"]
        assert (record.spec.lease.idle_s, record.grant) == (600, Grant(scheduler=True, workers=1))
        assert (await store.secrets("ada-1")).link_token == "token"
        assert [event.cluster for event in await store.events(owner="ada")] == ["ada-1"]
        assert await store.key("ticket-key", lambda: b"another") == b"key"
    finally:
        await store.close()


def test_migrations_and_tables_give_the_same_database(new_location: Callable[[], Location]) -> None:
    by_tables, by_migrations = new_location(), new_location()
    prepare(by_tables)
    with connected(by_migrations) as connection:
        upgrade(connection)
    with connected(by_tables) as one, connected(by_migrations) as other:
        assert schema_of(one) == schema_of(other)
        assert revision_of(one) == revision_of(other) == HEAD


def test_servers_that_start_at_once_make_one_database(postgresql: PostgreSQL) -> None:
    location = postgresql.new_database()
    with ThreadPoolExecutor(3) as servers:
        for _ in servers.map(prepare, [location] * 3):
            pass
    with connected(location) as connection:
        assert revision_of(connection) == HEAD


def test_a_database_of_a_newer_release_is_left_alone(location: Location) -> None:
    prepare(location)
    with connected(location) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaUnknown, match="newer dask-sluice"):
        prepare(location)


def test_what_is_no_database_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "sluice.db").write_text("no database at all, but rather long" * 10)
    with pytest.raises(BackendUnavailable, match=r"cannot use its database .*not a database"):
        prepare(tmp_path / "sluice.db")
