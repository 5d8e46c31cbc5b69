"""A file that workers have a copy of: all of them, as it is now, and nobody else."""

from __future__ import annotations

import json
import os
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from distributed import Client, LocalCluster

from dask_sluice import Credential, Gateway, GatewayCluster, forward_file
from dask_sluice.client import forwarding

from ..live import LiveServer, until

VARIABLE = "SLUICE_TEST_TOKEN_FILE"
Copy = tuple[str, int]


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarding, "LOOK_EVERY_S", 0.05)


@pytest.fixture
def cluster(live_server: LiveServer) -> Iterator[GatewayCluster]:
    with Gateway(live_server.url) as gateway, gateway.new_cluster(worker_memory=0.5) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: GatewayCluster) -> Iterator[Client]:
    with cluster.get_client() as client:
        yield client


def copies(client: Client) -> list[Copy | None]:
    """Content and mode of each worker's copy; None where there is none."""

    def copy() -> Copy | None:
        path = os.environ.get("SLUICE_TEST_TOKEN_FILE", "")
        if not os.path.exists(path):
            return None
        with open(path) as file:
            return file.read(), stat.S_IMODE(os.stat(path).st_mode)

    return list(client.run(copy).values())


def test_every_worker_has_the_file_as_it_is_now_until_it_is_closed(
    cluster: GatewayCluster, client: Client, live_server: LiveServer, tmp_path: Path
) -> None:
    source = tmp_path / "token"
    source.write_text("first-secret")
    cluster.scale(1)
    client.wait_for_workers(1, timeout=60)
    with forward_file(client, VARIABLE, source) as forwarded:
        assert "secret" not in repr(forwarded)
        assert copies(client) == [("first-secret", 0o600)]
        (tmp_path / "new").write_text("second-secret")
        (tmp_path / "new").replace(source)
        until(lambda: copies(client) == [("second-secret", 0o600)], "the copy is renewed")
        cluster.scale(2)
        client.wait_for_workers(2, timeout=60)
        until(lambda: copies(client) == [("second-secret", 0o600)] * 2, "a later worker has it too")
        headers = {"Authorization": f"Bearer {live_server.token}"}
        shown = httpx.get(f"{live_server.address}/api/v2/clusters/{cluster.name}", headers=headers).text
        told = "".join(cluster.get_logs().values()) + json.dumps(list(map(str, cluster.events())))
        assert cluster.name in shown
        assert "secret" not in shown + told + live_server.log
    assert copies(client) == [None, None]


def test_a_function_is_asked_again_after_half_of_the_credentials_life(cluster: GatewayCluster, client: Client) -> None:
    cluster.scale(1)
    client.wait_for_workers(1, timeout=60)
    given: list[str] = []

    def fetch() -> Credential:
        given.append(f"token-{len(given)}")
        return Credential(given[-1], 3600 if len(given) == 3 else 0.1)

    with forward_file(client, VARIABLE, fetch):
        until(lambda: copies(client) == [("token-2", 0o600)], "the third is there")
    assert len(given) == 3, "which is good for an hour"


def test_what_cannot_be_read_is_told_at_once_and_later_leaves_the_copy_that_there_is(
    cluster: GatewayCluster, client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "token"
    with pytest.raises(FileNotFoundError, match="token"):
        forward_file(client, VARIABLE, source)
    with pytest.raises(ValueError, match="letters, digits and _ only; got 'A-B'"):
        forward_file(client, "A-B", source)
    source.write_bytes(b"x" * 1_000_001)
    with pytest.raises(ValueError, match="1000001 bytes are no credentials"):
        forward_file(client, VARIABLE, source)
    source.write_text("first")
    cluster.scale(1)
    client.wait_for_workers(1, timeout=60)
    with forward_file(client, VARIABLE, source):
        source.unlink()
        until(lambda: "is not renewed" in caplog.text, "it is told")
        assert copies(client) == [("first", 0o600)]
        source.write_text("second")
        until(lambda: copies(client) == [("second", 0o600)], "it goes on by itself")
    assert caplog.text.count("is not renewed") == 1


async def test_with_an_asynchronous_client_it_is_awaited(tmp_path: Path) -> None:
    source = tmp_path / "token"
    source.write_text("first")

    def read() -> str:
        with open(os.environ["SLUICE_TEST_TOKEN_FILE"]) as file:
            return file.read()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with (
            LocalCluster(
                n_workers=1, threads_per_worker=1, processes=False, asynchronous=True, dashboard_address=None
            ) as c,
            Client(c, asynchronous=True) as client,
        ):
            async with await forward_file(client, VARIABLE, source):
                assert set((await client.run(read)).values()) == {"first"}
            assert VARIABLE not in os.environ, "the worker is in this process"
