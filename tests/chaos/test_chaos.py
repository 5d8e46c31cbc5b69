"""Kills at random points, a short run of each kind; `make chaos` has long ones. What fails prints how to repeat it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..conftest import not_here
from ..postgresql import BINARIES

SEED = 4
PATIENCE_S = 600


def chaos(backend: str, kills: int) -> None:
    command = [sys.executable, "-m", "tests.chaos", "--backend", backend, "--seed", str(SEED), "--kills", str(kills)]
    root = Path(__file__).parents[2]
    # A process of its own: the order of sets is part of what a seed stands for.
    ran = subprocess.run(
        command, cwd=root, capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=dict(os.environ)
    )
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"


def test_nothing_is_lost_or_leaked_over_150_deaths_of_a_core() -> None:
    chaos("fake", 150)


@pytest.mark.real
def test_nothing_is_lost_or_leaked_over_10_kills_of_real_processes() -> None:
    chaos("local", 10)


@pytest.mark.real
def test_nothing_is_lost_or_leaked_over_5_kills_of_servers_that_share_a_database() -> None:
    if not BINARIES:
        not_here("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    chaos("servers", 5)
