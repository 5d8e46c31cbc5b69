"""What a user waits for: a cluster, its workers, data and tasks on their way through the proxy."""

from __future__ import annotations

import contextlib
import select
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.servers import ENVIRON, Running
from bench.table import row

DRIVER = Path(__file__).with_name("driver.py")
ROUNDS = 9
DATA_ROUNDS = 3
"""Those in which data and tasks are measured too, which take longer than all the rest."""
REPEATS = {"scatter": 5, "scatter_direct": 5, "tasks": 2, "tasks_direct": 2}
"""Within one cluster. Scatter is quick and uneven: it ends when the last of 100 MB has been decrypted twice."""
PATIENCE_S = 60.0


class Driver:
    """A warm client process, see `driver.py`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def take(self, what: str) -> float:
        """Seconds that it took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        readable, _, _ = select.select([self._process.stdout], [], [], PATIENCE_S)
        if not (readable and (answer := self._process.stdout.readline())):
            raise RuntimeError(f"the client process {'ended' if readable else 'hangs'} during {what!r}")
        return float(answer)


@contextlib.contextmanager
def driver(server: Running) -> Iterator[Driver]:
    """The client that belongs to this server, in a process of its own."""
    command = [str(server.python), str(DRIVER), server.module, server.address]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRON) as process:
        try:
            yield Driver(process)
        finally:
            process.kill()


def rows(ours: Running, stock: Running, rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """Medians of all rounds but the first, which warms both sides."""
    taken: dict[tuple[str, str], list[float]] = {}
    with driver(ours) as our_user, driver(stock) as stock_user:
        for number in range(rounds + 1):
            for who, user in (("ours", our_user), ("stock", stock_user)):
                for what, taken_s in _one_life(user, with_data=number <= DATA_ROUNDS):
                    if number > 0:
                        taken.setdefault((what, who), []).append(taken_s)
    seen = {key: statistics.median(values) for key, values in taken.items()}

    def seconds(name: str, what: str, goal: float, *, direct: bool = False) -> dict[str, Any]:
        return row(
            name,
            "s",
            ours=seen[what, "ours"],
            stock=seen[what, "stock"],
            direct=seen[f"{what}_direct", "ours"] if direct else None,
            at_most_ratio=goal,
        )

    return [
        seconds("new_cluster() to a client that answers", "new_cluster", 0.1),
        seconds("scale 0 to 2, both connected", "scale_up", 0.1),
        seconds("scatter 100 MB", "scatter", 1.0, direct=True),
        seconds("2,000 small tasks", "tasks", 1.0, direct=True),
    ]


def _one_life(user: Driver, *, with_data: bool) -> Iterator[tuple[str, float]]:
    """Everything that is measured of one cluster, from its start to its end."""
    for what in ("new_cluster", "scale_up", "connect_directly"):
        yield what, user.take(what)
    if with_data:
        user.take("scatter")  # the first finds cold memory on every side
        for what, times in REPEATS.items():
            for _ in range(times):
                yield what, user.take(what)
    user.take("close")
