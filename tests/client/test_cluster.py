"""A cluster behind a real server behaves as users know it from LocalCluster."""

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, fire_and_forget

from dask_sluice import AsyncGateway, Gateway, GatewayCluster, GatewayClusterError, GatewayWarning, StartTimedOut
from dask_sluice.client.comm import Transport
from dask_sluice.wire.errors import AuthenticationRequired, ClusterNotFound, OptionInvalid

from ..live import CONFIGURED, LiveServer, configured, until
from ..webhook import webhook


@pytest.fixture
def gateway(live_server: LiveServer) -> Iterator[Gateway]:
    with Gateway(live_server.url) as gateway:
        yield gateway


@pytest.fixture
def cluster(gateway: Gateway) -> Iterator[GatewayCluster]:
    with gateway.new_cluster(worker_memory=0.5) as cluster:
        yield cluster


def test_it_computes(cluster: GatewayCluster) -> None:
    with Client(cluster) as client:
        cluster.scale(2)
        client.wait_for_workers(2, timeout=30)
        assert client.submit(sum, range(10)).result(timeout=30) == 45


def test_variables_and_dasks_configuration_reach_every_process(gateway: Gateway) -> None:
    with gateway.new_cluster(worker_memory=0.5, **CONFIGURED) as cluster, cluster.get_client() as client:
        cluster.scale(2)
        client.wait_for_workers(2, timeout=30)
        assert configured(client) == {("bar", 0.5, 20)}
        assert client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.allowed_failures) == 20


def test_configuration_is_there_before_distributed_is_imported(gateway: Gateway) -> None:
    early = {"distributed.scheduler.default-data-size": "3 kB", "distributed.comm.offload": "2 MB"}
    with gateway.new_cluster(worker_memory=0.5, dask_config=early) as cluster, cluster.get_client() as client:
        cluster.scale(1)
        client.wait_for_workers(1, timeout=30)

        def kept() -> tuple[int, int]:
            from distributed import scheduler
            from distributed.comm import utils

            return scheduler.DEFAULT_DATA_SIZE, utils.OFFLOAD_THRESHOLD

        assert {client.run_on_scheduler(kept), *client.run(kept).values()} == {(3000, 2_000_000)}


@pytest.mark.parametrize("transport", ["proxy", "tunnel"])
def test_both_ways_lead_to_the_scheduler(
    live_server: LiveServer, cluster: GatewayCluster, transport: Transport
) -> None:
    with GatewayCluster.from_name(cluster.name, address=live_server.url, transport=transport) as again:
        client = again.get_client(set_as_default=False)
        cluster.scale(1)
        payload = bytes(3_000_000)
        assert client.submit(len, payload).result(timeout=60) == 3_000_000
        assert again.security is not None
        assert again.security.route.transport == transport


def test_two_objects_on_one_cluster_both_see_its_workers(gateway: Gateway, cluster: GatewayCluster) -> None:
    with gateway.connect(cluster.name) as second:
        cluster.scale(1)
        until(lambda: len(cluster.scheduler_info["workers"]) == 1, "the first sees the worker")
        until(lambda: len(second.scheduler_info["workers"]) == 1, "the second sees the worker")
    assert gateway.get_cluster(cluster.name).status == "running"


def test_wait_for_workers_and_logs_work_as_for_any_cluster(cluster: GatewayCluster) -> None:
    cluster.scale(1)
    cluster.wait_for_workers(1, timeout=30)
    logs = cluster.get_logs(lines=1000)
    assert list(logs) == ["Cluster", "Scheduler", "worker-1"]
    assert "asked for 1 worker" in logs["Cluster"]
    assert "Register worker" in logs["Scheduler"]
    assert cluster.get_logs(cluster=False, scheduler=False) == {"worker-1": logs["worker-1"]}
    assert list(cluster.get_logs(workers=False)) == ["Cluster", "Scheduler"]
    assert "GatewayCluster" in cluster._repr_html_()


def test_a_limit_warns_with_both_numbers(cluster: GatewayCluster) -> None:
    with pytest.warns(GatewayWarning, match="10000 workers were asked for; the limit is"):
        cluster.adapt(minimum=0, maximum=10000)
    cluster.adapt(active=False)


def test_what_happened_is_told_in_order(cluster: GatewayCluster) -> None:
    codes = [event.code for event in cluster.events()]
    assert codes[0] == "created"
    assert codes[-1] == "running"


