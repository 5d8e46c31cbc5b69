"""Memory of servers at rest, from the kernel's own accounts (`/proc/<pid>/smaps_rollup`).

PSS counts a page that n processes share as 1/n in each, so sums of it are what the machine really gives; RSS
counts it in each in full. The nursery is apart: it is where clusters' own memory begins, and forks share it.
"""

from __future__ import annotations

from pathlib import Path

from bench.servers import Running
from bench.table import Row, row

GOAL_MB = 130


def rows(ours: Running, stock: Running) -> list[Row]:
    """Server and proxy of each side, then our nursery, which stock has nothing like."""
    return [
        row(
            f"memory at rest, server and proxy ({kind.upper()})",
            "MB",
            ours=_megabytes(ours.processes, kind),
            stock=_megabytes(stock.processes, kind),
            at_most=GOAL_MB,
        )
        for kind in ("pss", "rss")
    ] + [row("memory at rest, nursery (PSS)", "MB", ours=_megabytes(ours.nurseries, "pss"), stock=None)]


def _megabytes(processes: tuple[int, ...], kind: str) -> float:
    return sum(_kilobytes(pid, kind) for pid in processes) * 1024 / 1e6


def _kilobytes(pid: int, kind: str) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.lower().startswith(f"{kind}:"):
            return int(line.split()[1])
    raise RuntimeError(f"the kernel tells no {kind} of process {pid}")
