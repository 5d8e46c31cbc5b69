"""Clients that users already have, unmodified from PyPI, each with the dask of its time on both sides.

By default the oldest, one between and the newest; all of them with `make old-clients`.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from scripts.environments import RECIPES, EnvironmentFailed, environment

from ..conftest import not_here
from ..live import LiveServer

STEPS = Path(__file__).with_name("old_client_steps.py")
PATIENCE_S = 180
ALL = [name.removeprefix("client-") for name in RECIPES if name.startswith("client-")]
RELEASES = ALL if os.environ.get("SLUICE_ALL_CLIENTS") else [ALL[0], ALL[len(ALL) // 2], ALL[-1]]

pytestmark = pytest.mark.real


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("release", RELEASES)
def test_an_unmodified_client_works_as_documented(live_server: LiveServer, release: str, how: str) -> None:
    try:
        python = environment(f"client-{release}")
    except EnvironmentFailed as error:
        not_here(str(error))
    command = [str(python), str(STEPS), how, live_server.address, live_server.token, str(python.parent.parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nthe server:\n{live_server.log[-3000:]}"
    assert done.stdout.split(), "it did not say which cluster it made"
