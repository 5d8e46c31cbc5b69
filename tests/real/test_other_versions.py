"""Whoever takes an environment with another release of Dask than their own is told so at once, and by `show`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dask_sluice import Gateway
from scripts.environments import EnvironmentFailed, environment

from ..conftest import not_here
from ..live import LiveServer

pytestmark = pytest.mark.real


def test_an_older_environment_is_told_with_its_path(tmp_path: Path) -> None:
    try:
        older = environment("distributed-2024.12").parent.parent
    except EnvironmentFailed as error:
        not_here(str(error))
    with LiveServer(tmp_path) as server, Gateway(server.url) as gateway:
        with pytest.warns(UserWarning, match="Mismatched versions found") as told:
            cluster = gateway.new_cluster(environment=str(older))
        assert f"(environment {older}) has " in str(told[0].message)
        assert "distributed 2024.12" in str(told[0].message)
        shown = subprocess.run(
            [sys.executable, "-m", "dask_sluice", "show", cluster.name, "--address", server.url],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "distributed 2024.12" in shown.stdout
        cluster.close()
