"""Tests against a real Kubernetes. Where none can be had they are skipped with the reason; in CI they
fail where there is a kit to start one.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..conftest import not_here
from .kube import Kube, NotThere, kit, kubernetes_cluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/kubernetes/" in item.nodeid:
            item.add_marker(pytest.mark.real)


@pytest.fixture(scope="session")
def kube() -> Iterator[Kube]:
    """The cluster; this process is in its network while the fixture lives."""
    try:
        with kubernetes_cluster() as cluster:
            yield cluster
    except NotThere as error:
        not_here(str(error), comes_beside=kit() is None)


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    """A namespace of the test's own."""
    with kube.namespace() as name:
        yield name
