"""Everything that a job started ends with it, nothing else is touched, and no end goes unexplained."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from dask_sluice.server.backends.local import backend as backend_module
from dask_sluice.server.backends.local.directories import Mark
from dask_sluice.server.backends.local.endings import OUT_OF_MEMORY, UNKNOWN, ended
from dask_sluice.server.backends.local.forks import cannot_start
from dask_sluice.server.backends.local.handles import make_handle
from dask_sluice.server.backends.local.settings import LocalSettings
from dask_sluice.server.backends.protocol import Handle, JobKind, JobState, Refused, Unavailable
from dask_sluice.wire.processes import is_alive, process_stat
from dask_sluice.wire.reasons import ReasonCode

from .conformance import running, submit, until
from .local_harness import LocalHarness, job


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[LocalHarness]:
    harness = LocalHarness(tmp_path)
    await harness.backend.start()
    yield harness
    await harness.close()


@pytest.fixture
def stranger() -> Iterator[Mark]:
    """A process that has nothing to do with any cluster."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"], start_new_session=True)
    stat = process_stat(process.pid)
    assert stat is not None
    yield Mark(process.pid, stat.start_time, os.getuid())
    process.kill()
    process.wait()


async def log_says(harness: LocalHarness, cluster: str, job_id: str, text: str) -> None:
    deadline = time.monotonic() + harness.patience_s
    while text not in await harness.backend.logs(cluster, f"{cluster}-{job_id}"):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def family(harness: LocalHarness) -> Handle:
    """A running job with children in its group, in another group and in another session."""
    (handle,) = await running(harness, job("one", "worker-1", "family"))
    await log_says(harness, "one", "worker-1", "all born")
    assert len(harness.processes()) == 5
    return handle


async def test_what_a_chatty_job_prints_is_cut_while_it_runs(tmp_path: Path) -> None:
    harness = LocalHarness(tmp_path, LocalSettings(stop_grace_s=1.0, log_bytes=20_000))
    await harness.backend.start()
    try:
        (handle,) = await submit(harness.backend, job("one", "worker-1", "chatter"))
        log = harness.files("one", "worker-1").with_suffix(".log")
        async with asyncio.timeout(harness.patience_s):
            while not log.with_suffix(".log.1").exists():  # noqa: ASYNC110  nothing tells
                await asyncio.sleep(0.05)
        await until(harness, handle, JobState.RUNNING)
        assert log.stat().st_size + log.with_suffix(".log.1").stat().st_size <= 20_000
        assert (await harness.backend.logs("one", handle.job_id)).endswith("and the end\n")
    finally:
        await harness.close()


# -- nothing survives its job


async def test_removing_ends_children_in_other_groups_and_sessions_too(harness: LocalHarness) -> None:
    handle = await family(harness)
    await harness.backend.remove(handle)
    assert harness.processes() == []


async def test_what_a_killed_job_leaves_behind_is_ended_when_its_end_is_seen(harness: LocalHarness) -> None:
    handle = await family(harness)
    os.kill(handle.data["pid"], signal.SIGKILL)
    look = await until(harness, handle, JobState.ENDED)
    assert (look.exit_code, look.signal) == (-signal.SIGKILL, "SIGKILL")
    assert harness.processes() == []


async def test_what_a_job_left_while_the_server_was_away_is_ended_too(harness: LocalHarness) -> None:
    handle = await family(harness)
    await harness.backend.close()
    os.kill(handle.data["pid"], signal.SIGKILL)
    await harness.reopen()
    await until(harness, handle, JobState.ENDED)
    assert harness.processes() == []


async def test_what_is_left_of_a_job_on_nobodys_books_is_recovered(harness: LocalHarness) -> None:
    handle = await family(harness)
    await harness.backend.close()
    os.kill(handle.data["pid"], signal.SIGKILL)
    await harness.reopen()
    assert await harness.backend.recover() == [handle]
    await harness.backend.remove(handle)
    assert harness.processes() == []


async def test_a_job_that_does_not_listen_is_killed_after_the_grace(harness: LocalHarness) -> None:
    (handle,) = await running(harness, job("one", "worker-1", "stubborn"))
    await log_says(harness, "one", "worker-1", "not listening")
    began = time.monotonic()
    await harness.backend.remove(handle)
    assert 1.0 <= time.monotonic() - began < 3.0
    assert harness.processes() == []


