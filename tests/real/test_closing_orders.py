"""Whatever order a user lets go of things in, interrupted or not: nothing hangs, nothing complains, nothing is left.

`SLUICE_ORDERS` says how many orders (200 in `make chaos`); the slowest step is printed.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dask_sluice import Gateway

from ..live import LiveServer, until
from .kernel import ENDS, STEPS

pytestmark = pytest.mark.real

ORDERS = int(os.environ.get("SLUICE_ORDERS", "10"))
HANGS_AFTER_S = 60.0
SEED = 3


def order(number: int) -> list[str]:
    """Some steps, and an end."""
    chance = random.Random(f"{SEED} {number}")
    return [*chance.choices(STEPS, k=chance.randint(1, 5)), chance.choice(ENDS)]


def lived(address: str, steps: list[str]) -> tuple[list[dict[str, Any]], float]:
    """What a kernel said that took these steps, and how long it then took to end."""
    kernel = subprocess.run(
        [sys.executable, "-m", "tests.real.kernel", address, *steps],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=HANGS_AFTER_S,
        check=False,
    )
    ended_at = time.time()
    said = [json.loads(line) for line in kernel.stdout.splitlines()]
    assert kernel.stderr == "", f"{steps}: {kernel.stderr}"
    assert kernel.returncode == (-9 if steps[-1] == "killed" else 0), f"{steps}: exit code {kernel.returncode}"
    assert [each["raised"] for each in said[1:-1]] == [""] * (len(steps) - 1), f"{steps}: {said}"
    return said, ended_at - said[-1]["ending"]


def test_no_order_of_closing_hangs_complains_or_leaves_anything(live_server: LiveServer) -> None:
    slowest: tuple[float, str, list[str]] = (0.0, "", [])
    with Gateway(live_server.url) as gateway:
        for number in range(ORDERS):
            steps = order(number)
            said, ending_s = lived(live_server.url, steps)
            took = [*((each["took_s"], each["step"]) for each in said[1:-1]), (ending_s, steps[-1])]
            slowest = max(slowest, *((*each, steps) for each in took))
            name = said[0]["cluster"]
            if steps[-1] == "killed" and gateway.get_cluster(name).status in ("running", "pending"):
                gateway.connect(name).shutdown()  # by the next kernel
            until(lambda: not gateway.list_clusters(), f"nothing is left after {steps}")
    print(f"{ORDERS} orders; the slowest step: {slowest[1]}, {slowest[0]:.1f} s, in {slowest[2]}")
