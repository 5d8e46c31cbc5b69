"""The local backend passes the suite that every backend passes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .conformance import BackendConformance
from .local_harness import LocalHarness


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[LocalHarness]:
    harness = LocalHarness(tmp_path)
    await harness.backend.start()
    yield harness
    await harness.close()


class TestLocalBackend(BackendConformance):
    """All of it, with real processes."""
