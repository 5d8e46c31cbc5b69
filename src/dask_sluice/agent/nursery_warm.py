"""What the nursery imports before it forks: everything that a scheduler or a worker would import later.

A fork then starts with all of it in memory, shared with its parent. Nothing here may start a thread or open
a socket: neither survives a fork. numpy comes in by distributed itself; the server sets its thread variables
(OPENBLAS_NUM_THREADS=1 and so on) before the nursery starts, so that it starts no threads either.
"""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import os
import sys

from .read_early import noting_what_is_read
from .rehearsal import rehearse

# Imported by name and not by statement: which of them exist differs between releases of distributed.
_MODULES = (
    "concurrent.futures.process",
    "concurrent.futures.thread",
    "encodings.idna",
    "multiprocessing.forkserver",
    "multiprocessing.popen_fork",
    "multiprocessing.popen_forkserver",
    "multiprocessing.queues",
    "multiprocessing.resource_tracker",
    "multiprocessing.spawn",
    "multiprocessing.synchronize",
    "numpy.random",
    "ssl",
    "tornado.httpserver",
    "tornado.httputil",
    "tornado.netutil",
    "tornado.platform.asyncio",
    "tornado.tcpserver",
    "tornado.websocket",
    "distributed",
    "distributed.scheduler",
    "distributed.nanny",
    "distributed.worker",
    "distributed.worker_memory",
    "distributed.worker_state_machine",
    "distributed.active_memory_manager",
    "distributed.stealing",
    "distributed.semaphore",
    "distributed.shuffle",
    "distributed.diskutils",
    "distributed.spill",
    "distributed.system_monitor",
    "distributed.comm.inproc",
    "distributed.comm.tcp",
    "distributed.comm.ws",
    "distributed.http.routing",
    "distributed.http.utils",
)
# The dashboard, where the environment has bokeh: half a second that nobody then waits for.
_DASHBOARD = (
    "bokeh.application.handlers.document_lifecycle",
    "bokeh.server.server",
    "distributed.dashboard.core",
    "distributed.dashboard.scheduler",
    "distributed.dashboard.worker",
)


def warm() -> None:
    """Import it all, then move it out of the garbage collector's sight, so that forks keep sharing it."""
    gc.disable()
    import_all("scheduler", "worker")
    os.register_at_fork(after_in_child=_forget_shared_randomness)
    gc.collect()
    gc.freeze()


def import_all(*roles: str) -> None:
    """Everything that a process of these roles would import or work out in its first seconds."""
    with noting_what_is_read():
        for name in _MODULES + _DASHBOARD:
            _import_if_there(name)
        for role in roles:
            importlib.import_module(f".{role}", __package__)
            for name in _configured_routes(role):
                _import_if_there(name)
    rehearse()


def _import_if_there(name: str) -> None:
    try:
        importlib.import_module(name)
    except ImportError:
        if name == "distributed":
            raise


def _configured_routes(role: str) -> list[str]:
    import dask

    return list(dask.config.get(f"distributed.{role}.http.routes", []))


def _forget_shared_randomness() -> None:
    """Give each fork its own: else two workers draw the same "random" numbers, and two users share a key.

    Python's `random`, `uuid` and OpenSSL see to it themselves; these two do not.
    """
    if "numpy.random" in sys.modules:  # else it is seeded when it is imported
        sys.modules["numpy.random"].seed()
    multiprocessing.current_process().authkey = os.urandom(32)
