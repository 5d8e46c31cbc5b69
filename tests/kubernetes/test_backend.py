"""The Kubernetes backend passes the suite that every backend passes, with no more rights than it says it needs."""

from __future__ import annotations

import pytest

from ..server.backends.conformance import BackendConformance


@pytest.mark.slow
class TestKubernetesBackend(BackendConformance):
    """All of it, with real pods."""
