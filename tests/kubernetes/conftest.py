"""Tests against a real Kubernetes: all of them need a service, and a namespace of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .kube import Kube


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/kubernetes/" in item.nodeid:
            item.add_marker(pytest.mark.real)


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    """A namespace of the test's own."""
    with kube.namespace() as name:
        yield name
