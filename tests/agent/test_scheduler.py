"""A scheduler's agent tells the server how things are and does what it is told, link or no link.

Real processes, started as a backend does; the server is a small one of the tests.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
import urllib.request

import pytest

from .harness import PATIENCE_S, TOKEN, Agents


def names(message: dict[str, object]) -> set[str]:
    workers = message["workers"]
    assert isinstance(workers, list)
    return {worker["name"] for worker in workers}


async def test_a_scheduler_says_where_it_listens_and_proves_who_it_is(cluster: Agents) -> None:
    hello = await cluster.start_scheduler()
    assert hello["cluster"] == "c1"
    assert hello["pid"] == cluster.processes["scheduler"].pid
    assert set(hello["versions"]) == {"python", "distributed", "dask"}
    assert cluster.server.authorizations == [f"Bearer {TOKEN}"]
    for port in (hello["scheduler_port"], hello["dashboard_port"]):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()


async def test_workers_and_clients_are_reported_as_they_come_and_go(cluster: Agents) -> None:
    await cluster.start_scheduler()
    report = await cluster.start_workers("worker-1", threads=2)
    assert [(worker["name"], worker["nthreads"]) for worker in report["workers"]] == [("worker-1", 2)]
    async with cluster.client() as user:
        await cluster.server.hear("report", lambda message: message["clients"] == 1)
        assert await user.do("compute", 100) == 5050
    heard = len(cluster.server.heard)
    await cluster.server.hear("report", lambda message: message["clients"] == 0, since=heard)
    os.killpg(cluster.processes["worker-1"].pid, signal.SIGKILL)
    await cluster.server.hear_workers(since=heard)


async def test_of_a_worker_that_goes_the_memory_is_told_that_it_used_last_not_when_it_was_reported_before(
    cluster: Agents,
) -> None:
    await cluster.start_scheduler()
    (reported,) = (await cluster.start_workers("worker-1"))["workers"]
    await cluster.server.say("welcome", report_every_s=3600, adaptive_every_s=3600)
    async with cluster.client() as user:
        await user.do("hold_bytes", 200_000_000)
        heard = len(cluster.server.heard)
        os.killpg(cluster.processes["worker-1"].pid, signal.SIGKILL)
        report = await cluster.server.hear("report", lambda message: message["left"], since=heard)
    (left,) = report["left"]
    assert left["name"] == "worker-1"
    assert left["memory_used"] > reported["memory_used"] + 150_000_000


async def test_work_makes_a_scheduler_active_and_its_end_idle(cluster: Agents) -> None:
    await cluster.start_scheduler()
    first = await cluster.server.hear("report")
    assert not first["active"]
    assert abs(time.time() - first["idle_since"]) < 60
    async with cluster.client() as user:
        await user.do("start_sleep", 0.5)  # without a worker: it waits
        active = await cluster.server.hear("report", lambda message: message["active"])
        assert active["idle_since"] is None
        assert active["tasks"] == 1
        heard, began = len(cluster.server.heard), time.time()
        await cluster.start_workers("worker-1")
        idle = await cluster.server.hear("report", lambda message: not message["active"], since=heard)
        assert idle["idle_since"] > began
        assert idle["idle_since"] > first["idle_since"]


async def test_retiring_a_worker_moves_its_data_first(cluster: Agents) -> None:
    await cluster.start_scheduler()
    await cluster.start_workers("worker-1", "worker-2")
    async with cluster.client() as user:
        await user.do("hold", 100)
        await cluster.server.say("retire", names=["worker-1"], count=0)
        report = await cluster.server.hear("report", lambda message: message["retired"] == ["worker-1"])
        assert names(report) == {"worker-2"}
        assert await cluster.end_of("worker-1") == 0
        assert await user.do("held") == 5050
    assert cluster.processes["worker-2"].poll() is None


async def test_the_last_worker_is_retired_although_nobody_can_take_its_data(cluster: Agents) -> None:
    await cluster.start_scheduler()
    await cluster.start_workers("worker-1")
    async with cluster.client() as user:
        await user.do("hold", 10)
        await cluster.server.say("retire", names=["worker-1"], count=0)
        await cluster.server.hear("report", lambda message: message["retired"] == ["worker-1"])
    assert await cluster.end_of("worker-1") == 0


async def test_a_worker_whose_data_cannot_move_yet_is_tried_again(cluster: Agents) -> None:
    hello = await cluster.start_scheduler()
    if hello["versions"]["distributed"].startswith("2022"):
        pytest.skip("actors do not keep a worker from being retired in that release")
    await cluster.start_workers("worker-1", "worker-2")
    async with cluster.client() as user:
        held_by = await user.do("hold_actor")
        await cluster.server.say("retire", names=[held_by], count=0)
        async with asyncio.timeout(PATIENCE_S):
            while "can't be moved" not in cluster.log("scheduler"):  # noqa: ASYNC110 - a log has no event
                await asyncio.sleep(0.02)
        assert cluster.processes[held_by].poll() is None
        await user.do("let_go")
        report = await cluster.server.hear("report", lambda message: message["retired"] == [held_by])
        assert names(report) == {"worker-1", "worker-2"} - {held_by}


async def test_when_all_go_at_different_times_none_waits_for_another(cluster: Agents) -> None:
    await cluster.start_scheduler()
    await cluster.start_workers("worker-1", "worker-2")
    async with cluster.client() as user:
        await user.do("hold", 10)
        await cluster.server.say("retire", names=["worker-1"], count=0)
        await cluster.server.say("retire", names=["worker-2"], count=0)
        await cluster.server.hear("report", lambda message: set(message["retired"]) == {"worker-1", "worker-2"})


async def test_exactly_as_many_are_retired_as_were_asked_for(cluster: Agents) -> None:
    await cluster.start_scheduler()
    await cluster.start_workers("worker-1", "worker-2", "worker-3")
    await cluster.server.say("retire", names=["worker-9"], count=2)
    report = await cluster.server.hear("report", lambda message: bool(message["retired"]))
    assert len(report["retired"]) == 2
    assert len(names(report)) == 1
    assert names(report) | set(report["retired"]) == {"worker-1", "worker-2", "worker-3"}


async def test_a_warning_reaches_whoever_works_with_the_cluster(cluster: Agents) -> None:
    hello = await cluster.start_scheduler()
    if hello["versions"]["distributed"].startswith("2022"):
        pytest.skip("clients of that release show no warnings of schedulers")
    async with cluster.client() as user:
        await cluster.server.hear("report", lambda message: message["clients"] == 1)
        await cluster.server.say("warn", message="cluster c1 will be stopped in 15 min")
        assert await user.do("first_warning") == "cluster c1 will be stopped in 15 min"


async def test_told_to_stop_it_ends_well_and_its_workers_with_it(cluster: Agents) -> None:
    await cluster.start_scheduler()
    await cluster.start_workers("worker-1")
    await cluster.until_ready("worker-1")
    await cluster.server.say("stop", reason="stopped by alice")
    assert await cluster.end_of("scheduler") == 0
    assert await cluster.end_of("worker-1") == 0
    assert "asked to stop: stopped by alice" in cluster.log("scheduler")
    assert not (cluster.directory / "scheduler.why").exists()


async def test_a_client_may_shut_the_cluster_down(cluster: Agents) -> None:
    await cluster.start_scheduler()
    await cluster.start_workers("worker-1")
    async with cluster.client() as user:
        await user.do("shutdown")
        assert await cluster.end_of("scheduler") == 0
        assert await cluster.end_of("worker-1") == 0


async def test_without_a_server_it_works_on_and_tells_everything_anew_when_it_is_back(cluster: Agents) -> None:
    server = cluster.server
    await cluster.start_scheduler()
    await cluster.start_workers("worker-1")
    async with cluster.client() as user:
        await server.close()
        cluster.launch_workers("worker-2")
        assert await user.do("compute", 100) == 5050
        heard = len(server.heard)
        await server.open()
        assert (await server.hear("hello", since=heard))["cluster"] == "c1"
        await server.hear_workers("worker-1", "worker-2", since=heard)
        await server.say("retire", names=["worker-1"], count=0)
        await server.hear("report", lambda message: message["retired"] == ["worker-1"], since=heard)


async def test_what_happened_without_a_link_is_told_on_the_next(cluster: Agents) -> None:
    server = cluster.server
    await cluster.start_scheduler()
    await cluster.start_workers("worker-1")
    async with cluster.client() as user:
        await server.close()
        (before,) = (await user.do("worker_pids")).values()
        os.kill(before, signal.SIGKILL)
        await user.do("wait_for_another_process", before)
        heard = len(server.heard)
        await server.open()
        event = await server.hear("event", since=heard)
        assert (event["subject"], event["code"]) == ("worker-1", "worker_restarted")


async def test_adaptive_scaling_wishes_for_workers_and_wishes_them_away_again(cluster: Agents) -> None:
    server = cluster.server
    await cluster.start_scheduler()
    await server.say("wanted", count=0)
    await server.say("adapt", minimum=0, maximum=2)
    async with cluster.client() as user:
        await user.do("start_many_sleeps", 40, 0.05)
        wish = await server.hear("wish")
        assert wish["count"] in (1, 2)
        assert wish["why"].startswith("40 tasks wait")
        await server.say("wanted", count=wish["count"])
        await cluster.start_workers(*(f"worker-{number}" for number in range(wish["count"])))
        await user.do("let_go")
        wish = await server.hear("wish", lambda message: message["count"] == 0)
        assert wish["why"] == "nothing to do for 0.3 s"


async def test_the_dashboard_is_there_when_its_first_page_is_asked_for(cluster: Agents) -> None:
    hello = await cluster.start_scheduler()

    def status_of(path: str) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{hello['dashboard_port']}{path}", timeout=30) as answer:
            return int(answer.status)

    for path in ("/health", "/status", "/", "/individual-workers"):
        assert await asyncio.to_thread(status_of, path) == 200, path


async def test_a_signal_ends_it_and_is_seen_from_outside(cluster: Agents) -> None:
    await cluster.start_scheduler()
    cluster.processes["scheduler"].terminate()
    assert await cluster.end_of("scheduler") == -signal.SIGTERM


async def test_what_a_newer_server_says_is_ignored(cluster: Agents) -> None:
    server = cluster.server
    await cluster.start_scheduler()
    await server.say("rotate", certificate="...")
    await server.say("adapt", bounds="other ones")
    await server.say("wanted", count="many")
    await server.say("stop", reason="enough")
    assert await cluster.end_of("scheduler") == 0
    assert "'adapt' is not understood: KeyError: 'minimum'" in cluster.log("scheduler")


async def test_a_scheduler_that_cannot_listen_says_why(cluster: Agents) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        cluster.start("scheduler", cluster.scheduler_launch(port=taken.getsockname()[1]))
        assert await cluster.end_of("scheduler") == 1
    words = cluster.last_words("scheduler")
    assert words["code"] == "scheduler_start_failed"
    assert "ddress already in use" in words["details"]["how"]
