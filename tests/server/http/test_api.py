"""The v2 API as `wire/api.py` and `openapi.json` describe it: what is taken, what is answered, what is refused."""

from __future__ import annotations

import asyncio
import dataclasses

from dask_sluice.server.http.v2.bodies import AdaptBody, CreateBody, ScaleBody
from dask_sluice.wire import api
from dask_sluice.wire.options import Option
from dask_sluice.wire.states import ClusterState

from .site import Site
from .test_error_shape import problem


def test_bodies_have_the_fields_of_the_wire_types() -> None:
    for body, wire in ((CreateBody, api.CreateRequest), (ScaleBody, api.ScaleRequest), (AdaptBody, api.AdaptRequest)):
        assert set(body.model_fields) == {field.name for field in dataclasses.fields(wire)}


async def test_the_server_says_who_it_takes_the_caller_for(site: Site) -> None:
    async with site.client("root") as client:
        info = api.read(api.ServerInfo, (await client.get("/api/v2/")).json())
    assert info == api.ServerInfo(version="1.2.3", user="root", is_admin=True, backend="fake")


async def test_options_are_published_as_both_ends_check_them(site: Site) -> None:
    async with site.client("ada") as client:
        names = [Option(**option).name for option in (await client.get("/api/v2/options")).json()]
    assert names == ["worker_cores", "worker_memory", "worker_threads", "environment", "variables", "dask_config"]


async def test_a_cluster_is_made_waited_for_scaled_and_stopped(site: Site) -> None:
    async with site.client("ada") as client:
        answer = await client.post("/api/v2/clusters", json={"options": {"worker_memory": 3}})
        assert answer.status_code == 201
        view = api.read(api.ClusterView, answer.json())
        assert (view.owner, view.options["worker_memory"], view.workers.wanted) == ("ada", 3.0, 0)
        path = f"/api/v2/clusters/{view.name}"
        while view.state is not ClusterState.RUNNING:
            waited = await client.get(f"{path}/wait", params={"after_version": view.version, "timeout_s": 10})
            later = api.read(api.ClusterView, waited.json())
            assert later.version > view.version
            view = later
        assert view.dashboard_path == f"/clusters/{view.name}/status"
        assert view.server_name == f"daskgateway-{view.name}"
        scaled = api.read(api.ScaleAnswer, (await client.post(f"{path}/scale", json={"count": 2})).json())
        assert (scaled.cluster.workers.wanted, scaled.message) == (2, "")
        await site.core.until_workers(view.name, 2)
        workers = [api.read(api.WorkerView, worker) for worker in (await client.get(f"{path}/workers")).json()]
        assert [str(worker.state) for worker in workers] == ["running", "running"]
        adapted = (await client.post(f"{path}/adapt", json={"minimum": 1, "maximum": 3})).json()
        assert adapted["cluster"]["adaptive"] == {"minimum": 1, "maximum": 3}
        stopped = await client.delete(path)
        assert stopped.status_code == 202
        await site.core.until(view.name, ClusterState.STOPPED)
        again = api.read(api.ClusterView, (await client.delete(path)).json())
        assert again.reason.sentence == "stopped by ada"


async def test_a_repeated_create_gives_the_same_cluster(site: Site) -> None:
    async with site.client("ada", headers={"Idempotency-Key": "k1"}) as client:
        first, second = [await client.post("/api/v2/clusters", json={}) for _ in range(2)]
        assert (first.status_code, second.status_code) == (201, 200)
        assert first.json()["name"] == second.json()["name"]
        other = await client.post("/api/v2/clusters", json={"options": {"worker_cores": 2}})
        assert problem(other, 409)["code"] == "idempotency_conflict"


async def test_the_list_shows_what_has_not_ended_unless_states_are_named(site: Site) -> None:
    running, stopped = await site.core.running(), await site.core.running()
    await site.core.control.stop(site.core_caller("ada"), stopped.name)
    await site.core.until(stopped.name, ClusterState.STOPPED)
    async with site.client("ada") as client:

        async def names(query: str = "") -> list[str]:
            return [cluster["name"] for cluster in (await client.get(f"/api/v2/clusters{query}")).json()]

        assert await names() == [running.name]
        assert await names("?state=stopped") == [stopped.name]
        assert set(await names("?state=Running,stopped")) == {running.name, stopped.name}
        wrong = problem(await client.get("/api/v2/clusters?state=runing"), 422)
        assert "pending, starting, running" in wrong["detail"]


async def test_only_administrators_see_everybodys_clusters(site: Site) -> None:
    name = (await site.core.new()).name
    for user, seen in (("grace", []), ("root", [name])):
        async with site.client(user) as client:
            assert [cluster["name"] for cluster in (await client.get("/api/v2/clusters?all=1")).json()] == seen


async def test_a_wait_ends_when_the_server_stops(site: Site) -> None:
    record = await site.core.running()
    async with site.client("ada") as client:
        path = f"/api/v2/clusters/{record.name}/wait?after_version={record.version + 100}"
        waiting = asyncio.create_task(client.get(path))
        await asyncio.sleep(0)
        site.services.stopping.set()
        assert (await asyncio.wait_for(waiting, 5)).json()["name"] == record.name


async def test_a_limit_that_cuts_a_request_is_told(site: Site) -> None:
    record = await site.core.running()
    limit = record.spec.max_workers
    async with site.client("ada") as client:
        answer = (await client.post(f"/api/v2/clusters/{record.name}/scale", json={"count": limit + 5})).json()
    assert answer["cluster"]["workers"]["wanted"] == limit
    assert answer["message"].startswith(f"{limit + 5} workers were asked for; the limit is {limit}")


async def test_credentials_and_logs_of_a_running_cluster(site: Site) -> None:
    record = await site.core.running(workers=1)
    path = f"/api/v2/clusters/{record.name}"
    async with site.client("ada") as client:
        answer = await client.get(f"{path}/credentials")
        assert answer.headers["cache-control"] == "no-store"
        assert "PRIVATE KEY" in api.read(api.Credentials, answer.json()).key
        scheduler = await client.get(f"{path}/logs")
        assert scheduler.headers["content-type"].startswith("text/plain")
        assert "scheduler" in scheduler.text
        assert "running" in (await client.get(f"{path}/logs", params={"worker": record.workers[0].name})).text
        assert problem(await client.get(f"{path}/logs", params={"worker": "none"}), 422)
    async with site.client("root") as client:
        assert (await client.get(path)).status_code == 200
        assert problem(await client.get(f"{path}/credentials"), 404), "to connect is to run code as the owner"
