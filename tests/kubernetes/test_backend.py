"""The Kubernetes backend passes the suite that every backend passes, with no more rights than it says it needs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ..server.backends.conformance import BackendConformance
from .harness import KubernetesHarness
from .kube import Kube


@pytest.fixture
async def harness(kube: Kube, namespace: str, tmp_path: Path) -> AsyncIterator[KubernetesHarness]:
    harness = KubernetesHarness(kube, namespace, tmp_path)
    await harness.backend.start()
    yield harness
    await harness.close()


@pytest.mark.slow
class TestKubernetesBackend(BackendConformance):
    """All of it, with real pods."""
