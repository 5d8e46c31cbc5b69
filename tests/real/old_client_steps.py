"""What a user of an old notebook does, with the `dask_gateway` that is installed: a program, run in its environment.

    python old_client_steps.py sync|async ADDRESS TOKEN ENVIRONMENT

Prints the name of its cluster and ends with 0 when every step did what that release documents. Runs on Python 3.9.
"""

import asyncio
import base64
import sys
import urllib.request
from typing import Any

import dask.array as da
from dask_gateway import BasicAuth, Gateway, GatewayCluster
from distributed import Client


def check(holds: bool, what: object) -> None:
    """Like assert, but also under -O."""
    if not holds:
        raise AssertionError(what)


def status_of(link: str, token: str) -> int:
    login = base64.b64encode(f"me:{token}".encode()).decode()
    request = urllib.request.Request(link, headers={"Authorization": f"Basic {login}"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return int(answer.status)


def sync_steps(address: str, token: str, environment: str) -> None:
    auth = BasicAuth(password=token)
    gateway = Gateway(address, auth=auth)
    options = gateway.cluster_options()
    check({"worker_cores", "worker_memory", "worker_threads", "environment"} <= set(options), list(options))
    options.worker_memory = 1
    options.environment = environment
    before = {report.name for report in gateway.list_clusters()}

    cluster = gateway.new_cluster(options)
    print(cluster.name, flush=True)
    check({report.name for report in gateway.list_clusters()} == before | {cluster.name}, "the list lacks it")
    check(gateway.get_cluster(cluster.name).options["worker_memory"] == 1, "options are not told")

    client = cluster.get_client()
    cluster.scale(2)
    client.run_on_scheduler(until, 2)  # client.wait_for_workers: the client of 2023.9 breaks on its own distributed
    check(da.ones((1000, 1000), chunks=(250, 250)).sum().compute() == 1e6, "a wrong sum")
    check(len(client.scheduler_info()["workers"]) == 2, "not two workers")

    second = GatewayCluster.from_name(cluster.name, address=address, auth=auth, shutdown_on_close=False)
    other = second.get_client(set_as_default=False)
    check(other.submit(sum, [1, 2, 3], pure=False).result() == 6, "the second object computes wrongly")
    other.close()
    second.close()

    check(status_of(cluster.dashboard_link, token) == 200, "the dashboard does not answer")

    cluster.adapt(minimum=1, maximum=3)
    check(client.submit(sum, [1, 2], pure=False).result() == 3, "no sum while adaptive")
    cluster.scale(0)
    client.run_on_scheduler(until, 0)
    client.close()

    gateway.stop_cluster(cluster.name)
    cluster.close()
    check(cluster.name not in {report.name for report in gateway.list_clusters()}, "it is still listed")


async def until(count: int, dask_scheduler: Any) -> None:
    """In the scheduler: until it has so many workers."""
    while len(dask_scheduler.workers) != count:  # noqa: ASYNC110 - distributed has no event for it
        await asyncio.sleep(0.02)


async def async_steps(address: str, token: str, environment: str) -> None:
    async with Gateway(address, auth=BasicAuth(password=token), asynchronous=True) as gateway:
        options = await gateway.cluster_options()
        options.environment = environment
        async with await gateway.new_cluster(options, shutdown_on_close=True) as cluster:
            print(cluster.name, flush=True)
            async with Client(cluster, asynchronous=True) as client:
                await cluster.scale(1)
                check(await client.submit(sum, [1, 2, 3]) == 6, "a wrong sum")
            await cluster.adapt(minimum=0, maximum=1)
        names = {report.name for report in await gateway.list_clusters()}
        check(cluster.name not in names, "it is still listed")


if __name__ == "__main__":
    how, *arguments = sys.argv[1:]
    if how == "sync":
        sync_steps(*arguments)
    else:
        asyncio.run(async_steps(*arguments))
