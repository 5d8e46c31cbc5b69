"""Tests against a real Kubernetes: all of them need a service, and a namespace of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from ..live import LiveServer
from . import site
from .faults import objects
from .harness import KubernetesHarness
from .kube import Kube, until
from .user import SLOW_S

Serving = Callable[..., AbstractContextManager[LiveServer]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/kubernetes/" in item.nodeid:
            item.add_marker(pytest.mark.real)


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    """A namespace of the test's own."""
    with kube.namespace() as name:
        yield name


@pytest.fixture
async def harness(kube: Kube, namespace: str, tmp_path: Path) -> AsyncIterator[KubernetesHarness]:
    """A backend in that namespace."""
    harness = KubernetesHarness(kube, namespace, tmp_path)
    await harness.backend.start()
    yield harness
    await harness.close()


@pytest.fixture
def serving(kube: Kube, namespace: str, tmp_path: Path) -> Serving:
    """A server with these settings of the backend; when it has ended, nothing is left of its clusters."""

    @contextmanager
    def serving(**settings: Any) -> Iterator[LiveServer]:
        ours = {"instance": namespace, **settings}
        with site.server(kube, namespace, tmp_path, backend={"kubernetes": ours}) as running:
            before = objects(kube, namespace)
            yield running
        until(lambda: objects(kube, namespace) == before, f"only {before} is left", SLOW_S)

    return serving


@pytest.fixture
def server(serving: Serving) -> Iterator[LiveServer]:
    """One with no settings of its own."""
    with serving() as running:
        yield running
