"""What is waited for before anything else: the import of the client, the start of the server."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

from bench.servers import ENVIRON, ours, stock
from bench.table import Row, row
from scripts.environments import environment

IMPORTS = 11
STARTS = 5
START_GOAL_S = 2
_TIMED = "import time; began = time.perf_counter(); {}; print(time.perf_counter() - began)"


def rows(imports: int = IMPORTS, starts: int = STARTS) -> list[Row]:
    """Medians; every import in a fresh process, every server on a fresh directory."""
    return [_imports(imports), _starts(starts)]


def _imports(times: int) -> Row:
    sides = {
        "ours": (Path(sys.executable), "from dask_sluice import Gateway"),
        "stock": (environment("stock"), "from dask_gateway import Gateway"),
        "direct": (Path(sys.executable), "import distributed"),
    }
    taken: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(times + 1):
        for side, (python, statement) in sides.items():
            command = [str(python), "-c", _TIMED.format(statement)]
            seconds = float(subprocess.check_output(command, text=True, env=ENVIRON))
            if number > 0:  # the first fills the disk's cache
                taken[side].append(seconds)
    seen = {side: statistics.median(values) for side, values in taken.items()}
    return row("import of the client (direct: distributed alone)", "s", at_most_ratio=1.0, **seen)


def _starts(times: int) -> Row:
    taken: dict[str, list[float]] = {"ours": [], "stock": []}
    for _ in range(times):
        with ours() as server:
            taken["ours"].append(server.start_s)
        with stock() as server:
            taken["stock"].append(server.start_s)
    seen = {side: statistics.median(values) for side, values in taken.items()}
    return row("server start: command to ready", "s", at_most=START_GOAL_S, **seen)
