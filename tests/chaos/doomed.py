"""A real server that kills itself at a chosen point: `python -m tests.chaos.doomed SETTINGS FUSE`, both JSON.

From outside one can only kill at a time; this hits the moment between a write and what follows from it.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from dask_sluice.server import app
from dask_sluice.server.backends.local.backend import LocalBackend
from dask_sluice.server.backends.local.connection import Connection
from dask_sluice.server.settings_schema import Settings
from dask_sluice.server.startup import CannotStart
from dask_sluice.server.store.database import Database

T = TypeVar("T")
POINTS = ("before write", "after write", "before fork", "after fork", "before remove", "after remove")
AT_START = ("before recover", "after recover", "before listening", "before ready")


def light(point: str, count: int) -> None:
    """Die, as by `kill -9`, when that point is reached for that time."""
    reached: Counter[str] = Counter()

    def reach(name: str) -> None:
        reached[name] += 1
        if (name, reached[name]) == (point, count):
            os.kill(os.getpid(), signal.SIGKILL)

    def around(owner: Any, method: str, what: str, concerns: Callable[..., bool] = lambda *_: True) -> None:
        original: Callable[..., Awaitable[Any]] = getattr(owner, method)

        async def mortal(*args: Any, **kwargs: Any) -> Any:
            if not concerns(*args):
                return await original(*args, **kwargs)
            reach(f"before {what}")
            result = await original(*args, **kwargs)
            reach(f"after {what}")
            return result

        setattr(owner, method, mortal)

    around(Database, "write", "write")
    around(Connection, "request", "fork", lambda _, op: op == "fork")
    around(LocalBackend, "remove", "remove")
    around(LocalBackend, "recover", "recover")
    around(app.Server, "_start", "listening")

    def announce(line: str) -> None:
        reach("before ready")
        print(line, flush=True)

    app._print = announce


def main() -> None:
    settings, fuse = json.loads(sys.argv[1]), json.loads(sys.argv[2])
    if fuse:
        light(*fuse)
    try:
        asyncio.run(app.serve(Settings.model_validate(settings), announce=app._print))
    except CannotStart as error:
        sys.exit(f"cannot start: {error}")


if __name__ == "__main__":
    main()
