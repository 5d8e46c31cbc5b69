"""Ours and dask-gateway side by side in one run: one table, and the same as `bench/latest.json`.

    make bench                                everything, about five minutes
    python -m bench.run cluster start         only these
    python -m bench.run --rounds 3 cluster    quicker, and rougher

Both sides take turns within one run, so that whatever else the machine does hits both alike.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from bench import cluster_bench, memory_bench, proxy_bench, start_bench
from bench.servers import ours, stock
from bench.table import Row, shown

LATEST = Path(__file__).with_name("latest.json")


def _cluster(rounds: int | None) -> list[Row]:
    with ours() as our_server, stock() as stock_server:
        return cluster_bench.rows(our_server, stock_server, rounds or cluster_bench.ROUNDS)


def _memory(_: int | None) -> list[Row]:
    with ours() as our_server, stock() as stock_server:
        return memory_bench.rows(our_server, stock_server)


def _start(rounds: int | None) -> list[Row]:
    return start_bench.rows(rounds or start_bench.IMPORTS, rounds or start_bench.STARTS)


def _proxy(rounds: int | None) -> list[Row]:
    return proxy_bench.rows(rounds or proxy_bench.ROUNDS)


BENCHES: dict[str, Callable[[int | None], list[Row]]] = {
    "cluster": _cluster,
    "proxy": _proxy,
    "start": _start,
    "memory": _memory,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(BENCHES)} (default: all)")
    parser.add_argument("--rounds", type=int, help="repetitions of everything that is repeated")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in BENCHES]:
        parser.error(f"there is no bench {unknown[0]!r}; there are: {', '.join(BENCHES)}")
    rows: list[Row] = []
    for name in arguments.names or BENCHES:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows += BENCHES[name](arguments.rounds)
    print(shown(rows))
    LATEST.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
