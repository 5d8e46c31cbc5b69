"""dask-gateway's API, to the key, status and word, as its clients from 2022.4 to 2026.3 need it."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509

from dask_sluice.server.backends.fake import PRESETS, Dials, JobDials
from dask_sluice.server.http.v1.shapes import STATUS, option_json
from dask_sluice.wire.options import Option, OptionType
from dask_sluice.wire.states import ClusterState

from ..core import ADA
from .site import Site, running_site, token

KEYS = {"name", "dashboard_route", "status", "start_time", "stop_time", "options", "tls_cert", "tls_key"}
CLUSTERS = "/api/v1/clusters/"


async def make(client: httpx.AsyncClient, **options: Any) -> str:
    answer = await client.post(CLUSTERS, json={"cluster_options": options})
    assert (answer.status_code, set(answer.json())) == (201, {"name"})
    return str(answer.json()["name"])


async def test_health_and_version_need_no_login(site: Site) -> None:
    async with site.client() as client:
        assert (await client.get("/api/health")).json() == {"status": "pass"}
        assert (await client.get("/api/version")).json() == {"version": "1.2.3"}


async def test_a_client_logs_in_once_and_goes_on_with_the_cookie(site: Site) -> None:
    async with site.client() as client:
        assert (await client.get("/api/v1/options")).status_code == 401
        first = await client.get("/api/v1/options", auth=("ada", "lovelace"))
        cookie = first.headers["set-cookie"]
        assert cookie.startswith(site.cookie + "=")
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert "Path=/" in cookie
        assert "Secure" not in cookie
        second = await client.get("/api/v1/options")
        assert second.status_code == 200
        assert "set-cookie" not in second.headers


async def test_the_cookie_comes_with_failures_too_and_is_secure_behind_https(site: Site) -> None:
    async with site.client("ada", headers={"X-Forwarded-Proto": "https"}) as client:
        answer = await client.get(CLUSTERS + "none")
    assert answer.status_code == 404
    assert "Secure" in answer.headers["set-cookie"]


async def test_a_stock_client_of_another_account_comes_in_with_the_token_as_password(tmp_path: Path) -> None:
    async with running_site(tmp_path, authenticator=token()) as site, site.client() as client:
        for auth in (httpx.BasicAuth("somebody", "a-token"), httpx.BasicAuth("", "a-token")):
            assert (await client.get("/api/v1/options", auth=auth)).status_code == 200
        hub = await client.get("/api/v1/options", headers={"Authorization": "jupyterhub a-token"})
        assert hub.status_code == 200


async def test_options_are_described_as_the_clients_take_them(site: Site) -> None:
    async with site.client("ada") as client:
        (options,) = (await client.get("/api/v1/options")).json().values()
    assert [set(option) for option in options] == [{"field", "label", "default", "spec"}] * len(options)
    by_field = {option["field"]: option for option in options}
    assert by_field["worker_cores"]["spec"].keys() == {"type", "min", "max"}
    assert by_field["worker_threads"]["spec"]["type"] == "int"
    assert by_field["environment"]["spec"] == {"type": "string"}


def test_each_type_of_option_has_the_keys_of_its_own_and_no_other() -> None:
    def spec(kind: OptionType, **fields: Any) -> dict[str, Any]:
        described: dict[str, Any] = option_json(Option("x", kind, None, **fields))["spec"]
        return described

    assert spec(OptionType.INT, minimum=1, maximum=2) == {"type": "int", "min": 1, "max": 2}
    assert spec(OptionType.FLOAT) == {"type": "float", "min": None, "max": None}
    assert spec(OptionType.SELECT, choices=("a", "b")) == {"type": "select", "options": ["a", "b"]}
    assert [spec(kind) for kind in (OptionType.STRING, OptionType.BOOL, OptionType.MAPPING)] == [
        {"type": "string"},
        {"type": "bool"},
        {"type": "mapping"},
    ]


def test_bounds_of_a_whole_number_are_whole_numbers() -> None:
    """`Integer` of the clients fails on 1.0, before a user can say anything."""
    spec = option_json(Option("x", OptionType.INT, 1, minimum=0.5, maximum=3.0))["spec"]
    assert (spec["min"], spec["max"]) == (1, 3)
    assert type(spec["min"]) is type(spec["max"]) is int


async def test_a_cluster_has_exactly_the_keys_that_the_clients_know(site: Site) -> None:
    async with site.client("ada") as client:
        name = await make(client, worker_memory=3)
        running = (await client.get(f"{CLUSTERS}{name}?wait")).json()
        assert set(running) == KEYS
        assert (running["status"], running["stop_time"]) == ("RUNNING", None)
        assert running["options"]["worker_memory"] == 3.0
        assert running["dashboard_route"] == f"/clusters/{name}/status"
        assert abs(running["start_time"] / 1000 - time.time()) < 60
        listed = (await client.get(CLUSTERS)).json()
        assert set(listed) == {name}
        assert listed == {name: running | {"tls_cert": None, "tls_key": None}}, "a list hands out no keys"
        assert (await client.delete(CLUSTERS + name)).status_code == 204
        await site.core.until(name, ClusterState.STOPPED)
        ended = (await client.get(CLUSTERS + name)).json()
        assert set(ended) == KEYS
        assert (ended["status"], ended["tls_cert"], ended["tls_key"], ended["dashboard_route"]) == (
            "STOPPED",
            None,
            None,
            None,
        )
        assert ended["stop_time"] >= ended["start_time"]


async def test_one_text_serves_as_certificate_and_as_authority(site: Site, tmp_path: Path) -> None:
    """The clients give `tls_cert` to OpenSSL as both; from Python 3.13 on with strict checks."""
    record = await site.core.running()
    async with site.client("ada") as client:
        cluster = (await client.get(CLUSTERS + record.name)).json()
    certificates = x509.load_pem_x509_certificates(cluster["tls_cert"].encode())
    assert len(certificates) == 2
    assert certificates[0].issuer == certificates[1].subject
    cert, key = tmp_path / "dask.crt", tmp_path / "dask.pem"
    cert.write_text(cluster["tls_cert"])
    key.write_text(cluster["tls_key"])
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(cert))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_cert_chain(str(cert), str(key))


async def test_the_list_goes_by_status(site: Site) -> None:
    running, stopped = (await site.core.running()).name, (await site.core.running()).name
    await site.core.control.stop(ADA, stopped)
    await site.core.until(stopped, ClusterState.STOPPED)
    site.core.backend.dials = Dials(scheduler=JobDials(connect_after_s=None))
    pending = (await site.core.new()).name
    async with site.client("ada") as client:

        async def names(query: str) -> set[str]:
            return set((await client.get(CLUSTERS + query)).json())

        assert await names("") == await names("?status=PENDING,RUNNING") == {pending, running}
        assert await names("?status=pending") == {pending}
        assert await names("?status=STOPPED") == {stopped}
        assert await names("?status=FAILED") == set()


async def test_an_unknown_status_is_refused_in_dask_gateways_words(site: Site) -> None:
    async with site.client("ada") as client:
        answer = await client.get(f"{CLUSTERS}?status=RUNNING,bogus")
    assert (answer.status_code, answer.json()) == (422, {"error": "'bogus' is not a valid ClusterStatus"})


def test_every_state_has_a_status() -> None:
    assert set(STATUS) == set(ClusterState)


async def test_unknown_options_are_refused_in_dask_gateways_words_and_more(site: Site) -> None:
    async with site.client("ada") as client:
        answer = await client.post(CLUSTERS, json={"cluster_options": {"wrker_cores": 2}})
        assert answer.status_code == 422
        assert answer.json()["error"].startswith("Unknown fields ['wrker_cores'].")
        for empty in (b"{}", b'{"cluster_options": null}', b'{"cluster_options": {}}'):
            assert (await client.post(CLUSTERS, content=empty)).status_code == 201
        assert (await client.post(CLUSTERS)).status_code == 201, "no body is no options"


@pytest.mark.parametrize("body", [b"{", b"[]", b"3", b'{"cluster_options": [1]}', b"\xff", b"[" * 100_000])
async def test_a_malformed_body_is_refused_and_not_our_fault(site: Site, body: bytes) -> None:
    async with site.client("ada") as client:
        answer = await client.post(CLUSTERS, content=body)
    assert (answer.status_code, list(answer.json())) == (422, ["error"])


async def test_somebody_elses_cluster_looks_like_an_unknown_one(site: Site) -> None:
    name = (await site.core.running()).name
    async with site.client("grace") as client:
        assert (await client.get(CLUSTERS + name)).status_code == 404
        assert (await client.post(f"{CLUSTERS}{name}/scale", json={"count": 1})).status_code == 404
        assert (await client.get(CLUSTERS)).json() == {}
        assert (await client.delete(CLUSTERS + name)).status_code == 204, "as for an unknown one"
    assert (await site.core.store.cluster(name)).wanted.stop is None


async def test_scale_sets_the_number_and_tells_of_the_limit(site: Site) -> None:
    record = await site.core.running()
    limit, path = record.spec.max_workers, f"{CLUSTERS}{record.name}/scale"
    async with site.client("ada") as client:
        assert (await client.post(path, json={"count": 2})).json() == {"ok": True, "msg": None}
        assert (await client.post(path, json={"count": limit + 2})).json() == {
            "ok": False,
            "msg": f"Scale request of {limit + 2} workers would exceed resource limit of {limit} workers. "
            f"Scaling to {limit} instead.",
        }
        for wrong in (-1, "3", 1.5, None, True):
            answer = await client.post(path, json={"count": wrong})
            assert answer.status_code == 422
            assert answer.json() == {"error": f"Scale expects a non-negative integer, got {wrong!r}"}


async def test_adapt_sets_the_bounds_and_tells_of_the_limit(site: Site) -> None:
    record = await site.core.running()
    limit, path = record.spec.max_workers, f"{CLUSTERS}{record.name}/adapt"
    ok = {"ok": True, "msg": None}
    async with site.client("ada") as client:
        assert (await client.post(path, json={"minimum": None, "maximum": None, "active": True})).json() == ok
        assert (await client.post(path, json={"minimum": 1, "maximum": limit + 4})).json() == {
            "ok": False,
            "msg": f"Adapt with `maximum={limit + 4}, minimum=1` workers would exceed resource limit of {limit} "
            f"workers. Using `maximum={limit}, minimum=1` instead.",
        }
        assert (await client.post(path, json={"active": False})).json() == ok
        assert (await site.core.store.cluster(record.name)).wanted.adaptive is None
        for wrong in ({"minimum": -1}, {"maximum": "3"}, {"minimum": 3, "maximum": 2}, {"maximum": True}):
            assert (await client.post(path, json=wrong)).status_code == 422, wrong


async def test_a_cluster_that_does_not_run_cannot_be_scaled(tmp_path: Path) -> None:
    async with running_site(tmp_path, dials=PRESETS["never_connects"]) as site, site.client("ada") as client:
        name = (await site.core.new()).name
        for path, body in (("scale", {"count": 1}), ("adapt", {})):
            answer = await client.post(f"{CLUSTERS}{name}/{path}", json=body)
            assert (answer.status_code, answer.json()) == (409, {"error": f"cluster {name} is not running"})
        await site.core.control.stop(ADA, name)
        answer = await client.post(f"{CLUSTERS}{name}/scale", json={"count": 1})
        assert answer.status_code == 409
        assert answer.json()["error"].startswith(f"cluster {name} is not running")


async def test_who_waits_for_a_cluster_that_fails_is_told_why(tmp_path: Path) -> None:
    """The clients raise GatewayClusterError with the text of a 409; from a status alone they could not tell why."""
    async with running_site(tmp_path, dials=PRESETS["fails_during_start"]) as site, site.client("ada") as client:
        name = await make(client)
        answer = await client.get(f"{CLUSTERS}{name}?wait")
        assert answer.status_code == 409
        assert f"Cluster '{name}' failed: the scheduler ended before it was ready" in answer.json()["error"]
        assert "\n  ModuleNotFoundError" in answer.json()["error"], "a sentence of several lines passes whole"
        await site.core.until(name, ClusterState.FAILED)
        assert (await client.get(CLUSTERS + name)).json()["status"] == "FAILED"


async def test_a_wait_is_answered_after_its_time_as_things_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dask_sluice.server.http.v1.routes.WAIT_S", 0.05)
    async with running_site(tmp_path, dials=PRESETS["never_connects"]) as site, site.client("ada") as client:
        name = await make(client)
        assert (await client.get(f"{CLUSTERS}{name}?wait")).json()["status"] == "PENDING"


async def test_the_wait_flag_is_read_as_dask_gateway_reads_it(tmp_path: Path) -> None:
    async with running_site(tmp_path, dials=PRESETS["never_connects"]) as site, site.client("ada") as client:
        name = await make(client)
        for flag in ("wait=0", "wait=no", ""):
            assert (await client.get(f"{CLUSTERS}{name}?{flag}")).json()["status"] == "PENDING", flag
        waiting = {asyncio.create_task(client.get(f"{CLUSTERS}{name}?{flag}")) for flag in ("wait", "wait=", "wait=1")}
        done, _ = await asyncio.wait(waiting, timeout=0.3)
        assert done == set()
        site.services.stopping.set()
        assert {(await each).json()["status"] for each in waiting} == {"PENDING"}