def test_variables_that_cannot_be_are_left_out_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "server.yaml"
    path.write_text(
        'backend: {kind: fake}\noptions: {env: {type: mapping, sets: {variables: "{options.env}"}}}\n', encoding="utf-8"
    )
    with LiveServer(tmp_path, "--config", str(path)) as server, Gateway(server.url) as gateway:
        with pytest.warns(GatewayWarning, match="variables were left out.*'BASH_FUNC_module%%'"):
            name = gateway.submit(env={"BASH_FUNC_module%%": "() { eval; }", "GOOD": "1"})
        gateway.stop_cluster(name)


def test_a_wrong_option_does_not_travel(gateway: Gateway) -> None:
    with pytest.raises(OptionInvalid, match="Did you mean 'worker_memory'"):
        gateway.new_cluster(worker_mem=3)
    with pytest.raises(OptionInvalid, match="worker_memory must be <="):
        gateway.new_cluster(worker_memory=1_000_000)
    with pytest.raises(TypeError, match="cluster_options"):
        gateway.new_cluster(["worker_memory"])  # type: ignore[call-overload]


def test_a_dry_run_says_what_a_cluster_would_get_and_starts_nothing(gateway: Gateway) -> None:
    before = [report.name for report in gateway.list_clusters()]
    plan = gateway.new_cluster(worker_memory=0.5, idle_timeout="20min", dry_run=True)
    assert (plan.worker.memory_bytes, plan.idle_s) == (2**29, 1200.0)
    assert "option worker_memory" in repr(plan)
    with pytest.raises(OptionInvalid):
        gateway.new_cluster(worker_memory=1_000_000, dry_run=True)
    with pytest.raises(ValueError, match="/nowhere"):
        gateway.new_cluster(environment="/nowhere", dry_run=True)
    assert {report.name for report in gateway.list_clusters()} <= set(before)


def test_a_start_that_takes_too_long_says_what_it_waited_for(gateway: Gateway) -> None:
    with pytest.raises(StartTimedOut, match="was not running after 0 s: "):
        gateway.new_cluster(timeout=0)
    until(lambda: not gateway.list_clusters(), "the cluster that was given up is stopped")


def test_an_environment_that_cannot_run_a_cluster_is_refused(gateway: Gateway) -> None:
    with pytest.raises(ValueError, match="/nowhere"):
        gateway.new_cluster(environment="/nowhere")


def test_another_name_is_unknown(gateway: Gateway) -> None:
    with pytest.raises(ClusterNotFound, match="nobody-1"):
        gateway.connect("nobody-1")


def test_a_wrong_token_is_refused(live_server: LiveServer) -> None:
    with Gateway(live_server.address + "/?token=wrong") as gateway, pytest.raises(AuthenticationRequired):
        gateway.list_clusters()


def test_a_cluster_that_has_ended_cannot_be_joined_and_says_why(gateway: Gateway) -> None:
    name = gateway.submit()
    gateway.stop_cluster(name)
    with pytest.raises(GatewayClusterError, match="stopped by"):
        gateway.connect(name)


def test_without_a_name_the_newest_is_joined_that_is_not_ending(own_server: LiveServer) -> None:
    with Gateway(own_server.url) as gateway:
        with pytest.raises(ClusterNotFound, match="you have no cluster to connect to"):
            gateway.connect()
        with gateway.new_cluster(quiet=True) as older:
            gateway.stop_cluster(gateway.submit())
            with gateway.connect() as again:
                assert again.name == older.name
                again.scale(1)
                with again.get_client(set_as_default=False) as client:
                    assert client.submit(sum, (1, 2)).result(timeout=60) == 3
            assert gateway.get_cluster(older.name).status == "running"


def test_close_twice_and_after_the_gateway(live_server: LiveServer) -> None:
    gateway = Gateway(live_server.url)
    cluster = gateway.new_cluster()
    client = cluster.get_client(set_as_default=False)
    gateway.close()
    gateway.close()
    cluster.close()
    cluster.close()
    client.close()
    assert cluster.status.name == "closed"


def test_client_shutdown_ends_the_cluster_and_does_not_hang(gateway: Gateway) -> None:
    cluster = gateway.new_cluster()
    Client(cluster, set_as_default=False).shutdown()
    until(lambda: gateway.get_cluster(cluster.name).status in ("stopping", "stopped"), "the cluster is stopped")
    cluster.close()


