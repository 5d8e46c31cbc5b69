"""What is over goes when its time has come, all of it; what lives stays, and so does what ended of late."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from dask_sluice.server.backends.fake import World
from dask_sluice.server.backends.local import LocalBackend, LocalSettings
from dask_sluice.server.clock import ManualClock
from dask_sluice.server.sweeping import Sweeper, shorten_logs
from dask_sluice.wire.errors import ClusterNotFound
from dask_sluice.wire.states import ClusterState

from .core import ADA, end_world, running_core

KEPT_S = 600.0
TABLES = ("clusters", "workers", "events", "requests", "secrets")


def rows(directory: Path) -> dict[str, int]:
    with closing(sqlite3.connect(directory / "sluice.db")) as connection:
        return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}


async def test_an_ended_cluster_goes_with_everything_when_its_time_is_over_and_not_before(tmp_path: Path) -> None:
    clock, world = ManualClock(), World()
    async with running_core(tmp_path, clock=clock, world=world) as core:
        record, _ = await core.control.create(ADA, {}, "key")
        await core.until(record.name, ClusterState.RUNNING)
        await core.control.stop(ADA, record.name)
        await core.until(record.name, ClusterState.STOPPED)
        living = await core.running(ADA)
        sweeper = Sweeper(core.store, core.backend, clock, keep_ended_s=KEPT_S)

        await clock.advance(KEPT_S - 60)
        await sweeper.sweep()
        assert (await core.store.cluster(record.name)).state is ClusterState.STOPPED
        assert await core.control.logs(ADA, record.name, None, max_bytes=1000)

        await clock.advance(120)
        await sweeper.sweep()
        with pytest.raises(ClusterNotFound):
            await core.control.logs(ADA, record.name, None, max_bytes=1000)
        left = rows(tmp_path)
        assert (left["clusters"], left["requests"], left["secrets"]) == (1, 0, 1)
        assert {event.cluster for event in await core.store.events()} == {living.name}
        assert await core.backend.kept() == [living.name]
        again, is_new = await core.control.create(ADA, {}, "key")
        assert is_new
        assert again.name != record.name
        await core.until(again.name, ClusterState.RUNNING)
    end_world(world)


async def test_what_a_killed_server_left_half_deleted_goes_with_the_next_sweep(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_core(tmp_path) as core:
        living = await core.running(ADA)
        run = tmp_path / "run"
        run.mkdir()
        backend = LocalBackend(LocalSettings(), data_dir=tmp_path, runtime_dir=run, stage=tmp_path)
        for name in (living.name, "ada-forgotten"):
            (tmp_path / "clusters" / name).mkdir(parents=True)
        with caplog.at_level(logging.WARNING):
            await Sweeper(core.store, backend, ManualClock(), keep_ended_s=KEPT_S).sweep()
        assert await backend.kept() == [living.name]
        assert "ada-forgotten: it is not on our books" in caplog.text


async def test_many_names_are_known_at_once(tmp_path: Path) -> None:
    async with running_core(tmp_path) as core:
        record = await core.running()
        assert await core.store.known([f"nobody-{number}" for number in range(3000)] + [record.name]) == {record.name}


def test_logs_of_our_own_are_cut_to_their_newer_half(tmp_path: Path) -> None:
    log, short = tmp_path / "proxy.log", tmp_path / "nursery.log"
    short.write_text("short\n")
    with log.open("ab") as file:  # as a proxy has it
        for number in range(1000):
            file.write(b"line %d\n" % number)
        file.flush()
        shorten_logs(tmp_path, most_bytes=2000)
        file.write(b"the next line\n")
    kept = log.read_text().splitlines()
    assert len(log.read_bytes()) <= 1020
    assert kept[-2:] == ["line 999", "the next line"]
    assert all(line.startswith("line ") for line in kept[:-1])
    assert short.read_text() == "short\n"
