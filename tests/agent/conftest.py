"""One cluster's agents per test: in our own environment, and in those of other times.

By default the oldest distributed, one between and the newest; all of them with `make versions`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scripts.environments import RECIPES, EnvironmentFailed, environment

from ..conftest import not_here
from .harness import Agents, agents

OURS = "ours"
ALL = [name for name in RECIPES if name.startswith("distributed-")]
OTHERS = ALL if os.environ.get("SLUICE_ALL_VERSIONS") else [ALL[0], ALL[len(ALL) // 2], ALL[-1]]


@pytest.fixture(params=[OURS, *(pytest.param(name, marks=pytest.mark.real) for name in OTHERS)])
async def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Agents]:
    async with agents(tmp_path, _python(request.param)) as starter:
        yield starter


def _python(name: str) -> str:
    if name == OURS:
        return sys.executable
    try:
        return str(environment(name))
    except EnvironmentFailed as error:
        not_here(str(error))
