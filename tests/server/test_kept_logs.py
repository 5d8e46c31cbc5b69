"""What is kept of processes that are gone is there for every server on the store, and never grows beyond its bounds."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest

from dask_sluice.server.clock import ManualClock
from dask_sluice.server.store import Store, kept_logs
from dask_sluice.server.store.engines import Location
from dask_sluice.server.store.kept_logs import KeptLogs


@pytest.fixture
async def two(location: Location) -> AsyncIterator[tuple[Store, Store]]:
    """Two servers' stores on one database."""
    stores = Store(location, "one"), Store(location, "other")
    for store in stores:
        store.open()
    yield stores
    for store in stores:
        await store.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def jobs(kept: KeptLogs, *names: str) -> list[str]:
    return [name for name in names if await kept.read(name[0], name) is not None]


async def test_what_one_server_kept_another_shows_and_forgets(two: tuple[Store, Store], clock: ManualClock) -> None:
    one, other = (store.kept_logs(clock) for store in two)
    await one.keep("a", "a-0", b"the end\n")
    assert await other.read("a", "a-0") == b"the end\n"
    assert await other.clusters() == ["a"]
    await other.forget("a")
    await other.forget("a")
    assert await one.read("a", "a-0") is None
    assert await one.clusters() == []


async def test_a_later_log_takes_the_place_of_an_earlier_one_but_an_empty_one_does_not(
    two: tuple[Store, Store], clock: ManualClock
) -> None:
    kept = two[0].kept_logs(clock)
    await kept.keep("a", "a-0", b"")
    assert await kept.read("a", "a-0") == b""
    await kept.keep("a", "a-0", b"first\n")
    await kept.keep("a", "a-0", b"")
    assert await kept.read("a", "a-0") == b"first\n"
    await kept.keep("a", "a-0", b"first\nsecond\n")
    assert await kept.read("a", "a-0") == b"first\nsecond\n"


async def test_of_a_long_log_the_newest_is_kept(two: tuple[Store, Store], clock: ManualClock) -> None:
    kept = two[0].kept_logs(clock)
    await kept.keep("a", "a-0", b"x" * 5_000_000 + b"the end")
    log = await kept.read("a", "a-0")
    assert log is not None
    assert len(log) == kept_logs.LOG_BYTES
    assert log.endswith(b"the end")


async def test_a_cluster_that_writes_much_loses_its_own_oldest_logs_and_nobody_elses(
    two: tuple[Store, Store], clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_logs, "CLUSTER_BYTES", 3500)
    kept = two[0].kept_logs(clock)
    await kept.keep("b", "b-0", os.urandom(1000))
    for number in range(5):  # nothing to compress: 1,011 bytes each
        await clock.advance(1)
        await kept.keep("a", f"a-{number}", os.urandom(1000))
    assert await jobs(kept, "a-0", "a-1", "a-2", "a-3", "a-4", "b-0") == ["a-2", "a-3", "a-4", "b-0"]


async def test_all_together_are_bounded_the_oldest_go_first(
    two: tuple[Store, Store], clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_logs, "ALL_BYTES", 2500)
    kept = two[0].kept_logs(clock)
    for name in ("a-0", "b-0", "a-1", "c-0"):
        await clock.advance(1)
        await kept.keep(name[0], name, os.urandom(1000))
    await kept.trim()
    assert await jobs(kept, "a-0", "b-0", "a-1", "c-0") == ["a-1", "c-0"]