def test_without_shutdown_on_close_the_cluster_goes_on(gateway: Gateway) -> None:
    with gateway.new_cluster(shutdown_on_close=False) as cluster:
        pass
    assert gateway.get_cluster(cluster.name).status == "running"
    gateway.stop_cluster(cluster.name)


async def test_the_same_with_async_and_await(live_server: LiveServer) -> None:
    async with Gateway(live_server.url, asynchronous=True) as gateway:
        options: Any = await gateway.cluster_options()  # type: ignore[attr-defined]
        async with gateway.new_cluster(options) as cluster:
            await cluster.scale(1)
            async with Client(cluster, asynchronous=True, set_as_default=False) as client:
                assert await client.submit(sum, range(10)) == 45
    async with AsyncGateway(live_server.url) as plain:
        assert cluster.name not in [view.name for view in await plain.views("running")]


async def test_a_create_that_is_cancelled_leaves_nothing(live_server: LiveServer) -> None:
    async with AsyncGateway(live_server.url) as gateway:
        before = {view.name for view in await gateway.views()}
        for delay_s in (0, 0.001, 0.003, 0.005, 0.01, 0.02):
            creating = asyncio.ensure_future(gateway.create({}))
            await asyncio.sleep(delay_s)
            if creating.cancel():
                with contextlib.suppress(asyncio.CancelledError):
                    await creating
            else:
                await gateway.stop_cluster(creating.result().name)
        left = {view.name for view in await gateway.views() if view.state.is_active}
        assert left <= before


@pytest.mark.parametrize("ending", ["", "raise SystemExit(3)", "del cluster", "gateway.close()"])
def test_the_end_of_a_program_stops_its_cluster_without_a_word(live_server: LiveServer, ending: str) -> None:
    program = f"""
from dask_sluice import Gateway
gateway = Gateway({live_server.url!r})
cluster = gateway.new_cluster()
client = cluster.get_client()
print(cluster.name)
{ending}
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.stderr == ""
    with Gateway(live_server.url) as gateway:
        name = ended.stdout.strip()
        until(lambda: gateway.get_cluster(name).status == "stopped", "the cluster is stopped")


def test_a_dead_server_does_not_hold_up_close(own_server: LiveServer) -> None:
    gateway = Gateway(own_server.url)
    cluster = gateway.new_cluster()
    own_server.kill()
    closing = threading.Thread(target=cluster.close, daemon=True)
    closing.start()
    closing.join(10)
    assert not closing.is_alive()
    gateway.close()
    own_server.start()


def test_a_run_goes_on_without_its_user_who_is_told_of_its_end(tmp_path: Path) -> None:
    result = tmp_path / "result"

    def work(path: str) -> None:
        import time

        time.sleep(2)
        Path(path).write_text("done", encoding="utf-8")

    with webhook() as hook:
        settings = tmp_path / "sluice.yaml"
        settings.write_text(f"notices: {{url: '{hook.url}', headers: {{Authorization: Bearer abc}}}}", encoding="utf-8")
        with LiveServer(tmp_path, "--config", str(settings)) as server:
            with Gateway(server.url) as gateway:
                cluster = gateway.new_cluster(worker_memory=0.5, shutdown_on_close=False)
                with cluster, cluster.get_client() as client:
                    cluster.scale(1)
                    client.wait_for_workers(1, timeout=30)
                    fire_and_forget(client.submit(work, str(result)))
            assert not result.exists()
            until(result.exists, "the work is done")
            with Gateway(server.url) as gateway:
                gateway.stop_cluster(cluster.name)
                until(lambda: hook.taken, "the webhook is told")
        (told,) = hook.taken
        assert (told["cluster"], told["what"], told["code"]) == (cluster.name, "ended", "stopped_by_user")
        assert hook.received[0]["Authorization"] == "Bearer abc"


def test_what_was_closed_says_so_and_closes_again(live_server: LiveServer) -> None:
    gateway = Gateway(live_server.url)
    gateway.close()
    for use in (gateway.list_clusters, gateway.new_cluster, gateway.cluster_options):
        with pytest.raises(RuntimeError, match="was closed: make a new Gateway"):
            use()
    gateway.close()


def test_a_cluster_that_is_stopped_by_its_name_warns_nobody_here_and_its_clients_close(live_server: LiveServer) -> None:
    with Gateway(live_server.url) as gateway:
        cluster = gateway.new_cluster(worker_memory=0.5)
        client = cluster.get_client(set_as_default=False)
        gateway.stop_cluster(cluster.name)
        until(lambda: client.status == "closed", "the client has closed")
        cluster.close()
