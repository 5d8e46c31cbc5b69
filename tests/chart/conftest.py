"""A real Kubernetes with the image of this source, where the tests of the chart need them."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..conftest import not_here
from ..kubernetes.kube import Kube, NotThere
from ..postgresql import BINARIES, PostgreSQL
from .enforcement import enforcing, kube_router
from .release import RESTRICTED, Release, image_there


@pytest.fixture(scope="session")
def image_name(kube: Kube) -> str:
    try:
        return image_there(kube)
    except NotThere as error:
        not_here(str(error))


@pytest.fixture
def release(kube: Kube, image_name: str) -> Iterator[Release]:
    """Not installed yet: the test has a say in its values. Its namespace enforces Pod Security `restricted`."""
    with kube.namespace("sluice-chart", **RESTRICTED) as namespace:
        yield Release(kube, namespace, image_name)


@pytest.fixture(scope="session")
def router(kube: Kube) -> Path:
    try:
        return kube_router(kube)
    except NotThere as error:
        not_here(str(error))


@pytest.fixture
def enforced(kube: Kube, router: Path) -> Iterator[None]:
    """A network that enforces network policies."""
    with enforcing(kube, router):
        yield


@pytest.fixture
def database(kube: Kube) -> Iterator[str]:
    """Address of a PostgreSQL that pods reach: on the node, which here is this machine."""
    if kube.directory is None:
        not_here("a PostgreSQL that pods of the cluster of KUBECONFIG reach")
    if not BINARIES:
        not_here("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    addresses = json.loads(kube.run("get", "nodes", "-o", "json"))["items"][0]["status"]["addresses"]
    address = next(each["address"] for each in addresses if each["type"] == "InternalIP")
    with socket.create_server((address, 0)) as free:
        port = free.getsockname()[1]
    server = PostgreSQL(address, port)
    try:
        yield f"postgresql://postgres@{address}:{port}/{server.new_database().database}"
    finally:
        server.close()
