"""Lets a Nanny fork its worker process warm, instead of starting an interpreter that imports everything anew.

multiprocessing has the means: its fork server, a small process that forks on request. Only it starts that
server cold. Here it is forked from this process instead, while this has one thread and no event loop, with
distributed imported; the Nanny then uses it as it would any other, with all that it does for a worker: memory
limit, `Client.restart`, exit codes, restarts. See docs/decisions/0004-agent-starts-dask-through-python.md.

Also here: nothing outlives the Nanny, however it ends. The kernel tells the fork server, and kills the worker.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import inspect
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from multiprocessing import forkserver, resource_tracker
from typing import Any, NoReturn

log = logging.getLogger("sluice.agent")

_KNOWN_ARGUMENTS = ["listener_fd", "alive_r", "preload", "main_path", "sys_path"]
"""What the fork server takes on Python 3.9 to 3.13. Another one is not started by us."""
_PR_SET_PDEATHSIG = 1


class NotPossible(Exception):
    """No warm fork here; the sentence says why."""


@contextlib.contextmanager
def warm_fork_server() -> Iterator[str]:
    """How worker processes are to be made while this lasts: `forkserver`, or `spawn` where that cannot be.

    To be entered before the first thread and event loop.
    """
    directory = tempfile.mkdtemp(prefix="sluice-")
    try:
        _start(directory)
        method = "forkserver"
    except (NotPossible, OSError) as error:
        log.warning("worker processes start cold, which takes longer: %s", error)
        method = "spawn"
    try:
        yield method
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def die_with_parent(number: int) -> None:
    """Have the kernel send this signal when the parent process ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def _start(directory: str) -> None:
    if not sys.platform.startswith("linux"):
        raise NotPossible("only Linux ties the life of a process to its parent's")
    if threading.active_count() > 1:
        raise NotPossible("this process has more than one thread")
    if list(inspect.signature(forkserver.main).parameters) != _KNOWN_ARGUMENTS:
        raise NotPossible(f"the fork server of Python {sys.version.split()[0]} is not known to us")
    server: Any = forkserver._forkserver
    tracker: Any = resource_tracker._resource_tracker
    if server._forkserver_pid is not None:
        raise NotPossible("a fork server runs already")
    if tracker._fd is not None:
        raise NotPossible("a resource tracker runs already")
    address = os.path.join(directory, "fork")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        alive, server._forkserver_alive_fd = os.pipe()
        tracked, tracker._fd = os.pipe()
        parent = os.getpid()
        server._forkserver_pid = os.fork()
        if server._forkserver_pid == 0:
            os.close(server._forkserver_alive_fd)
            server._forkserver_pid = server._forkserver_alive_fd = None
            _be(lambda: _serve(listener, alive, tracked, parent))
        os.close(alive)
        os.close(tracked)
    server._forkserver_address = address


def _be(something: Callable[[], Any]) -> NoReturn:
    """Live this forked process, and never return into the parent's code."""
    code = 1
    try:
        something()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except BaseException:  # noqa: BLE001 - whatever it is, it must not unwind into a copy of the parent
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def _serve(listener: socket.socket, alive: int, tracked: int, parent: int) -> None:
    """Be the fork server. `alive` is at its end when nobody needs one any more."""
    signal.signal(signal.SIGTERM, _end)
    die_with_parent(signal.SIGTERM)
    if os.getppid() != parent:  # it ended just before the kernel was asked to tell
        return
    _fork_tracker(listener, alive, tracked)
    gc.freeze()
    me = os.getpid()
    os.register_at_fork(after_in_child=lambda: _be_a_worker_process(me))
    directory = os.path.dirname(listener.getsockname())
    try:
        forkserver.main(listener.detach(), alive, [])
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _fork_tracker(listener: socket.socket, alive: int, tracked: int) -> None:
    """The process that cleans up what others leave, once the last of them has closed the pipe `tracked`."""
    if os.fork() == 0:
        os.close(resource_tracker._resource_tracker._fd)  # type: ignore[attr-defined]
        listener.close()
        os.close(alive)
        _be(lambda: resource_tracker.main(tracked))
    os.close(tracked)


def _end(*_: Any) -> NoReturn:
    raise SystemExit(0)


def _be_a_worker_process(server: int) -> None:
    """Runs in every descendant's forks too: what users fork is left alone."""
    if os.getppid() != server:
        return
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent(signal.SIGKILL)
    if "numpy.random" in sys.modules:  # a restarted worker must not draw the same "random" numbers again
        sys.modules["numpy.random"].seed()
