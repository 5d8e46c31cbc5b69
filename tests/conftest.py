"""What all tests share: a clean environment, hypothesis profiles, and what a missing service means.

A service that is not there skips a test, with the reason; in CI, where everything can be installed, it fails it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import dask.config
import pytest
from hypothesis import settings

from .kubernetes.kube import Kube, NotThere, kit, kubernetes_cluster
from .live import LiveServer
from .postgresql import BINARIES, PostgreSQL

IN_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")
# Machines are shared and slow at times: what an example computes counts, not how long it takes.
settings.register_profile("short", max_examples=60, deadline=None)
settings.register_profile("chaos", max_examples=10_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))

_SPEAKING = ("DASK_", "JUPYTERHUB_", "SLUICE_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy")
_OURS = ("SLUICE_ALL_CLIENTS", "SLUICE_ALL_VERSIONS")


def not_here(why: str, *, comes_beside: bool = False) -> NoReturn:
    """A service is missing: skip; in CI fail.

    comes_beside   it comes with a folder beside the repository, which is not there: nobody could install it
    """
    if IN_CI and not comes_beside:
        pytest.fail(f"not available in CI, where it must be: {why}", pytrace=False)
    pytest.skip(why)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test sees its user's Dask configuration, or leaves any behind."""
    for name in os.environ:
        if name.startswith(_SPEAKING) and name not in _OURS:
            monkeypatch.delenv(name)
    with dask.config.set({}):
        yield


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A real PostgreSQL, shared by all tests: they take databases of their own."""
    if not BINARIES:
        not_here("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    server = PostgreSQL()
    yield server
    server.close()


@pytest.fixture(scope="session")
def live_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A real server with the local backend, shared by all tests that only use it."""
    with LiveServer(tmp_path_factory.mktemp("live")) as server:
        yield server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[LiveServer]:
    """A real server of the test's own, to be broken."""
    with LiveServer(tmp_path) as server:
        yield server


@pytest.fixture(scope="session")
def kube() -> Iterator[Kube]:
    """A real Kubernetes; this process is in its network while the fixture lives."""
    try:
        with kubernetes_cluster() as cluster:
            yield cluster
    except NotThere as error:
        not_here(str(error), comes_beside=kit() is None)
