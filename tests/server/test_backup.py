"""A backup of a living server, put back: what still runs is found again, the rest is reported."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from dask_sluice.server.backup import back_up, restore
from dask_sluice.server.directories import Directories, directories
from dask_sluice.server.startup import CannotStart

from .core import ADA, eventually, running_core
from .serving import ServerProcess, created, reached


@pytest.fixture
def places(tmp_path: Path) -> Directories:
    return directories(tmp_path / "data")


async def test_clusters_that_run_are_found_again_and_others_are_reported(tmp_path: Path) -> None:
    server = await ServerProcess(tmp_path / "data", backend="local").start()
    places, file = directories(server.data_dir), tmp_path / "backup.tar.gz"
    try:
        async with server.client() as client:
            stays = (await created(client))["name"]
            ends = (await created(client))["name"]
            await asyncio.to_thread(back_up, places, file)
            later = (await created(client))["name"]
            mark = server.data_dir / "clusters" / ends / f"{ends}-scheduler.pid"
            os.kill(int(mark.read_text().split()[0]), signal.SIGKILL)
            await reached(client, ends, "failed")
        with pytest.raises(CannotStart, match="another dask-sluice server already runs"):
            restore(places, file)
        address, token = server.url, server.token
        await server.kill()
        kept = restore(places, file)
        assert kept is not None
        await server.start()
        assert (server.url, server.token) == (address, token)
        async with server.client() as client:
            assert (await reached(client, stays, "running"))["owner"]
            assert "SIGKILL" in (await reached(client, ends, "failed"))["reason"]["sentence"]
            assert (await client.get(f"/api/v2/clusters/{later}")).status_code == 404
            await eventually(lambda: f"of cluster {later}: it is not on our books" in server.log())
            await eventually(lambda: not any(later in line for line in server.leftovers()))
            scaled = await client.post(f"/api/v2/clusters/{stays}/scale", json={"count": 1})
            assert scaled.status_code == 200
    finally:
        if server.process.returncode is None:
            assert await server.stop() == 0
        await eventually(lambda: not server.leftovers())


async def test_a_backup_under_load_is_one_consistent_state(places: Directories, tmp_path: Path) -> None:
    places.data.mkdir()
    async with running_core(places.data) as core:
        record = await core.running()

        async def load() -> None:
            for count in range(40):
                await core.control.scale(ADA, record.name, count % 3)

        loading = asyncio.create_task(load())
        for number in range(3):
            await asyncio.to_thread(back_up, places, tmp_path / f"{number}.tar.gz")
        await loading
    await asyncio.to_thread(back_up, places, tmp_path / "3.tar.gz")  # of a server that has ended
    for number in range(4):
        other = directories(tmp_path / f"other-{number}")
        restore(other, tmp_path / f"{number}.tar.gz")
        with closing(sqlite3.connect(other.database)) as connection:
            versions = connection.execute(
                "SELECT version, json_extract(document, '$.version') FROM clusters"
            ).fetchall()
        assert len(versions) == 1
        assert versions[0][0] == versions[0][1]
        assert stat.S_IMODE(other.database.stat().st_mode) == 0o600


def test_a_backup_is_for_its_owner_and_overwrites_nothing(places: Directories, tmp_path: Path) -> None:
    places.data.mkdir()
    file = tmp_path / "backup.tar.gz"
    with pytest.raises(CannotStart, match="there is no database"):
        back_up(places, file)
    _database(places.database)
    (places.data / "token").write_text("secret\n")
    back_up(places, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with tarfile.open(file) as archive:
        assert archive.getnames() == ["sluice.db", "token"]
    with pytest.raises(CannotStart, match="File exists"):
        back_up(places, file)
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


def test_what_is_no_backup_is_refused_and_changes_nothing(places: Directories, tmp_path: Path) -> None:
    places.data.mkdir()
    _database(places.database)
    before = places.database.read_bytes()
    foreign, damaged = tmp_path / "foreign.tar.gz", tmp_path / "damaged.tar.gz"
    with tarfile.open(foreign, "w:gz") as archive:
        archive.add(places.database, "../../sluice.db")
    (tmp_path / "sluice.db").write_bytes(b"SQLite format 3\0" + os.urandom(5000))
    with tarfile.open(damaged, "w:gz") as archive:
        archive.add(tmp_path / "sluice.db", "sluice.db")
    for file, sentence in ((places.database, "cannot read"), (foreign, "is no backup"), (damaged, "damaged")):
        with pytest.raises(CannotStart, match=sentence):
            restore(places, file)
        assert places.database.read_bytes() == before


def test_the_database_that_was_there_is_kept_with_its_journal(places: Directories, tmp_path: Path) -> None:
    places.data.mkdir()
    _database(places.database)
    file = tmp_path / "backup.tar.gz"
    back_up(places, file)
    Path(f"{places.database}-wal").write_bytes(b"of the old one")
    kept = restore(places, file)
    assert kept is not None
    assert Path(f"{kept}-wal").read_bytes() == b"of the old one"
    assert not Path(f"{places.database}-wal").exists()


def _database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.commit()