async def test_a_submit_given_up_half_way_leaves_nothing(harness: LocalHarness) -> None:
    await submit(harness.backend, job("one", "worker-1", "stay"))  # the nursery is warm
    giving_up = asyncio.create_task(submit(harness.backend, job("one", "worker-2", "stay")))
    await asyncio.sleep(0.001)
    giving_up.cancel()
    await asyncio.gather(giving_up, return_exceptions=True)
    await harness.reopen()
    assert [handle.job_id for handle in await harness.backend.recover()] == ["one-worker-1"]


async def test_forgetting_a_cluster_ends_what_still_runs_in_it(harness: LocalHarness) -> None:
    await family(harness)
    await harness.backend.forget("one")
    assert harness.processes() == []
    assert not (harness.data_dir / "clusters" / "one").exists()


# -- nothing else is touched


async def test_a_number_given_to_a_stranger_is_not_signalled(harness: LocalHarness, stranger: Mark) -> None:
    reused = dataclasses.replace(stranger, start_time="1@before")
    handle = make_handle("one", "one-worker-1", JobKind.WORKER, reused)
    await harness.backend.remove(handle)
    assert (await harness.backend.observe([handle]))[0].state is JobState.ENDED
    assert is_alive(stranger.pid, stranger.start_time)


async def test_a_mark_from_before_a_restart_of_the_machine_is_not_recovered(
    harness: LocalHarness, stranger: Mark
) -> None:
    await submit(harness.backend, job("one", "worker-1", "die"))
    ticks, _, boot = stranger.start_time.partition("@")
    harness.files("one", "worker-2").with_suffix(".pid").write_text(f"{stranger.pid} {ticks}@{boot[::-1]}x\n")
    await asyncio.sleep(0)
    assert "one-worker-2" not in [handle.job_id for handle in await harness.backend.recover()]


async def test_a_handle_put_together_from_two_touches_neither(harness: LocalHarness) -> None:
    one, two = [(await running(harness, job(name, "worker-1", "stay")))[0] for name in ("one", "two")]
    await harness.backend.remove(dataclasses.replace(one, data=two.data))
    looks = await harness.backend.observe([one, two])
    assert {look.state for look in looks} == {JobState.RUNNING}


@pytest.mark.parametrize("mark", ["", "x", "1", "-1 2", "1 2 3", "9" * 500])
async def test_a_spoilt_mark_is_no_mark(harness: LocalHarness, mark: str) -> None:
    directory = harness.data_dir / "clusters" / "one"
    directory.mkdir()
    (directory / "one-worker-1.pid").write_text(mark)
    assert await harness.backend.recover() == []


async def test_a_name_that_is_a_path_is_refused(harness: LocalHarness) -> None:
    with pytest.raises(ValueError, match="not the name"):
        await harness.backend.logs("..", "token")


# -- a killed nursery


async def test_jobs_go_on_without_their_nursery_and_new_ones_get_another(harness: LocalHarness) -> None:
    (handle,) = await running(harness, job("one", "scheduler", "stay"))
    (nursery,) = harness.nurseries()
    os.kill(nursery, signal.SIGKILL)
    (other,) = await running(harness, job("one", "worker-2", "stay"))
    assert {look.state for look in await harness.backend.observe([handle, other])} == {JobState.RUNNING}
    assert nursery not in harness.nurseries()
    await harness.backend.remove(handle)
    assert harness.processes("one-scheduler") == []


async def test_the_end_of_a_job_without_nursery_is_told_and_says_what_is_not_known(
    harness: LocalHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_module, "_LOOK_EVERY_S", 0.05)
    await harness.reopen()
    (handle,) = await running(harness, job("one", "worker-2", "stay"))
    (nursery,) = harness.nurseries()
    os.kill(nursery, signal.SIGKILL)
    changes = aiter(harness.backend.changes())
    told = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0)
    os.kill(handle.data["pid"], signal.SIGKILL)
    assert await asyncio.wait_for(told, harness.patience_s) == "one"
    look = await until(harness, handle, JobState.ENDED)
    assert look.reason is not None
    assert UNKNOWN in look.reason.sentence


async def test_a_restarted_server_uses_the_nursery_that_is_there(harness: LocalHarness) -> None:
    await running(harness, job("one", "scheduler", "stay"))
    before = harness.nurseries()
    await harness.reopen()
    await running(harness, job("one", "worker-2", "stay"))
    assert harness.nurseries() == before


