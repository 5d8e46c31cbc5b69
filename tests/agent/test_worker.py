"""A worker restarts what crashed, tells of it, gives up in time, and leaves nothing behind however it ends."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from dask_sluice.agent.worker import CLOSE_WITHIN_S
from dask_sluice.wire.processes import process_stat

from .harness import Agents, agents

MEBIBYTE = 2**20


def parent_of(pid: int) -> int:
    stat = process_stat(pid)
    assert stat is not None
    return stat.parent


def command_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def start(cluster: Agents, **changes: Any) -> None:
    await cluster.start_scheduler()
    await cluster.start_workers("worker-1", **changes)


async def test_a_worker_process_is_forked_not_started(cluster: Agents) -> None:
    await start(cluster)
    async with cluster.client() as user:
        (pid,) = (await user.do("worker_pids")).values()
    fork_server = parent_of(pid)
    assert parent_of(fork_server) == cluster.processes["worker-1"].pid
    assert command_of(pid) == command_of(fork_server)


async def test_a_crash_is_repaired_and_told(cluster: Agents) -> None:
    await start(cluster)
    async with cluster.client() as user:
        await user.do("crash", 3)
        event = await cluster.server.hear("event")
        assert (event["subject"], event["code"]) == ("worker-1", "worker_restarted")
        assert event["details"] == {"how": "exit code 3"}


async def test_a_restarted_worker_draws_new_random_numbers(cluster: Agents) -> None:
    await start(cluster)
    async with cluster.client() as user:
        before = await user.do("random_numbers")
        await user.do("restart")
        assert await user.do("random_numbers") != before


async def test_running_out_of_memory_is_told_with_figures(cluster: Agents) -> None:
    await start(cluster, memory_limit_bytes=400 * MEBIBYTE)
    async with cluster.client() as user:
        await user.do("fill_memory", 500 * MEBIBYTE)
        event = await cluster.server.hear("event")
        assert (event["subject"], event["code"]) == ("worker-1", "worker_out_of_memory")
        assert event["details"]["limit_gib"] == 400 / 1024
        assert event["details"]["used_gib"] > 380 / 1024
        restarted = await cluster.server.hear("event", lambda message: message["code"] == "worker_restarted")
        assert restarted["details"]["how"].startswith("out of memory at 0.")


async def test_a_worker_that_crashes_again_and_again_gives_up_for_a_reason(cluster: Agents) -> None:
    await start(cluster, max_restarts=1)
    async with cluster.client() as user:
        await user.do("crash", 7)  # Dask tries a task that ends its worker on the next one, three times
        assert await cluster.end_of("worker-1") == 1
    words = cluster.last_words("worker-1")
    assert words["code"] == "worker_crash_loop"
    assert words["details"] == {"restarts": 2, "window_s": 60.0, "how": "exit code 7"}
    await cluster.server.hear("event", lambda message: message["code"] == "worker_crash_loop")
    await cluster.until_nothing_lives("worker-1")


async def test_a_restart_by_the_user_is_no_crash(cluster: Agents) -> None:
    await start(cluster, max_restarts=0)
    async with cluster.client() as user:
        before = await user.do("worker_pids")
        await user.do("restart")
        assert await user.do("worker_pids") != before
        assert await user.do("compute", 100) == 5050
    assert not [message for message in cluster.server.heard if message["op"] == "event"]


async def test_a_killed_nanny_takes_everything_with_it(cluster: Agents) -> None:
    await start(cluster)
    assert len(cluster.living("worker-1")) >= 3
    os.kill(cluster.processes["worker-1"].pid, signal.SIGKILL)
    await cluster.until_nothing_lives("worker-1")
    await cluster.server.hear_workers(since=len(cluster.server.heard))


async def test_a_worker_whose_fork_server_was_killed_starts_another(cluster: Agents) -> None:
    await start(cluster)
    async with cluster.client() as user:
        (pid,) = (await user.do("worker_pids")).values()
        os.kill(parent_of(pid), signal.SIGKILL)
        event = await cluster.server.hear("event")
        assert event["code"] == "worker_restarted"
        assert await user.do("compute", 100) == 5050


async def test_a_signal_ends_it_quickly_even_while_it_works(cluster: Agents) -> None:
    await start(cluster)
    async with cluster.client() as user:
        await user.do("start_sleep", 300)
        await cluster.server.hear("report", lambda message: message["active"])
        began = time.monotonic()
        os.killpg(cluster.processes["worker-1"].pid, signal.SIGTERM)
        assert await cluster.end_of("worker-1") == -signal.SIGTERM
        await cluster.until_nothing_lives("worker-1")
        assert time.monotonic() - began < 10
    assert not (cluster.directory / "worker-1.why").exists()


async def test_given_notice_by_a_signal_it_hands_over_what_nobody_could_compute_again(cluster: Agents) -> None:
    await cluster.start_scheduler()
    await cluster.start_workers("worker-1", "worker-2", leave_s=60)
    await cluster.until_ready("worker-1")
    async with cluster.client() as user:
        await user.do("hold_scattered", 100)
        cluster.processes["worker-1"].terminate()
        assert await cluster.end_of("worker-1") == -signal.SIGTERM
        assert await user.do("held") == 5050
    assert cluster.processes["worker-2"].poll() is None
    assert not any(message["op"] == "event" or message.get("retired") for message in cluster.server.heard), (
        "what took it, the backend knows"
    )


async def test_given_notice_together_none_waits_for_what_nobody_could_take(cluster: Agents) -> None:
    await cluster.start_scheduler()
    await cluster.start_workers("worker-1", "worker-2", leave_s=600)
    async with cluster.client() as user:
        await user.do("hold_scattered", 10)
        for name in ("worker-1", "worker-2"):
            await cluster.until_ready(name)
        for name in ("worker-1", "worker-2"):
            cluster.processes[name].terminate()
        for name in ("worker-1", "worker-2"):
            assert await cluster.end_of(name) == -signal.SIGTERM


async def test_given_notice_it_waits_no_longer_than_it_may_for_a_long_task(cluster: Agents) -> None:
    await ends_in_time(cluster, held=False)


async def test_given_notice_it_waits_no_longer_than_it_may_for_a_scheduler_that_does_not_answer(tmp_path: Path) -> None:
    async with agents(tmp_path) as cluster:
        await ends_in_time(cluster, held=True)


async def ends_in_time(cluster: Agents, *, held: bool) -> None:
    """A worker with a long task, asked to end. `held`: its scheduler answers nobody."""
    await cluster.start_scheduler()
    await cluster.start_workers("worker-1", "worker-2", leave_s=2)
    await cluster.until_ready("worker-1")
    async with cluster.client() as user:
        await user.do("start_many_sleeps", 2, 300)
        await cluster.server.hear("report", lambda message: [w["processing"] for w in message["workers"]] == [1, 1])
        if held:
            cluster.processes["scheduler"].send_signal(signal.SIGSTOP)
        began = time.monotonic()
        cluster.processes["worker-1"].terminate()
        assert await cluster.end_of("worker-1") == -signal.SIGTERM
        assert time.monotonic() - began < 2 + CLOSE_WITHIN_S + 5
    await cluster.until_nothing_lives("worker-1")


async def test_it_ends_by_itself_soon_after_its_scheduler(cluster: Agents) -> None:
    await start(cluster)
    async with cluster.client() as user:
        await user.do("compute", 1)
    cluster.processes["scheduler"].kill()
    if await cluster.end_of("worker-1") != 0:  # old releases take it for an order
        assert cluster.last_words("worker-1") == {
            "code": "worker_lost",
            "details": {"how": "the connection to its scheduler broke"},
        }
    await cluster.until_nothing_lives("worker-1")


async def test_a_worker_that_cannot_start_says_why(cluster: Agents) -> None:
    await cluster.start_scheduler()
    cluster.variables["DASK_DISTRIBUTED__WORKER__PRELOAD"] = "no_such_module"
    cluster.start("worker-1", cluster.worker_launch("worker-1"))
    assert await cluster.end_of("worker-1") == 1
    words = cluster.last_words("worker-1")
    assert words["code"] == "worker_start_failed"
    assert "No module named 'no_such_module'" in cluster.log("worker-1")
    assert words["details"]["how"] in (
        "ModuleNotFoundError: No module named 'no_such_module'",
        "its process ended before it was ready; its log says why",  # releases that lose the error on its way
    )
    await cluster.until_nothing_lives("worker-1")


async def test_a_worker_process_that_dies_at_its_start_says_how(cluster: Agents) -> None:
    await cluster.start_scheduler()
    (cluster.directory / "deadly.py").write_text("import os\nos._exit(9)\n")
    cluster.variables["DASK_DISTRIBUTED__WORKER__PRELOAD"] = str(cluster.directory / "deadly.py")
    cluster.start("worker-1", cluster.worker_launch("worker-1"))
    assert await cluster.end_of("worker-1") == 1
    assert cluster.last_words("worker-1") == {"code": "worker_start_failed", "details": {"how": "exit code 9"}}


async def test_a_nanny_that_missed_the_end_of_its_process_does_not_wait_for_it(cluster: Agents) -> None:
    await cluster.start_scheduler()
    (cluster.directory / "deadly.py").write_text("import os\nos._exit(9)\n")
    (cluster.directory / "inattentive.py").write_text(
        "import asyncio\n"
        "from distributed.nanny import WorkerProcess\n"
        "async def never(*_): await asyncio.sleep(3600)\n"
        "WorkerProcess._wait_until_connected = never\n"
    )
    cluster.variables["DASK_DISTRIBUTED__WORKER__PRELOAD"] = str(cluster.directory / "deadly.py")
    cluster.variables["DASK_DISTRIBUTED__NANNY__PRELOAD"] = str(cluster.directory / "inattentive.py")
    cluster.start("worker-1", cluster.worker_launch("worker-1"))
    assert await cluster.end_of("worker-1") == 1
    assert cluster.last_words("worker-1") == {"code": "worker_start_failed", "details": {"how": "exit code 9"}}
    assert "RuntimeError: the worker process ended" in cluster.log("worker-1"), "and not its time-out"


async def test_an_environment_that_cannot_even_be_imported_says_why(cluster: Agents) -> None:
    broken = cluster.directory / "broken"
    broken.mkdir()
    (broken / "distributed.py").write_text("raise ImportError('libfoo.so.3: cannot open shared object file')\n")
    cluster.variables["PYTHONPATH"] = str(broken)
    cluster.start("worker-1", cluster.worker_launch("worker-1"))
    assert await cluster.end_of("worker-1") == 1
    how = cluster.last_words("worker-1")["details"]["how"]
    assert how == "ImportError: libfoo.so.3: cannot open shared object file"
