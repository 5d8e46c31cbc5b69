"""One run of kills, the same again for the same seed.

python -m tests.chaos --backend fake|local|servers --seed S --kills N
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--backend", choices=("fake", "local", "servers"), default="fake")
    given = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is part of what a seed stands for
        os.execve(
            sys.executable, [sys.executable, "-m", "tests.chaos", *sys.argv[1:]], {**os.environ, "PYTHONHASHSEED": "0"}
        )
    seed = given.seed if given.seed is not None else int.from_bytes(os.urandom(3), "big")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        try:
            {"fake": run_fake, "local": run_local, "servers": run_servers}[given.backend](
                seed, given.kills, Path(directory)
            )
        except BaseException:
            print(
                f"again: python -m tests.chaos --backend {given.backend} --seed {seed} --kills {given.kills}",
                flush=True,
            )
            raise
    print(
        f"chaos {given.backend}: {given.kills} kills from seed {seed}, {time.monotonic() - began:.0f} s, nothing amiss"
    )
    return 0


def run_fake(seed: int, kills: int, directory: Path) -> None:
    from . import virtual_time
    from .fake_run import FakeRun

    async def main() -> None:
        chaos = FakeRun(seed, directory, lambda line: print(line, flush=True))
        try:
            await chaos.run(kills)
        except BaseException:
            print("\n".join(chaos.kills[-10:]), flush=True)
            raise

    virtual_time.run(main())


def run_local(seed: int, kills: int, directory: Path) -> None:
    from .local_run import LocalRun  # imports distributed, which sets up its loggers

    run_real(LocalRun(seed, directory, lambda line: print(line, flush=True)), kills)


def run_servers(seed: int, kills: int, directory: Path) -> None:
    from .servers_run import ServersRun

    run_real(ServersRun(seed, directory, lambda line: print(line, flush=True)), kills)


def run_real(chaos: Any, kills: int) -> None:
    # They tell of every kill.
    for name in ("distributed", "distributed.client", "tornado", "asyncio", "dask_sluice.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)

    async def main() -> None:
        try:
            await chaos.run(kills)
        except BaseException:
            print(chaos.log[-4000:], *chaos.kills[-5:], sep="\n", flush=True)
            raise

    warnings.simplefilter("ignore")
    asyncio.run(main())


if __name__ == "__main__":
    sys.exit(main())