async def test_a_nursery_that_was_warming_when_its_server_was_killed_is_told_to_end_and_leaves_no_socket(
    harness: LocalHarness,
) -> None:
    path = harness.runtime_dir / "nursery-warming.sock"
    with socket.socket(socket.AF_UNIX) as warming:
        warming.bind(str(path))
        warming.listen()
        await harness.reopen()
        assert not path.exists()
        told, _ = warming.accept()
        with told:
            assert json.loads(told.recv(1000))["op"] == "quit"


async def test_what_a_killed_server_asked_for_last_is_waited_for(harness: LocalHarness) -> None:
    """Its child may not have left its mark yet, and what bears none is not recovered."""
    born = iter(["", "", "now"])
    asked: list[str] = []

    async def nursery(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            request = json.loads(line)
            asked.append(request["op"])
            answer: dict[str, object] = {"quitting": True}
            if request["op"] == "list":
                answer = {"children": [{"job": "one-scheduler", "pid": 1, "start_time": next(born)}]}
            writer.write(json.dumps({"id": request["id"], **answer}).encode() + b"\n")
        writer.close()

    path = harness.runtime_dir / "nursery-busy.sock"
    environment = {"interpreter": sys.executable, "packages": "/"}
    purpose = {"path": "", "uid": os.geteuid(), "stage": "another"}
    note = {"purpose": purpose, "environment": environment, "pid": 1, "start_time": "", "fingerprint": ""}
    path.with_suffix(".json").write_text(json.dumps(note))
    async with await asyncio.start_unix_server(nursery, path):
        await harness.reopen()
        assert asked == ["list", "list", "list"]
        await harness.backend.close()


async def test_a_nursery_without_children_ends_with_its_server(harness: LocalHarness) -> None:
    (handle,) = await running(harness, job("one", "scheduler", "stay"))
    await harness.backend.remove(handle)
    await harness.backend.close()
    deadline = time.monotonic() + harness.patience_s
    while harness.nurseries():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    assert list(harness.runtime_dir.iterdir()) == []


# -- how it ended


async def test_last_words_are_the_reason(harness: LocalHarness) -> None:
    (handle,) = await submit(harness.backend, job("one", "worker-1", "say_why"))
    look = await until(harness, handle, JobState.ENDED)
    assert look.reason is not None
    assert look.reason.code is ReasonCode.WORKER_CRASH_LOOP
    assert look.reason.sentence == "gave up after 3 crashes in 10 s; the last: it crashed"


def test_an_out_of_memory_kill_is_named() -> None:
    exit = {"exit_code": None, "signal": "SIGKILL", "oom": True}
    look = ended("j", JobKind.WORKER, exit, {}, "")
    assert (look.signal, look.exit_code) == (OUT_OF_MEMORY, -9)


@pytest.mark.parametrize(
    "words", [{"code": "nonsense"}, {"code": ["x"]}, {"details": 3}, {"code": "idle", "details": 3}]
)
def test_spoilt_last_words_do_no_harm(words: dict[str, object]) -> None:
    look = ended("j", JobKind.WORKER, {"exit_code": 1, "signal": ""}, words, "")
    assert look.exit_code == 1


def test_what_the_system_says_becomes_a_sentence() -> None:
    assert "disk is full: /d/x.pid" in str(cannot_start(28, "No space left on device", "/d/x.pid", "ada"))
    assert isinstance(cannot_start(28, "", None, "ada"), Unavailable)
    refused = cannot_start(13, "Permission denied", "/d/x.pid", "ada")
    assert isinstance(refused, Refused)
    assert "the account ada cannot write /d/x.pid" in str(refused)
    assert "no room for another process" in str(cannot_start(11, "Resource temporarily unavailable", None, "ada"))


@pytest.fixture
def small_disk(harness: LocalHarness) -> Iterator[Path]:
    """The directory of clusters on a file system with room for next to nothing."""
    clusters = harness.data_dir / "clusters"
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k,nr_inodes=100", "none", str(clusters)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can make a file system that is full, and not everywhere")
    yield clusters
    subprocess.run(["umount", "-l", str(clusters)], check=True)


async def test_a_full_disk_is_said_and_trying_again_later_works(harness: LocalHarness, small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(b"x" * 16384)
    with pytest.raises(Unavailable, match="the disk is full"):
        await submit(harness.backend, job("one", "worker-1", "stay"))
    (small_disk / "filler").unlink()
    (handle,) = await running(harness, job("one", "worker-1", "stay"))
    await harness.backend.remove(handle)
